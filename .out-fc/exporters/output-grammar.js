// What -o/--output can say: CSV of key=value as buildx reads it, with the attributes of BuildKit's exporters.
// docs: https://docs.docker.com/build/exporters/, BuildKit exptypes/exporters.go
import { formatReference, parseReference, withDefaultTag } from "../cache/registry/reference.js";
import { BuildError, printable } from "../solver/graph/error.js";
import { parseAnnotationAttribute } from "./annotations.js";
const TYPES = ["image", "registry", "oci", "docker", "local", "tar", "cacheonly"];
const BOOLEANS = new Map([
    ...["1", "t", "T", "TRUE", "true", "True"].map((text) => [text, true]),
    ...["0", "f", "F", "FALSE", "false", "False"].map((text) => [text, false]),
]);
/**
 * Reads one --output. A plain PATH is type=local, "-" is a tar on standard output. Paths stay as written. Throws OUTPUT_INVALID,
 * REFERENCE_INVALID.
 */
export function parseOutput(text) {
    const fields = splitCsv(text);
    if (fields.length === 1 && fields[0] === text && !text.startsWith("type=")) {
        if (text === "")
            throw invalid("an output needs a type or a path", "for example -o type=oci,dest=image.tar or -o out");
        return text === "-"
            ? { kind: "files", form: "tar", dest: { kind: "stdout" }, platformSplit: null, epochSeconds: null }
            : {
                kind: "files",
                form: "directory",
                dest: { kind: "path", path: text },
                platformSplit: null,
                epochSeconds: null,
            };
    }
    const pairs = new Map();
    for (const field of fields) {
        const equals = field.indexOf("=");
        if (equals < 0)
            throw invalid(`invalid value ${JSON.stringify(printable(field, 100))} in --output ${printable(text, 100)}`, "attributes are written key=value");
        const written = field.slice(0, equals).trim();
        // Keys are read without regard to case, but the key of an annotation is the user's.
        const key = /^annotation/i.test(written)
            ? written.replace(/^[^.[]*/, (head) => head.toLowerCase())
            : written.toLowerCase();
        pairs.set(key, field.slice(equals + 1));
    }
    const type = pairs.get("type");
    if (type === undefined || type === "")
        throw invalid("type is required for output", `types are ${TYPES.join(", ")}`);
    pairs.delete("type");
    const attributes = attributesOf(pairs, type);
    const output = outputOf(type, attributes);
    attributes.done();
    return output;
}
function outputOf(type, attributes) {
    switch (type) {
        case "image":
        case "registry": {
            const push = attributes.boolean("push") ?? type === "registry";
            const output = {
                kind: "image",
                push,
                pushByDigest: attributes.boolean("push-by-digest") ?? false,
                insecure: attributes.boolean("registry.insecure") ?? false,
                store: attributes.boolean("store") ?? true,
                unpack: attributes.boolean("unpack") ?? false,
                nameCanonical: attributes.boolean("name-canonical") ?? false,
                danglingNamePrefix: attributes.text("dangling-name-prefix"),
                image: imageOptionsOf(attributes),
            };
            return output;
        }
        case "oci":
        case "docker": {
            const tar = attributes.boolean("tar") ?? true;
            const dest = destinationOf(attributes.text("dest"), type === "docker" && tar ? null : type, tar);
            attributes.text("context"); // which docker context loads it is docker's own matter
            return { kind: "archive", format: type, dest, tar, image: imageOptionsOf(attributes) };
        }
        case "local":
        case "tar": {
            const dest = destinationOf(attributes.text("dest"), type, type === "tar");
            attributes.text("attestation-prefix"); // there are no attestations to name
            return {
                kind: "files",
                form: type === "tar" ? "tar" : "directory",
                dest: dest,
                platformSplit: attributes.boolean("platform-split"),
                epochSeconds: attributes.integer("source-date-epoch"),
            };
        }
        case "cacheonly":
            return { kind: "cacheonly" };
        default:
            throw invalid(`output type ${JSON.stringify(printable(type, 60))} is not supported`, `types are ${TYPES.join(", ")}`);
    }
}
/** needed: the type that cannot be without a destination, null when it can. */
function destinationOf(text, needed, isFile) {
    if (text === "-") {
        if (!isFile)
            throw invalid("a directory cannot be written to standard output", "use type=tar,dest=- instead");
        return { kind: "stdout" };
    }
    if (text !== null && text !== "")
        return { kind: "path", path: text };
    if (needed === null)
        return null;
    if (needed === "oci" || needed === "tar" || needed === "docker") {
        if (isFile)
            return { kind: "stdout" };
        throw invalid(`output directory is required for ${needed} exporter with tar=false`, "add dest=DIRECTORY");
    }
    throw invalid(`dest is required for ${needed} exporter`, "add dest=DIRECTORY");
}
function imageOptionsOf(attributes) {
    const compressionText = attributes.text("compression");
    const compression = compressionOf(compressionText ?? "gzip");
    const level = attributes.integer("compression-level");
    const annotations = attributes.annotations();
    for (const name of [
        "buildinfo",
        "buildinfo-attrs",
        "prefer-nondist-layers",
        "attestation-inline",
        "unsafe-internal-store-allow-incomplete",
    ]) {
        attributes.boolean(name); // accepted as BuildKit does; they change nothing here
    }
    const names = (attributes.text("name") ?? "").split(",").map((name) => name.trim());
    return {
        names: names
            .filter((name) => name !== "")
            .map((name) => formatReference(withDefaultTag(parseReference(name)))),
        // Annotations of an index or a descriptor exist only in OCI's types. BuildKit writer.go.
        ociTypes: (attributes.boolean("oci-mediatypes") ?? true) ||
            annotations.some(({ target }) => target !== "manifest"),
        compression,
        compressionChosen: compressionText !== null || level !== null,
        compressionLevel: level,
        forceCompression: attributes.boolean("force-compression") ?? false,
        rewriteTimestamp: attributes.boolean("rewrite-timestamp") ?? false,
        epochSeconds: attributes.integer("source-date-epoch"),
        annotations,
    };
}
function compressionOf(text) {
    if (text === "gzip" || text === "zstd" || text === "uncompressed")
        return text;
    if (text === "estargz" || text === "nydus") {
        throw invalid(`compression type ${text} is not supported by tsbuild`, "use compression=gzip or compression=zstd");
    }
    throw invalid(`unsupported compression type ${printable(text, 60)}`, "types are gzip, zstd, uncompressed");
}
function attributesOf(pairs, type) {
    const take = (name) => {
        const value = pairs.get(name);
        pairs.delete(name);
        return value ?? null;
    };
    return {
        text: take,
        boolean(name) {
            const text = take(name);
            if (text === null || text === "")
                return text === null ? null : true;
            const value = BOOLEANS.get(text);
            if (value === undefined)
                throw invalid(`non-bool value specified for ${name}: ${printable(text, 60)}`, "use true or false");
            return value;
        },
        integer(name) {
            const text = take(name);
            if (text === null || text === "")
                return null;
            if (!/^[+-]?\d{1,15}$/.test(text))
                throw invalid(`non-int value ${printable(text, 60)} specified for ${name}`, null);
            return Number(text);
        },
        annotations() {
            const found = [];
            for (const [name, value] of new Map(pairs)) {
                const annotation = parseAnnotationAttribute(name, value);
                if (annotation === null)
                    continue;
                pairs.delete(name);
                found.push(annotation);
            }
            return found;
        },
        done() {
            const [unknown] = pairs.keys();
            if (unknown !== undefined) {
                throw invalid(`unknown attribute ${JSON.stringify(printable(unknown, 60))} for output type ${type}`, "see --help of tsbuild build for what an output can have");
            }
        },
    };
}
/** RFC 4180 fields of one line, as Go's encoding/csv reads them. */
function splitCsv(text) {
    const fields = [];
    for (let at = 0;;) {
        if (text.charAt(at) !== '"') {
            const comma = text.indexOf(",", at);
            const field = text.slice(at, comma < 0 ? undefined : comma);
            if (field.includes('"'))
                throw invalid(`a quote inside of an unquoted field: ${printable(text, 100)}`, 'write "key=value,with,commas"');
            fields.push(field);
            if (comma < 0)
                return fields;
            at = comma + 1;
            continue;
        }
        let field = "";
        for (at++;;) {
            const quote = text.indexOf('"', at);
            if (quote < 0)
                throw invalid(`a quote is not closed: ${printable(text, 100)}`, null);
            field += text.slice(at, quote);
            at = quote + 1;
            if (text.charAt(at) !== '"')
                break;
            field += '"';
            at++;
        }
        fields.push(field);
        if (at >= text.length)
            return fields;
        if (text.charAt(at) !== ",")
            throw invalid(`text after a closed quote: ${printable(text, 100)}`, null);
        at++;
    }
}
function invalid(problem, hint) {
    return new BuildError("OUTPUT_INVALID", `invalid output option: ${problem}`, { hint });
}
//# sourceMappingURL=output-grammar.js.map