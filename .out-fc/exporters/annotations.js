// Annotations of outputs: where they go and for which platform. buildx --annotation, BuildKit exptypes/annotations.go.
import { BuildError, printable } from "../solver/graph/error.js";
import { formatPlatform } from "../solver/graph/op.js";
const TARGETS = ["manifest", "manifest-descriptor", "index", "index-descriptor"];
/** Reads an output attribute `annotation[-TARGET][[PLATFORM]].KEY`; null when it is no annotation. Throws OUTPUT_INVALID. */
export function parseAnnotationAttribute(name, value) {
    const match = /^annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/.-]+)\])?\.(\S+)$/.exec(name);
    if (match === null) {
        if (/^annotation(?:[-[.]|$)/.test(name))
            throw new BuildError("OUTPUT_INVALID", `invalid annotation: ${printable(name, 100)}`);
        return null;
    }
    return {
        target: targetOf(match[1] ?? "manifest"),
        platform: match[2] ?? null,
        key: match[3],
        value,
    };
}
/** Reads the value of --annotation: `[TARGET[[PLATFORM]][,TARGET…]:]KEY=VALUE`. Throws OUTPUT_INVALID. */
export function parseAnnotationFlag(text) {
    const equals = text.indexOf("=");
    if (equals < 0) {
        throw new BuildError("OUTPUT_INVALID", `invalid annotation ${JSON.stringify(printable(text, 100))}, expected key=value`);
    }
    const name = text.slice(0, equals);
    const value = text.slice(equals + 1);
    const prefixed = /^((?:[a-z-]+(?:\[[A-Za-z0-9_/.-]+\])?)(?:,[a-z-]+(?:\[[A-Za-z0-9_/.-]+\])?)*):(\S+)$/.exec(name);
    const key = prefixed?.[2] ?? name;
    if (key === "" || /\s/.test(key)) {
        throw new BuildError("OUTPUT_INVALID", `invalid annotation key ${JSON.stringify(printable(key, 100))}`);
    }
    return (prefixed?.[1] ?? "manifest").split(",").map((part) => {
        const [, target = "", platform] = /^([a-z-]+)(?:\[(.+)\])?$/.exec(part) ?? [];
        return { target: targetOf(target), platform: platform ?? null, key, value };
    });
}
function targetOf(text) {
    const target = TARGETS.find((one) => one === text);
    if (target === undefined) {
        throw new BuildError("OUTPUT_INVALID", `unknown annotation type ${JSON.stringify(printable(text, 60))}`, {
            hint: `types are ${TARGETS.join(", ")}`,
        });
    }
    return target;
}
/** Annotations for a platform: those of all platforms, then its own. Index ones do not depend on a platform. */
export function annotationsFor(annotations, platform) {
    const own = platform === null ? null : formatPlatform(platform);
    const pick = (target) => {
        const fitting = annotations.filter((one) => one.target === target);
        const isIndex = target === "index" || target === "index-descriptor";
        const general = fitting.filter((one) => isIndex || one.platform === null);
        const special = isIndex ? [] : fitting.filter((one) => one.platform !== null && one.platform === own);
        return Object.fromEntries([...general, ...special].map(({ key, value }) => [key, value]));
    };
    return {
        manifest: pick("manifest"),
        manifestDescriptor: pick("manifest-descriptor"),
        index: pick("index"),
        indexDescriptor: pick("index-descriptor"),
    };
}
//# sourceMappingURL=annotations.js.map