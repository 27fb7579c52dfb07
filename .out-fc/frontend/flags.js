// The flags each instruction knows, and what is wrong with those that were given.
import { BuildError } from "../solver/graph/error.js";
import { suggest } from "./suggest.js";
const HEALTHCHECK = {
    interval: "text",
    timeout: "text",
    "start-period": "text",
    "start-interval": "text",
    retries: "text",
};
// Dockerfile reference, the instructions' options. An instruction that is missing here never looks at its flags.
const KNOWN = {
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
export function checkFlags(kind, flags) {
    const known = KNOWN[kind];
    if (known === undefined)
        return;
    const used = new Set();
    for (const flag of flags) {
        const type = Object.hasOwn(known, flag.name) ? known[flag.name] : undefined;
        if (type === undefined) {
            const near = suggest(flag.name, Object.keys(known), true);
            throw wrong(flag, `unknown flag: --${flag.name}`, near === null ? null : `did you mean --${near}?`);
        }
        if (used.has(flag.name) && type !== "list")
            throw wrong(flag, `duplicate flag specified: --${flag.name}`);
        used.add(flag.name);
        if (type === "bool") {
            if (flag.value === "")
                throw wrong(flag, `missing a value on flag: --${flag.name}`);
            if (flag.value !== null && !/^(?:true|false)$/i.test(flag.value)) {
                throw wrong(flag, `expecting boolean value for flag --${flag.name}, not: ${flag.value}`);
            }
        }
        else if (flag.value === null) {
            throw wrong(flag, `missing a value on flag: --${flag.name}`);
        }
    }
}
/** The value of a flag that may stand once; null when it was not given. */
export function flagValue(flags, name) {
    return flags.find((flag) => flag.name === name)?.value ?? null;
}
/** All values of a flag that may be repeated. */
export function flagValues(flags, name) {
    return flags.filter((flag) => flag.name === name).map((flag) => flag.value ?? "");
}
/** A checked flag that is a switch: on when given without a value or with "true". */
export function isFlagOn(flags, name) {
    const flag = flags.find((candidate) => candidate.name === name);
    return flag !== undefined && (flag.value === null || flag.value.toLowerCase() === "true");
}
function wrong(flag, message, hint = null) {
    return new BuildError("DOCKERFILE_SYNTAX", message, { at: flag.at, hint });
}
//# sourceMappingURL=flags.js.map