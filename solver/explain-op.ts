// Differences between two versions of one op, in Dockerfile terms: command, environment, build arguments, options.

import { splitName } from "./align.ts";
import type { StepTrace } from "./trace.ts";

export type OpChange =
  | {
      readonly kind: "build-arg" | "environment";
      readonly name: string;
      readonly before: string | null;
      readonly after: string | null;
      /** The build argument that it came from. */
      readonly via: string | null;
    }
  /** Text of the instruction, or content of its here document. */
  | {
      readonly kind: "command" | "here-document";
      readonly before: string | null;
      readonly after: string | null;
      readonly via: string | null;
    }
  /** name: "workdir", "user", "--mount", "--chown"… */
  | {
      readonly kind: "option";
      readonly name: string;
      readonly before: string | null;
      readonly after: string | null;
      readonly via: string | null;
    }
  | { readonly kind: "platform"; readonly before: string | null; readonly after: string | null };

export interface OpContext {
  readonly argsBefore: Readonly<Record<string, string>>;
  readonly argsNow: Readonly<Record<string, string>>;
  /** Declared by ARG and not by ENV. */
  readonly argNames: ReadonlySet<string>;
}

/** Changes of the op itself, in the order of its ingredients. */
export function compareOps(before: StepTrace, now: StepTrace, context: OpContext): readonly OpChange[] {
  if (before.op["op"] !== now.op["op"])
    return [{ kind: "command", before: textOf(before), after: textOf(now), via: null }];
  const changes: OpChange[] = [];
  for (const name of new Set([...Object.keys(before.op), ...Object.keys(now.op)])) {
    if ((before.op[name] ?? null) !== (now.op[name] ?? null))
      changes.push(...compareField(name, before, now, context));
  }
  return changes.map((change) => ("via" in change ? { ...change, via: viaOf(change, context) } : change));
}

/** How the ingredients of a command are called where a user sets them. */
const OPTIONS: Readonly<Record<string, string>> = {
  cwd: "workdir",
  user: "user",
  extraHosts: "--add-host",
  hostname: "hostname",
  ulimits: "--ulimit",
  validExitCodes: "exit codes",
  network: "--network",
  security: "--security",
  devices: "--device",
};

function compareField(
  name: string,
  before: StepTrace,
  now: StepTrace,
  context: OpContext,
): readonly OpChange[] {
  const [old, value] = [before.op[name] ?? null, now.op[name] ?? null];
  const [a, b] = [parsed(old), parsed(value)];
  switch (name) {
    case "platform":
      return [{ kind: "platform", before: old, after: value }];
    case "args":
      return compareArgs(a, b, before, now);
    case "env":
      return compareEnv(a, b, context);
    case "mounts":
      return compareLists("--mount", a, b, mountText);
    case "secretEnv":
      return compareLists("--mount", a, b, (one) => `type=secret,env ${shown(one)}`);
    case "actions":
      return compareActions(a, b, before, now);
    case "place": // compared as sources
      return [];
    case "attrs":
      return compareLists("source option", a, b, (one) =>
        Array.isArray(one) ? one.map(shown).join("=") : shown(one),
      );
    default:
      return [option(OPTIONS[name] ?? name, plain(a), plain(b))];
  }
}

/** A shell is what stands before a command line: /bin/sh -c. */
function compareArgs(a: unknown, b: unknown, before: StepTrace, now: StepTrace): readonly OpChange[] {
  if (Array.isArray(a) && Array.isArray(b) && a.length > 1 && b.length > 1) {
    const [oldShell, shell] = [a.slice(0, -1).join(" "), b.slice(0, -1).join(" ")];
    if (a.at(-1) === b.at(-1)) return [option("shell", oldShell, shell)];
    if (oldShell === shell)
      return [{ kind: "command", before: shown(a.at(-1)), after: shown(b.at(-1)), via: null }];
  }
  const text = (args: unknown, step: StepTrace): string =>
    Array.isArray(args) ? args.join(" ") : textOf(step);
  return [{ kind: "command", before: text(a, before), after: text(b, now), via: null }];
}

function compareEnv(a: unknown, b: unknown, context: OpContext): readonly OpChange[] {
  const [old, now] = [variables(a), variables(b)];
  const changes: OpChange[] = [];
  for (const name of new Set([...old.keys(), ...now.keys()])) {
    const [before, after] = [old.get(name) ?? null, now.get(name) ?? null];
    if (before === after) continue;
    const isArg = context.argNames.has(name);
    changes.push({ kind: isArg ? "build-arg" : "environment", name, before, after, via: null });
  }
  // The same variables in another order: programs see the order.
  if (changes.length === 0) changes.push(option("order of the environment", null, null));
  return changes;
}

