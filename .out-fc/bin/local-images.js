// The local image store: names in the records, documents in the content store. Needs neither keeper nor network.
import { familiarReference, formatReference, parseReference, withDefaultTag, } from "../cache/registry/reference.js";
import { isDigest } from "../solver/graph/digest.js";
import { BuildError } from "../solver/graph/error.js";
import { formatPlatform } from "../solver/graph/op.js";
/** Space of the records that holds ImageRecord by normalized name. */
export const IMAGES = "image";
/** Manifests, indexes and configs are read whole; registries refuse larger ones. Bytes. */
const DOCUMENT_MAX_BYTES = 4 << 20;
/** docker.io/library/app:latest for "app". Throws REFERENCE_INVALID. */
export function normalizeName(text) {
    return formatReference(withDefaultTag(parseReference(text)));
}
/** "app", "latest" and the digest of a normalized name, as users write them; null where it has none. */
export function splitName(name) {
    const reference = parseReference(name);
    return {
        repository: familiarReference({ ...reference, tag: null, digest: null }),
        tag: reference.tag,
        digest: reference.digest,
    };
}
/** All names, the newest image first. A record whose documents are gone or broken is left out and told to `onBroken`. */
export function listImages(store, onBroken) {
    const images = [];
    for (const { key, value } of store.records.entries(IMAGES)) {
        try {
            images.push(readImage(store, value));
        }
        catch (error) {
            if (!(error instanceof BuildError))
                throw error;
            onBroken(key, error);
        }
    }
    return images.toSorted((a, b) => b.record.createdAtMs - a.record.createdAtMs || (a.record.name < b.record.name ? -1 : 1));
}
/** The image of a name, or of an ID or digest (whole, or at least 4 digits when only one image has them). Throws IMAGE_UNKNOWN. */
export function findImage(store, text) {
    const named = findRecord(store, text);
    if (named !== null)
        return readImage(store, named);
    const digits = /^(?:sha256:)?([a-f0-9]{4,64})$/.exec(text)?.[1];
    if (digits !== undefined) {
        const matches = listImages(store, () => { }).filter((image) => idsOf(image).some((id) => id.startsWith(`sha256:${digits}`)));
        const ids = new Set(matches.map((image) => image.id));
        if (ids.size > 1)
            throw new BuildError("IMAGE_UNKNOWN", `more than one image has an ID that begins with ${text}`);
        if (matches[0] !== undefined)
            return matches[0];
    }
    throw new BuildError("IMAGE_UNKNOWN", `No such image: ${text}`, {
        hint: "'tsbuild images' lists the local ones, 'tsbuild pull' fetches one",
    });
}
function findRecord(store, text) {
    let name;
    try {
        name = normalizeName(text);
    }
    catch (error) {
        // 64 hex digits are no name, but may be an ID
        if (error instanceof BuildError && /^(?:sha256:)?[a-f0-9]{4,64}$/.test(text))
            return null;
        throw error;
    }
    const record = store.records.get(IMAGES, name);
    if (record !== null)
        return record;
    // name@digest: the name must be here with that digest
    const { digest } = splitName(name);
    if (digest === null)
        return null;
    for (const { value } of store.records.entries(IMAGES)) {
        if (value.target.digest === digest && splitName(value.name).repository === splitName(name).repository)
            return value;
    }
    return null;
}
function idsOf(image) {
    return [image.id, image.record.target.digest];
}
/** Names of one image: all records with its target. */
export function namesOf(store, target) {
    return [...store.records.entries(IMAGES)]
        .filter(({ value }) => value.target.digest === target)
        .map(({ key }) => key)
        .toSorted();
}
/** Reads the documents of a record. Throws IMAGE_INVALID, STORE_CORRUPT. */
export function readImage(store, record) {
    const root = readDocument(store, record.target.digest);
    const isIndex = Array.isArray(root.manifests);
    const descriptors = isIndex ? root.manifests : [record.target];
    const manifests = descriptors
        .filter((descriptor) => isDigest(descriptor.digest) && (!isIndex || store.content.has(descriptor.digest)))
        .filter((descriptor) => descriptor.annotations?.["vnd.docker.reference.type"] === undefined) // attestations
        .map((descriptor) => readManifest(store, descriptor));
    const layerIds = new Set(Object.values(record.layers).flat());
    const unpacked = [...layerIds].reduce((sum, id) => sum + (store.layers.get(id)?.sizeBytes ?? 0), 0);
    const blobs = new Map(manifests.flatMap(({ layers }) => layers.map((layer) => [layer.digest, layer.size])));
    const [single] = manifests;
    return {
        record,
        id: !isIndex && single !== undefined ? single.configDescriptor.digest : record.target.digest,
        manifests,
        sizeBytes: unpacked > 0 ? unpacked : [...blobs.values()].reduce((sum, size) => sum + size, 0),
    };
}
function readManifest(store, descriptor) {
    const manifest = readDocument(store, descriptor.digest);
    const configDescriptor = manifest.config;
    if (configDescriptor === undefined ||
        !isDigest(configDescriptor.digest) ||
        !Array.isArray(manifest.layers)) {
        throw new BuildError("IMAGE_INVALID", `${descriptor.digest} is not an image manifest`);
    }
    const config = readDocument(store, configDescriptor.digest);
    return { descriptor, layers: manifest.layers, configDescriptor, config };
}
function readDocument(store, digest) {
    if (!store.content.has(digest))
        throw new BuildError("STORE_CORRUPT", `${digest} is missing in the local store`);
    try {
        const value = JSON.parse(new TextDecoder().decode(store.content.read(digest, DOCUMENT_MAX_BYTES)));
        if (typeof value === "object" && value !== null && !Array.isArray(value))
            return value;
    }
    catch (error) {
        if (!(error instanceof SyntaxError))
            throw error;
    }
    throw new BuildError("IMAGE_INVALID", `${digest} is not a JSON document`);
}
/** "linux/arm64" of a config. */
export function platformOf(config) {
    return formatPlatform({
        os: config.os,
        architecture: config.architecture,
        ...(config.variant ? { variant: config.variant } : {}),
    });
}
//# sourceMappingURL=local-images.js.map