// RUN --mount and --device: their comma-separated options as data. Dockerfile reference, "RUN --mount".

import { BuildError } from "../solver/graph/error.ts";
import { parseBool } from "./go-strings.ts";
import { suggest } from "./suggest.ts";

const TYPES = ["bind", "cache", "tmpfs", "secret", "ssh"] as const;
const SHARINGS = ["shared", "private", "locked"] as const;
const KEYS = [
  "type",
  "from",
  "source",
  "target",
  "readonly",
  "id",
  "sharing",
  "required",
  "size",
  "mode",
  "uid",
  "gid",
  "src",
  "dst",
  "destination",
  "ro",
  "rw",
  "readwrite",
  "env",
];
/** Largest uid, gid or mode the protocol carries. */
const UINT32_MAX = 2 ** 32 - 1;

/** A mount as written; null where nothing was said. */
export interface RunMount {
  readonly type: (typeof TYPES)[number];
  readonly from: string;
  readonly source: string;
  readonly target: string;
  readonly readonly: boolean;
  readonly sizeBytes: number;
  readonly id: string;
  readonly sharing: (typeof SHARINGS)[number] | null;
  readonly required: boolean;
  readonly mode: number | null;
  readonly uid: number | null;
  readonly gid: number | null;
  readonly env: string | null;
}
type Draft = { -readonly [K in keyof RunMount]: RunMount[K] };

/** The stage, image or context of a mount, as written. "" when none is named. Throws MOUNT_INVALID. */
export function mountFrom(text: string): string {
  let from = "";
  for (const field of splitFields(text)) {
    const equals = field.indexOf("=");
    if (equals < 0 || field.slice(0, equals).toLowerCase() !== "from") continue;
    from = field.slice(equals + 1);
  }
  return from;
}

/** Reads a mount; `expand` is for the values. Throws MOUNT_INVALID and what `expand` throws. */
export function parseMount(text: string, expand: (value: string) => string): RunMount {
  const mount: Draft = {
    type: "bind",
    from: "",
    source: "",
    target: "",
    readonly: true,
    sizeBytes: 0,
    id: "",
    sharing: null,
    required: false,
    mode: null,
    uid: null,
    gid: null,
    env: null,
  };
  let isReadonlySaid = false;
  for (const field of splitFields(text)) {
    const equals = field.indexOf("=");
    const key = (equals < 0 ? field : field.slice(0, equals)).toLowerCase();
    if (equals < 0 && !["readonly", "ro", "readwrite", "rw", "required"].includes(key)) {
      throw invalid(`invalid field '${field}' must be a key=value pair`);
    }
    // A switch without a value is on.
    const value = equals < 0 ? "true" : expand(field.slice(equals + 1));
    if (["readonly", "ro", "readwrite", "rw"].includes(key)) isReadonlySaid = true;
    readField(mount, key, value, field);
  }
  if (!isReadonlySaid) mount.readonly = mount.type !== "cache" && mount.type !== "tmpfs";
  checkMount(mount);
  return mount;
}

function readField(mount: Draft, key: string, value: string, field: string): void {
  const isFor = (...types: readonly string[]): void => {
    if (!types.includes(mount.type)) throw invalid(`unexpected key '${key}' for mount type '${mount.type}'`);
  };
  switch (key) {
    case "type":
      mount.type = oneOf(TYPES, value, (near) =>
        invalid(`unsupported mount type ${JSON.stringify(value)}`, near),
      );
      return;
    case "from":
      mount.from = value;
      return;
    case "source":
    case "src":
      mount.source = value;
      return;
    case "target":
    case "dst":
    case "destination":
      mount.target = value;
      return;
    case "readonly":
    case "ro":
      mount.readonly = readBool(key, value);
      return;
    case "readwrite":
    case "rw":
      mount.readonly = !readBool(key, value);
      return;
    case "required":
      isFor("secret", "ssh");
      mount.required = readBool(key, value);
      return;
    case "size":
      isFor("tmpfs");
      mount.sizeBytes = readSize(value);
      return;
    case "id":
      mount.id = value;
      return;
    case "sharing":
      mount.sharing = oneOf(SHARINGS, value, (near) =>
        invalid(`unsupported sharing value ${JSON.stringify(value)}`, near),
      );
      return;
    case "mode":
      mount.mode = readNumber(key, value, /^0*[0-7]+$/, 8);
      return;
    case "uid":
    case "gid":
      mount[key] = readNumber(key, value, /^\d+$/, 10);
      return;
    case "env":
      mount.env = value;
      return;
    default: {
      const near = suggest(key, KEYS, true);
      throw invalid(`unexpected key '${key}' in '${field}'`, near);
    }
  }
}