/** env is a list of "NAME=value" or of [name, value]. */
function variables(env: unknown): ReadonlyMap<string, string> {
  const pairs = Array.isArray(env) ? (env as unknown[]) : [];
  return new Map(
    pairs.map((entry): [string, string] => {
      if (Array.isArray(entry)) return [String(entry[0]), String(entry[1])];
      const text = String(entry);
      const at = text.indexOf("=");
      return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

function compareLists(
  name: string,
  a: unknown,
  b: unknown,
  textOf: (entry: unknown) => string,
): readonly OpChange[] {
  if (!Array.isArray(a) || !Array.isArray(b)) return [option(name, plain(a), plain(b))];
  const [old, now] = [a.map(textOf), b.map(textOf)];
  const gone = old.filter((text) => !now.includes(text));
  const come = now.filter((text) => !old.includes(text));
  if (gone.length + come.length === 0) return [option(name, old.join(" "), now.join(" "))];
  return Array.from({ length: Math.max(gone.length, come.length) }, (_, index) =>
    option(name, gone[index] ?? null, come[index] ?? null),
  );
}

/** The fields of solver/cache-key.ts, mountFields(). */
function mountText(mount: unknown): string {
  if (!Array.isArray(mount)) return shown(mount);
  const [kind, target, ...rest] = mount as unknown[];
  const parts = [`type=${shown(kind)}`, `target=${shown(target)}`];
  switch (kind) {
    case "bind":
      parts.push(`source=${shown(rest[1])}`, rest[2] === true ? "ro" : "rw");
      break;
    case "cache":
      parts.push(`id=${shown(rest[3])}`, `sharing=${shown(rest[4])}`);
      break;
    case "tmpfs":
      if (rest[0] !== null) parts.push(`size=${shown(rest[0])}`);
      break;
    default:
      parts.push(`id=${shown(rest[0])}`, `uid=${shown(rest[1])}`, `gid=${shown(rest[2])}`);
      if (typeof rest[3] === "number") parts.push(`mode=${rest[3].toString(8)}`);
      parts.push(rest[4] === true ? "required=false" : "required=true");
  }
  return parts.join(",");
}

/** Fields of file actions that are options of COPY, ADD and the like. */
const ACTION_OPTIONS: Readonly<Record<string, string>> = {
  owner: "--chown",
  mode: "--chmod",
  modeStr: "--chmod",
  excludePatterns: "--exclude",
  includePatterns: "--parents",
  timestampNs: "SOURCE_DATE_EPOCH",
  attemptUnpack: "--unpack",
  followSymlink: "following links",
};

const PLACES: Readonly<Record<string, string>> = {
  src: "source",
  dest: "destination",
  path: "path",
  target: "target",
};

function compareActions(a: unknown, b: unknown, before: StepTrace, now: StepTrace): readonly OpChange[] {
  const texts = (): OpChange => ({ kind: "command", before: textOf(before), after: textOf(now), via: null });
  if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return [texts()];
  const changes = new Map<string, OpChange>();
  for (const [index, action] of b.entries()) {
    const [old, value] = [fieldsOf(a[index]), fieldsOf(action)];
    for (const name of new Set([...Object.keys(old), ...Object.keys(value)])) {
      const [was, is] = [JSON.stringify(old[name] ?? null), JSON.stringify(value[name] ?? null)];
      if (was === is) continue;
      if (name === "data")
        changes.set(name, {
          kind: "here-document",
          before: plain(old[name]),
          after: plain(value[name]),
          via: null,
        });
      else {
        const called = ACTION_OPTIONS[name];
        if (called === undefined && textOf(before) !== textOf(now)) changes.set("command", texts());
        else if (called === undefined) {
          // Written the same and meant otherwise: a relative path below another WORKDIR.
          if (name in PLACES)
            changes.set(name, option(PLACES[name] ?? name, plain(old[name]), plain(value[name])));
        } else if (!changes.has(called))
          changes.set(called, option(called, fieldText(old[name]), fieldText(value[name])));
      }
    }
  }
  return changes.size > 0 ? [...changes.values()] : [texts()];
}

function fieldsOf(action: unknown): Readonly<Record<string, unknown>> {
  return Array.isArray(action)
    ? (Object.fromEntries(action as [string, unknown][]) as Record<string, unknown>)
    : {};
}

/** An owner is [["group", …], ["user", …]], each null or again pairs. */
function fieldText(value: unknown): string | null {
  if (typeof value === "number") return value.toString(8);
  if (!Array.isArray(value)) return plain(value);
  const whole = value as unknown[];
  if (!whole.every((one) => Array.isArray(one) && one.length === 2 && typeof one[0] === "string"))
    return plain(value);
  const fields = Object.fromEntries(whole as [string, unknown][]) as Record<string, unknown>;
  if ("user" in fields || "group" in fields) {
    const [user, group] = [who(fields["user"]), who(fields["group"])];
    return group === null || group === user ? user : `${user ?? ""}:${group}`;
  }
  return plain(value);
}

function who(value: unknown): string | null {
  if (!Array.isArray(value)) return null;
  const { id, name } = Object.fromEntries(value as [string, unknown][]) as Record<string, unknown>;
  return id === undefined ? shown(name) : shown(id);
}

function option(name: string, before: string | null, after: string | null): OpChange {
  return { kind: "option", name, before, after, via: null };
}

/** The build argument whose new value in place of its old one makes the new text of the old. */
function viaOf(change: OpChange & { readonly via: string | null }, context: OpContext): string | null {
  const { before, after } = change;
  if (before === null || after === null || change.kind === "build-arg") return null;
  for (const [name, value] of Object.entries(context.argsNow)) {
    const old = context.argsBefore[name];
    if (old === undefined || old === value || old === "") continue;
    if (before.replaceAll(old, value) === after) return name;
  }
  return null;
}

function textOf(step: StepTrace): string {
  return splitName(step.name).text;
}

function parsed(value: string | null): unknown {
  if (value === null) return null;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value; // plain text, or cut because it was too long
  }
}

function plain(value: unknown): string | null {
  if (value === null || value === undefined || value === "") return null;
  return shown(value);
}

function shown(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}
