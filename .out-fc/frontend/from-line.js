// FROM lines and the ARGs before them: the values that decide which stages and images there are. Dockerfile reference,
// "FROM", "Understand how ARG and FROM interact".
import { BuildError } from "../solver/graph/error.js";
import { constantPlatform, invalidDefaultArg, redundantTargetPlatform, undefinedArgInFrom, } from "./check-texts.js";
import { parseImageName } from "./image-name.js";
import { atPlace } from "./place.js";
import { parsePlatform } from "./platform-args.js";
import { suggest } from "./suggest.js";
import { expandWord } from "./words.js";
/** The arguments before the first FROM, with their values: build arguments win over defaults. `values` starts with the
 *  platform arguments and is added to. Throws DOCKERFILE_SYNTAX. */
export function readGlobalArgs(globals, values, buildArgs, escape) {
    const declared = new Map();
    for (const instruction of globals) {
        for (const arg of instruction.args) {
            let value = buildArgs.get(arg.key);
            let uses = [];
            if (value === undefined && arg.value !== null) {
                const expanded = atPlace(instruction.at, () => expandWord(arg.value ?? "", values, { escape }));
                value = expanded.text;
                uses = expanded.matched.filter((name) => name !== arg.key);
            }
            value ??= values.get(arg.key);
            if (value !== undefined)
                values.set(arg.key, value);
            declared.set(arg.key, {
                value: value ?? "",
                comment: arg.comment,
                at: instruction.at,
                uses: new Set(uses),
            });
        }
    }
    return declared;
}
/** Reads a FROM line: variables filled in, the platform read. Reports what the checks say of it. Throws
 *  DOCKERFILE_SYNTAX, PLATFORM_UNSUPPORTED. */
export function readFrom(from, options) {
    const { globalArgs, escape } = options;
    const image = atPlace(from.at, () => expandWord(from.image, globalArgs, { escape }));
    reportUndeclared(image.unmatched, from, options);
    if (image.text === "") {
        throw new BuildError("DOCKERFILE_SYNTAX", `base name (${from.image}) should not be blank`, {
            at: from.at,
            hint: nearest(image.unmatched, globalArgs.keys()),
        });
    }
    const usedArgs = new Set(image.matched);
    const platform = from.platform === null ? null : readPlatform(from, from.platform, usedArgs, options);
    return { baseName: image.text, platform, usedArgs };
}
function readPlatform(from, flag, used, options) {
    const { globalArgs, escape, checks } = options;
    const expanded = atPlace(from.at, () => expandWord(flag, globalArgs, { escape }));
    reportUndeclared(expanded.unmatched, from, options);
    for (const name of expanded.matched)
        used.add(name);
    const hint = nearest(expanded.unmatched, globalArgs.keys());
    if (expanded.text === "") {
        throw new BuildError("PLATFORM_UNSUPPORTED", `empty platform value from expression ${flag}`, {
            at: from.at,
            hint,
        });
    }
    let platform;
    try {
        platform = parsePlatform(expanded.text, options.buildPlatform);
    }
    catch (cause) {
        const reason = cause instanceof Error ? cause.message : "";
        throw new BuildError("PLATFORM_UNSUPPORTED", `failed to parse platform ${flag}: ${reason}`, {
            at: from.at,
            hint,
            cause,
        });
    }
    if (/^\$(?:TARGETPLATFORM|\{TARGETPLATFORM\})$/.test(flag)) {
        checks.warn("RedundantTargetPlatform", redundantTargetPlatform(flag), from.at);
    }
    if (expanded.matched.length === 0 && expanded.unmatched.length === 0) {
        // A stage that is named after its platform is meant to have just that.
        const name = from.as ?? "";
        if (!name.includes(platform.os) && !name.includes(platform.architecture)) {
            checks.warn("FromPlatformFlagConstDisallowed", constantPlatform(expanded.text), from.at);
        }
    }
    return platform;
}
function reportUndeclared(names, from, { declared, globalArgs, checks }) {
    const known = [...new Set([...declared.keys(), ...globalArgs.keys()])];
    for (const name of names) {
        if (!declared.has(name))
            checks.warn("UndefinedArgInFrom", undefinedArgInFrom(name, known), from.at);
    }
}
/** FROM should name an image also when nobody gives a build argument. */
export function checkDefaults(froms, { defaultArgs, escape, checks }) {
    if (defaultArgs === null)
        return;
    for (const from of froms) {
        try {
            parseImageName(expandWord(from.image, defaultArgs, { escape }).text);
        }
        catch (error) {
            if (!(error instanceof BuildError))
                throw error;
            if (error.code !== "REFERENCE_INVALID")
                return; // does not expand: an error of its own
            checks.warn("InvalidDefaultArgInFrom", invalidDefaultArg(from.image), from.at);
        }
    }
}
function nearest(names, known) {
    const options = [...known];
    for (const name of names) {
        const near = suggest(name, options, true);
        if (near !== null)
            return `did you mean $${near}?`;
    }
    return null;
}
//# sourceMappingURL=from-line.js.map