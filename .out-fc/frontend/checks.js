// Build checks: which run, what they found, whether findings fail the build. Rules that need only the text are here; those
// that need values (variables, base images, .dockerignore) are found while converting and reported by `warn`.
import { BuildError } from "../solver/graph/error.js";
import { ruleOf, ruleUrl } from "./check-rules.js";
import { duplicateStageName, instructionCasing, jsonArgsRecommended, legacyKeyValue, multipleInstructions, reservedStageName, secretInArgOrEnv, } from "./check-texts.js";
import { quote, trimSpace } from "./go-strings.js";
const NOTHING = {
    skipAll: false,
    skip: new Set(),
    experimentalAll: false,
    experimental: new Set(),
    fail: false,
};
/** Opens the checks of a build. `directive`: the file's `# check=`; `buildArg`: BUILDKIT_DOCKERFILE_CHECK, which takes
 *  its place; `instructions`: for the comments above them. Throws DOCKERFILE_SYNTAX or USAGE for unknown options. */
export function openChecks(directive, buildArg = null, instructions = []) {
    const options = buildArg !== null ? readBuildArg(buildArg) : readDirective(directive);
    const byLine = skipsByLine(instructions);
    const found = [];
    return {
        failOnWarning: options.fail,
        warn(name, detail, at) {
            const rule = ruleOf(name);
            const here = byLine.get(at.start.line) ?? NOTHING;
            if (rule.experimental) {
                if (!options.experimentalAll && !options.experimental.has(name))
                    return;
            }
            else if (options.skipAll || options.skip.has(name)) {
                return;
            }
            if (here.skipAll || here.skip.has(name))
                return;
            found.push({ rule: name, description: rule.description, url: ruleUrl(name), detail, at });
        },
        list: () => found.toSorted((a, b) => a.at.start.line - b.at.start.line),
        failure() {
            if (!options.fail || found.length === 0)
                return null;
            const rules = [...new Set(found.map((warning) => warning.rule))].sort();
            return new BuildError("CHECKS_FAILED", `lint violation found for rules: ${rules.join(", ")}`, {
                at: found[0]?.at ?? null,
                hint: `mend them, or switch them off with "# check=skip=${rules.join(",")}"`,
            });
        },
    };
}
/** The check directive of a parsed file. */
export function checkDirective(parsed) {
    return parsed.directives.find((directive) => directive.name === "check") ?? null;
}
/** Findings of the whole file, whether its stages are reached or not: what the parser saw, stage names and casing. */
export function staticChecks(parsed, checks) {
    for (const { rule, detail, at } of parsed.warnings)
        checks.warn(rule, detail, at);
    checkStageNames(parsed.instructions, checks);
    checkCasing(parsed.instructions, checks);
}
/** Findings within one reached stage. `commands`: the instructions behind its FROM (with triggers of the base image);
 *  `hasShell`: the base image, or a stage it is built on, has a SHELL of its own. */