function checkMount(mount: RunMount): void {
  const { type } = mount;
  if (type === "bind" || type === "tmpfs") {
    for (const key of ["mode", "uid", "gid"] as const) {
      if (mount[key] !== null) throw invalid(`${key} not allowed for "${type}" type mounts`);
    }
  }
  if (mount.sharing !== null && type !== "cache") {
    throw invalid(
      type === "secret"
        ? "secret mount should not define sharing"
        : `invalid cache sharing set for ${type} mount`,
    );
  }
  if (type !== "secret") return;
  if (mount.from !== "") throw invalid("secret mount should not have a from");
  if (mount.source === "" && mount.target === "" && mount.id === "") {
    throw invalid("invalid secret mount. one of source, target required");
  }
  if (mount.source !== "" && mount.id !== "") throw invalid("both source and id can't be set");
}

export interface RunDevice {
  readonly name: string;
  readonly required: boolean;
}

/** --device=vendor.com/class=name or name=…,required. Throws MOUNT_INVALID. */
export function parseDevice(text: string): RunDevice {
  let name = "";
  let required = false;
  for (const field of splitFields(text)) {
    const equals = field.indexOf("=");
    const key = (equals < 0 ? field : field.slice(0, equals)).toLowerCase();
    const value = field.slice(equals + 1);
    if (key === "required") required = equals < 0 ? true : readBool(key, value);
    else if (key === "name" && equals >= 0) name = value;
    else if (name === "")
      name = field; // a CDI name may itself hold "="
    else throw invalid(`unexpected key '${key}' in '${field}'`);
  }
  if (name === "") throw invalid("device name is required");
  return { name, required };
}

/** One record of CSV (RFC 4180). Throws MOUNT_INVALID for quotes that do not match. */
function splitFields(text: string): readonly string[] {
  if (text === "") throw invalid("it is empty, but options are expected");
  if (!text.includes('"')) return text.split(",");
  const fields: string[] = [];
  let rest = text;
  for (;;) {
    const quoted = /^"((?:[^"]|"")*)"(?=,|$)/.exec(rest);
    const plain = quoted ?? /^([^",]*)(?=,|$)/.exec(rest);
    if (plain === null) throw invalid(`${JSON.stringify(text)} has unbalanced quotes`);
    fields.push((plain[1] ?? "").replaceAll('""', '"'));
    if (plain[0].length === rest.length) return fields;
    rest = rest.slice(plain[0].length + 1);
  }
}

function oneOf<T extends string>(
  options: readonly T[],
  value: string,
  error: (near: string | null) => BuildError,
): T {
  const found = options.find((option) => option === value.toLowerCase());
  if (found === undefined) throw error(suggest(value, options, false));
  return found;
}

function readBool(key: string, value: string): boolean {
  const found = parseBool(value);
  if (found === null) throw invalid(`invalid value for ${key}: ${value}`);
  return found;
}

function readNumber(key: string, value: string, form: RegExp, base: 8 | 10): number {
  const number = form.test(value) ? Number.parseInt(value, base) : Number.NaN;
  if (!(number <= UINT32_MAX)) throw invalid(`invalid value ${value} for ${key}`);
  return number;
}

/** "64m", "1.5GiB": units of 1024 (docker/go-units, RAMInBytes). */
function readSize(value: string): number {
  const [, digits, unit = ""] = /^(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?$/i.exec(value) ?? [];
  if (digits === undefined) throw invalid(`invalid value for size: ${value}`);
  return Math.trunc(Number(digits) * 1024 ** " kmgtp".indexOf(unit === "" ? " " : unit.toLowerCase()));
}

function invalid(message: string, near: string | null = null): BuildError {
  return new BuildError("MOUNT_INVALID", message, near === null ? {} : { hint: `did you mean ${near}?` });
}
