// Build checks on single instructions during parsing, before it is known whether the instruction is valid.

import type { RuleName } from "./check-rules.ts";
import type { ParseWarning } from "./instruction.ts";
import { deprecatedMaintainer, fromAsCasing, invalidDescription, stageNameCasing } from "./check-texts.ts";
import type { RawInstruction } from "./parse-instruction.ts";

const NOTHING: readonly ParseWarning[] = [];

/** StageNameCasing, FromAsCasing, MaintainerDeprecated and InvalidDefinitionDescription. */
export function definitionWarnings(raw: RawInstruction): readonly ParseWarning[] {
  const { keyword, kind } = raw.split;
  if (kind !== "maintainer" && kind !== "arg" && kind !== "from") return NOTHING;
  const warn = (rule: RuleName, detail: string): ParseWarning => ({ rule, detail, at: raw.at });
  const words = raw.arguments.kind === "words" ? raw.arguments.words : [];
  switch (kind) {
    case "maintainer":
      return [warn("MaintainerDeprecated", deprecatedMaintainer())];
    case "arg": {
      if (raw.comments.length === 0) return NOTHING;
      const keys = words.map((word) => word.split("=", 1)[0] ?? "");
      return isDescribed(raw.comments, keys)
        ? []
        : [warn("InvalidDefinitionDescription", invalidDescription("ARG", keys))];
    }
    case "from": {
      const [, as, name] = words;
      if (words.length !== 3 || as === undefined || name === undefined) return [];
      const warnings: ParseWarning[] = [];
      const stage = name.toLowerCase();
      if (name !== stage) warnings.push(warn("StageNameCasing", stageNameCasing(name)));
      // A keyword of mixed case says nothing about how AS should look; it has a check of its own.
      const isLower = keyword === keyword.toLowerCase();
      const isUpper = keyword === keyword.toUpperCase();
      if ((isLower || isUpper) && as !== (isLower ? as.toLowerCase() : as.toUpperCase())) {
        warnings.push(warn("FromAsCasing", fromAsCasing(keyword, as)));
      }
      if (as.toLowerCase() === "as" && !isDescribed(raw.comments, [stage])) {
        warnings.push(warn("InvalidDefinitionDescription", invalidDescription("FROM", [stage])));
      }
      return warnings;
    }
  }
}

/** Whether the comment directly above, if there is one, starts with one of the names. Check comments are not counted. */
function isDescribed(comments: readonly string[], names: readonly string[]): boolean {
  const last = comments.filter((comment) => !/^check[\t ]*=/i.test(comment)).at(-1);
  if (last === undefined || names.length === 0) return true;
  return names.includes(last.split(" ", 1)[0] ?? "");
}
