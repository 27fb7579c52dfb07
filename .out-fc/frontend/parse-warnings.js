// Build checks on single instructions as they are read, before it is known whether the instruction is valid.
import { deprecatedMaintainer, fromAsCasing, invalidDescription, stageNameCasing } from "./check-texts.js";
/** StageNameCasing, FromAsCasing, MaintainerDeprecated and InvalidDefinitionDescription. */
export function definitionWarnings(raw) {
    const warn = (rule, detail) => ({ rule, detail, at: raw.at });
    const keyword = raw.split.keyword;
    const words = raw.arguments.kind === "words" ? raw.arguments.words : [];
    switch (keyword.toLowerCase()) {
        case "maintainer":
            return [warn("MaintainerDeprecated", deprecatedMaintainer())];
        case "arg": {
            const keys = words.map((word) => word.split("=", 1)[0] ?? "");
            return isDescribed(raw.comments, keys)
                ? []
                : [warn("InvalidDefinitionDescription", invalidDescription("ARG", keys))];
        }
        case "from": {
            const [, as, name] = words;
            if (words.length !== 3 || as === undefined || name === undefined)
                return [];
            const warnings = [];
            const stage = name.toLowerCase();
            if (name !== stage)
                warnings.push(warn("StageNameCasing", stageNameCasing(name)));
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
        default:
            return [];
    }
}
/** Whether the comment directly above, if there is one, starts with one of the names. Check comments are not counted. */
function isDescribed(comments, names) {
    const last = comments.filter((comment) => !/^check[\t ]*=/i.test(comment)).at(-1);
    if (last === undefined || names.length === 0)
        return true;
    return names.includes(last.split(" ", 1)[0] ?? "");
}
//# sourceMappingURL=parse-warnings.js.map