// Which build arguments a Dockerfile declares, for explaining a build; their values in a stage are not evaluated.

import type { Instruction } from "./instruction.ts";

export interface DeclaredArgs {
  readonly names: ReadonlySet<string>;
  /** Names that ENV sets, which hides an argument of that name. */
  readonly hidden: ReadonlySet<string>;
  /** Defaults as far as they are plain: where one is made of another argument, that one explains. */
  readonly defaults: ReadonlyMap<string, string>;
}

/** Of all stages together; the last default of a name counts. */
export function declaredArgs(instructions: readonly Instruction[]): DeclaredArgs {
  const names = new Set<string>();
  const hidden = new Set<string>();
  const defaults = new Map<string, string>();
  for (const instruction of instructions) {
    if (instruction.kind === "env") for (const { key } of instruction.pairs) hidden.add(key);
    if (instruction.kind !== "arg") continue;
    for (const { key, value } of instruction.args) {
      names.add(key);
      const plain = value === null ? null : /^(?:"([^"$\\]*)"|'([^']*)'|([^\s"'$\\]+))$/.exec(value);
      if (plain !== null) defaults.set(key, plain[1] ?? plain[2] ?? plain[3] ?? "");
    }
  }
  return { names, hidden, defaults };
}
