// The flags of each instruction, and their validation.

import { BuildError } from "../solver/graph/error.ts";
import type { Flag } from "./instruction.ts";
import { suggest } from "./suggest.ts";

type FlagType = "bool" | "text" | "list";

const HEALTHCHECK: Readonly<Record<string, FlagType>> = {
  interval: "text",
  timeout: "text",
  "start-period": "text",
  "start-interval": "text",
  retries: "text",
};

// Dockerfile reference, the instructions' options. An instruction that is missing here never looks at its flags.
const KNOWN: Readonly<Record<string, Readonly<Record<string, FlagType>>>> = {
  from: { platform: "text" },
  add: {
    chown: "text",
    chmod: "text",
    link: "bool",
    "keep-git-dir": "bool",
    checksum: "text",
    unpack: "bool",
    exclude: "list",
  },
  copy: { chown: "text", chmod: "text", link: "bool", from: "text", parents: "bool", exclude: "list" },
  run: { mount: "list", network: "text", security: "text", device: "list" },
  healthcheck: HEALTHCHECK,
  env: {},
  label: {},
  maintainer: {},
  onbuild: {},
  workdir: {},
  cmd: {},
  entrypoint: {},
  expose: {},
  user: {},
  volume: {},
  shell: {},
};

/** Throws DOCKERFILE_SYNTAX for an unknown, doubled or malformed flag. */
export function checkFlags(kind: string, flags: readonly Flag[]): void {
  const known = KNOWN[kind];
  if (known === undefined || flags.length === 0) return;
  const used = new Set<string>();
  for (const flag of flags) {
    const type = Object.hasOwn(known, flag.name) ? known[flag.name] : undefined;
    if (type === undefined) {
      const near = suggest(flag.name, Object.keys(known), true);
      throw wrong(flag, `unknown flag: --${flag.name}`, near === null ? null : `did you mean ${near}?`);
    }
    if (used.has(flag.name) && type !== "list") throw wrong(flag, `duplicate flag specified: --${flag.name}`);
    used.add(flag.name);
    if (type === "bool") {
      if (flag.value === "") throw wrong(flag, `missing a value on flag: --${flag.name}`);
      if (flag.value !== null && !/^(?:true|false)$/i.test(flag.value)) {
        throw wrong(flag, `expecting boolean value for flag --${flag.name}, not: ${flag.value}`);
      }
    } else if (flag.value === null) {
      throw wrong(flag, `missing a value on flag: --${flag.name}`);
    }
  }
}

/** The value of a flag that may stand once; null when it was not given. */
export function flagValue(flags: readonly Flag[], name: string): string | null {
  return flags.find((flag) => flag.name === name)?.value ?? null;
}

const NO_VALUES: readonly string[] = [];

/** All values of a flag that may be repeated. */
export function flagValues(flags: readonly Flag[], name: string): readonly string[] {
  if (flags.length === 0) return NO_VALUES; // as most instructions have it
  return flags.filter((flag) => flag.name === name).map((flag) => flag.value ?? "");
}

/** A checked flag that is a switch: on when given without a value or with "true". */
export function isFlagOn(flags: readonly Flag[], name: string): boolean {
  const flag = flags.find((candidate) => candidate.name === name);
  return flag !== undefined && (flag.value === null || flag.value.toLowerCase() === "true");
}

function wrong(flag: Flag, message: string, hint: string | null = null): BuildError {
  return new BuildError("DOCKERFILE_SYNTAX", message, { at: flag.at, hint });
}
