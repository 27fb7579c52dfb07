// What is different on purpose in the second build of verify.

import { availableParallelism } from "node:os";
import { BuildError } from "../solver/graph/error.ts";
import type { KnownValue } from "./engine/compare/contract.ts";
import type { StepConditions } from "../worker/step-conditions.ts";
import { STEP_HOSTNAME } from "../worker/step-conditions.ts";

export const CONDITIONS = [
  "context-path",
  "directory-order",
  "host-name",
  "locale",
  "time-zone",
  "processors",
  "umask",
] as const;
export type ConditionName = (typeof CONDITIONS)[number];

/** One condition as it was in the two builds. */
export interface Condition {
  readonly name: string;
  readonly a: string;
  readonly b: string;
}

/** Of the second build. The zone needs no files in the image, and has a name that is found again (POSIX, "TZ"); it is always in another day,
 *  as far ahead as C libraries go. The locale is one that few images
 *  have, and sorts otherwise. */
const HOSTNAME = "other-host";
const ZONE = { name: "VFY", value: "VFY-24:37", aheadSeconds: 24 * 3600 + 37 * 60 } as const;
const LOCALE = "fr_FR.UTF-8";
const UMASK = 0o077;

export interface Varied {
  readonly steps: StepConditions;
  /** Of the process; null: as it is. */
  readonly umask: number | null;
  readonly env: Readonly<Record<string, string>>;
  readonly copiesContext: boolean;
  readonly conditions: readonly Condition[];
  readonly notVaried: readonly string[];
  readonly known: readonly KnownValue[];
}

/** Reads --same. Throws USAGE. */
export function readSame(texts: readonly string[]): ReadonlySet<ConditionName> {
  const names = texts.flatMap((text) => text.split(",")).filter((text) => text !== "");
  return new Set(
    names.map((text) => {
      const name = CONDITIONS.find((one) => one === text);
      if (name !== undefined) return name;
      throw new BuildError("USAGE", `--same: ${JSON.stringify(text)} is no condition`, {
        hint: `one of ${CONDITIONS.join(", ")}`,
      });
    }),
  );
}

/** What differs in the second build. `same`: what does not; `isBuiltIn`: steps run in the built-in sandbox. */
export function vary(
  same: ReadonlySet<ConditionName>,
  { isBuiltIn }: { readonly isBuiltIn: boolean },
): Varied {
  const conditions: Condition[] = [
    { name: "store", a: "this user's", b: "a new one: no step is cached" },
    { name: "clock", a: "earlier", b: "later, by seconds" },
    { name: "parallel steps", a: "as many as there are", b: "one at a time" },
  ];
  const notVaried: string[] = [
    "the date: Linux has no clock of its own for a group of processes (time namespaces leave CLOCK_REALTIME as it is)",
    "user and ids outside the sandbox: they are the caller's",
    "kernel and processor: they are this machine's",
  ];
  const known: KnownValue[] = [];
  const env: string[] = [];
  const isVaried = (name: ConditionName, a: string, b: string): boolean => {
    if (same.has(name)) {
      notVaried.push(`${name}: --same`);
      return false;
    }
    conditions.push({ name, a, b });
    return true;
  };
  const copiesContext = isVaried(
    "context-path",
    "as given",
    "a copy at another path, made in the opposite order",
  );
  const hasHostname = isVaried("host-name", STEP_HOSTNAME, HOSTNAME);
  if (hasHostname) known.push({ class: "host-name", what: "host name", a: STEP_HOSTNAME, b: HOSTNAME });
  if (isVaried("time-zone", "not set", `TZ=${ZONE.value}`)) {
    env.push(`TZ=${ZONE.value}`);
    known.push({
      class: "locale",
      what: "time zone",
      a: "UTC",
      b: ZONE.name,
      aheadSeconds: ZONE.aheadSeconds,
    });
  }
  if (isVaried("locale", "not set", `LC_ALL=${LOCALE}`)) {
    env.push(`LC_ALL=${LOCALE}`, `LANG=${LOCALE}`);
    known.push({ class: "locale", what: "locale", a: "", b: LOCALE });
  }
  let processors: number | null = null;
  let reversedNames = false;
  const count = availableParallelism();
  if (!isBuiltIn) notVaried.push("directory-order, processors: only in the built-in sandbox");
  else {
    reversedNames = isVaried("directory-order", "as the file system has it", "backwards");
    if (count === 1) notVaried.push("processors: this machine has one");
    else if (isVaried("processors", String(count), "1")) {
      processors = 1;
      known.push({
        class: "unordered-output",
        what: "number of processors",
        a: String(count),
        b: "1",
        isLine: true,
      });
    }
  }
  const hasUmask = isVaried("umask", "the caller's", UMASK.toString(8).padStart(4, "0"));
  const variables = Object.fromEntries(env.map((text) => text.split("=", 2) as [string, string]));
  return {
    steps: { env, hostname: hasHostname ? HOSTNAME : null, processors, reversedNames },
    umask: hasUmask ? UMASK : null,
    env: variables,
    copiesContext,
    conditions,
    notVaried,
    known,
  };
}