export function stageChecks(commands, hasShell, checks) {
    let shellIsSet = hasShell;
    const last = new Map();
    for (const command of commands) {
        switch (command.kind) {
            case "shell":
                shellIsSet = true;
                break;
            case "cmd":
            case "entrypoint":
                if (command.command.form === "shell" && !shellIsSet) {
                    checks.warn("JSONArgsRecommended", jsonArgsRecommended(command.keyword), command.at);
                }
                useOnce(command, last, checks);
                break;
            case "healthcheck":
                useOnce(command, last, checks);
                break;
            case "env":
            case "label":
                for (const pair of command.pairs) {
                    if (command.kind === "env")
                        checkSecret("ENV", pair.key, command.at, checks);
                    if (pair.legacy) {
                        checks.warn("LegacyKeyValueFormat", legacyKeyValue(command.keyword), command.at);
                    }
                }
                break;
            case "arg":
                for (const { key } of command.args)
                    checkSecret("ARG", key, command.at, checks);
                break;
            default:
                break;
        }
    }
}
/** Of two CMD, the first is the one nobody will see: it is the one reported. */
function useOnce(command, last, checks) {
    const before = last.get(command.kind);
    if (before !== undefined) {
        checks.warn("MultipleInstructionsDisallowed", multipleInstructions(command.keyword), before.at);
    }
    last.set(command.kind, command);
}
const SECRET = /(?:_|^)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|$)/i;
const NO_SECRET = /(?:_|^)(?:public|file|version)(?:_|$)/i;
function checkSecret(instruction, key, at, checks) {
    if (!SECRET.test(key) || NO_SECRET.test(key))
        return;
    checks.warn("SecretsUsedInArgOrEnv", secretInArgOrEnv(instruction, key), at);
}
function checkStageNames(instructions, checks) {
    const seen = new Set();
    for (const instruction of instructions) {
        if (instruction.kind !== "from" || instruction.as === null)
            continue;
        const { as: name, at } = instruction;
        if (name === "context" || name === "scratch") {
            checks.warn("ReservedStageName", reservedStageName(name), at);
        }
        if (seen.has(name))
            checks.warn("DuplicateStageName", duplicateStageName(name), at);
        seen.add(name);
    }
}
/** All keywords should be written like most are. ARGs before the first FROM belong to no stage and do not count. */
function checkCasing(instructions, checks) {
    const first = instructions.findIndex((instruction) => instruction.kind === "from");
    const counted = first < 0 ? [] : instructions.slice(first);
    let lower = 0;
    let upper = 0;
    for (const { keyword } of counted) {
        if (keyword === keyword.toLowerCase())
            lower++;
        else if (keyword === keyword.toUpperCase())
            upper++;
    }
    const isLower = lower > upper;
    for (const { keyword, at } of counted) {
        if (keyword === (isLower ? keyword.toLowerCase() : keyword.toUpperCase()))
            continue;
        const detail = instructionCasing(keyword, isLower ? "lowercase" : "uppercase");
        checks.warn("ConsistentInstructionCasing", detail, at);
    }
}
function readBuildArg(text) {
    try {
        return readOptions(text);
    }
    catch (error) {
        if (!(error instanceof BuildError))
            throw error;
        throw new BuildError("USAGE", `BUILDKIT_DOCKERFILE_CHECK: ${error.message}`, { hint: error.hint });
    }
}
function readDirective(directive) {
    if (directive === null)
        return NOTHING;
    try {
        // What follows a blank is a remark.
        return readOptions(directive.value.split(" ", 1)[0] ?? "");
    }
    catch (error) {
        if (!(error instanceof BuildError))
            throw error;
        throw new BuildError(error.code, error.message, { at: directive.at, hint: error.hint });
    }
}
const COMMENT = /^check[\t ]*=(.*)$/is;
/** `# check=skip=RULE` in the comments above an instruction counts for that instruction; a faulty one is a mere comment. */
function skipsByLine(instructions) {
    const result = new Map();
    for (const { comments, at } of instructions) {
        const skip = new Set();
        let skipAll = false;
        for (const comment of comments) {
            const text = COMMENT.exec(comment)?.[1];
            if (text === undefined)
                continue;
            try {
                const options = readOptions(trimSpace(text).split(" ", 1)[0] ?? "");
                skipAll ||= options.skipAll;
                for (const name of options.skip)
                    skip.add(name);
            }
            catch (error) {
                if (!(error instanceof BuildError))
                    throw error;
            }
        }
        if (!skipAll && skip.size === 0)
            continue;
        for (let line = at.start.line; line <= at.end.line; line++) {
            result.set(line, { ...NOTHING, skipAll, skip });
        }
    }
    return result;
}
/** skip=A,B;experimental=C;error=true */
function readOptions(text) {
    if (trimSpace(text) === "")
        return NOTHING;
    let { skipAll, skip, experimentalAll, experimental, fail } = NOTHING;
    for (const part of text.split(";")) {
        const equals = part.indexOf("=");
        if (equals < 0)
            throw wrong(part);
        const value = trimSpace(part.slice(equals + 1));
        switch (trimSpace(part.slice(0, equals))) {
            case "skip":
                if (value === "all")
                    skipAll = true;
                else
                    skip = new Set(value.split(",").map(trimSpace));
                break;
            case "experimental":
                if (value === "all")
                    experimentalAll = true;
                else
                    experimental = new Set(value.split(",").map(trimSpace));
                break;
            case "error":
                fail = readBool(value, part);
                break;
            default:
                throw wrong(trimSpace(part.slice(0, equals)));
        }
    }
    return { skipAll, skip, experimentalAll, experimental, fail };
}
/** Go strconv.ParseBool. */
function readBool(value, part) {
    if (/^(?:1|t|T|true|TRUE|True)$/.test(value))
        return true;
    if (/^(?:0|f|F|false|FALSE|False)$/.test(value))
        return false;
    throw new BuildError("DOCKERFILE_SYNTAX", `failed to parse check option ${quote(part)}`, {
        hint: "error takes true or false",
    });
}
function wrong(option) {
    return new BuildError("DOCKERFILE_SYNTAX", `invalid check option ${quote(option)}`, {
        hint: "as in # check=skip=RULE,RULE;error=true",
    });
}
//# sourceMappingURL=checks.js.map