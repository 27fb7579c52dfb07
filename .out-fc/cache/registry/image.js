// Images to build on: from a registry or an OCI layout into the content store, as far as a build needs them.
var __addDisposableResource = (this && this.__addDisposableResource) || function (env, value, async) {
    if (value !== null && value !== void 0) {
        if (typeof value !== "object" && typeof value !== "function") throw new TypeError("Object expected.");
        var dispose, inner;
        if (async) {
            if (!Symbol.asyncDispose) throw new TypeError("Symbol.asyncDispose is not defined.");
            dispose = value[Symbol.asyncDispose];
        }
        if (dispose === void 0) {
            if (!Symbol.dispose) throw new TypeError("Symbol.dispose is not defined.");
            dispose = value[Symbol.dispose];
            if (async) inner = dispose;
        }
        if (typeof dispose !== "function") throw new TypeError("Object not disposable.");
        if (inner) dispose = function() { try { inner.call(this); } catch (e) { return Promise.reject(e); } };
        env.stack.push({ value: value, dispose: dispose, async: async });
    }
    else if (async) {
        env.stack.push({ async: true });
    }
    return value;
};
var __disposeResources = (this && this.__disposeResources) || (function (SuppressedError) {
    return function (env) {
        function fail(e) {
            env.error = env.hasError ? new SuppressedError(e, env.error, "An error was suppressed during disposal.") : e;
            env.hasError = true;
        }
        var r, s = 0;
        function next() {
            while (r = env.stack.pop()) {
                try {
                    if (!r.async && s === 1) return s = 0, env.stack.push(r), Promise.resolve().then(next);
                    if (r.dispose) {
                        var result = r.dispose.call(r.value);
                        if (r.async) return s |= 2, Promise.resolve(result).then(next, function(e) { fail(e); return next(); });
                    }
                    else s |= 1;
                }
                catch (e) {
                    fail(e);
                }
            }
            if (s === 1) return env.hasError ? Promise.reject(env.error) : Promise.resolve();
            if (env.hasError) throw env.error;
        }
        return next();
    };
})(typeof SuppressedError === "function" ? SuppressedError : function (error, suppressed, message) {
    var e = new Error(message);
    return e.name = "SuppressedError", e.error = error, e.suppressed = suppressed, e;
});
import { digestOf } from "../../solver/graph/digest.js";
import { BuildError } from "../../solver/graph/error.js";
import { formatPlatform } from "../../solver/graph/op.js";
import { CONFIG_MAX_BYTES, isIndexType, MANIFEST_MAX_BYTES, parseConfig, parseDocument, platformOfConfig, } from "./documents.js";
import { openLayout } from "./layout.js";
import { platformRank } from "./platform-match.js";
import { formatReference, formatRepository, parseReference, withDefaultTag, } from "./reference.js";
const LAYOUT_PREFIX = "oci-layout:";
const INDEX_DEPTH_MAX = 4;
/**
 * The manifest of an index that fits a platform best, in containerd's order; of equals the first. null: none fits.
 * An entry without a platform never fits here; `loadImage` looks into its config.
 */
export function selectManifest(index, platform) {
    let best = null;
    for (const descriptor of index.manifests) {
        if (descriptor.platform === undefined)
            continue;
        const rank = platformRank(platform, descriptor.platform);
        if (rank !== null && (best === null || rank < best.rank))
            best = { descriptor, rank };
    }
    return best?.descriptor ?? null;
}
/**
 * Resolves a reference and stores the manifest and config for a platform. A tag costs one HEAD request when the
 * content is here, a digest nothing. Throws REGISTRY_*, IMAGE_INVALID, PLATFORM_UNSUPPORTED.
 */
export async function loadImage(registry, store, reference, platform, { signal, lease }) {
    const named = withDefaultTag(reference);
    const from = formatRepository(named);
    const name = formatReference(named);
    const source = {
        name,
        from,
        async fetch(descriptor, maxBytes) {
            if (maxBytes === MANIFEST_MAX_BYTES) {
                return (await registry.manifest({ ...named, tag: null, digest: descriptor.digest }, { signal }))
                    .bytes;
            }
            return await collect(registry.blob(named, descriptor, { signal }));
        },
    };
    // A digest whose content is here needs no network; its type is in the document.
    const here = named.digest !== null && store.content.has(named.digest);
    const top = here
        ? { digest: named.digest, mediaType: null }
        : await registry.resolve(named, { signal });
    return await load(source, store.content, top, platform, lease ?? null);
}
/**
 * As `loadImage`, from an OCI layout: a directory or an uncompressed tar. `name` is a tag (org.opencontainers.image.ref.name
 * or a full image name), a digest, or null for the only image in it, else "latest". Throws IMAGE_UNKNOWN, IMAGE_INVALID,
 * PLATFORM_UNSUPPORTED, CONTEXT_MISSING when the path is not there.
 */
export async function loadLayout(path, name, store, platform, { signal, lease }) {
    const layout = openLayout(path);
    const source = {
        name: `oci-layout://${path}${name === null ? "" : name.startsWith("sha256:") ? `@${name}` : `:${name}`}`,
        from: `${LAYOUT_PREFIX}${path}`,
        fetch: (descriptor) => collect(layout.blob(descriptor, { signal })),
    };
    return await load(source, store.content, layout.find(name), platform, lease ?? null);
}
async function load(source, content, top, platform, lease) {
    async function get(descriptor, maxBytes) {
        if ((descriptor.size ?? 0) > maxBytes) {
            throw new BuildError("IMAGE_INVALID", `${source.name}: a document of more than ${maxBytes} bytes`);
        }
        lease?.addBlobs([descriptor.digest]);
        if (content.has(descriptor.digest)) {
            try {
                return content.read(descriptor.digest, maxBytes);
            }
            catch (error) {
                // A damaged blob was set aside by the store: it is fetched again (threat model R3).
                if (!(error instanceof BuildError && error.code === "STORE_CORRUPT"))
                    throw error;
            }
        }
        const bytes = await source.fetch({ size: maxBytes, ...descriptor, mediaType: descriptor.mediaType ?? "" }, maxBytes);
        if (digestOf(bytes) !== descriptor.digest) {
            throw new BuildError("DIGEST_MISMATCH", `${source.name}: ${descriptor.digest} has other content`);
        }
        content.put(bytes);
        return bytes;
    }
    let descriptor = top;
    for (let depth = 0; depth < INDEX_DEPTH_MAX; depth++) {
        const bytes = await get(descriptor, MANIFEST_MAX_BYTES);
        const document = parseDocument(bytes, descriptor.mediaType, source.name);
        if (document.kind === "manifest") {
            const configBytes = await get(document.config, CONFIG_MAX_BYTES);
            parseConfig(configBytes, document.layers.length, source.name);
            return {
                digest: top.digest,
                manifestDescriptor: {
                    mediaType: document.mediaType,
                    digest: descriptor.digest,
                    size: bytes.length,
                    ...(descriptor.platform === undefined ? {} : { platform: descriptor.platform }),
                },
                manifest: document,
                configBytes,
                layers: document.layers.map((layer) => ({ descriptor: layer, from: source.from })),
            };
        }
        descriptor = selectManifest(document, platform) ?? (await searchUnlabelled(document));
    }
    throw new BuildError("IMAGE_INVALID", `${source.name}: indexes nested deeper than ${INDEX_DEPTH_MAX}`);
    /** Entries without a platform say it in their config. */
    async function searchUnlabelled(index) {
        for (const entry of index.manifests) {
            if (entry.platform !== undefined)
                continue;
            if (isIndexType(entry.mediaType))
                return entry;
            const document = parseDocument(await get(entry, MANIFEST_MAX_BYTES), entry.mediaType, source.name);
            if (document.kind !== "manifest")
                continue;
            const config = parseConfig(await get(document.config, CONFIG_MAX_BYTES), null, source.name);
            if (platformRank(platform, platformOfConfig(config)) !== null)
                return entry;
        }
        const offered = index.manifests.flatMap(({ platform: one }) => one === undefined || one.os === "unknown" ? [] : [formatPlatform(one)]);
        throw new BuildError("PLATFORM_UNSUPPORTED", `${source.name}: no match for platform in manifest: ${formatPlatform(platform)} not found`, { hint: offered.length === 0 ? null : `the image is there for ${[...new Set(offered)].join(", ")}` });
    }
}
/**
 * Fetches a blob into the content store and returns when it is there, verified. Several at once, also of other processes, cost
 * one transfer. Throws as `Registry.blob` or `Layout.blob`.
 */
export async function pullLayer(remote, store, registry, options) {
    const { digest, size } = remote.descriptor;
    if (store.content.has(digest))
        return;
    await store.exclusively(`pull:${digest}`, async () => {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            if (store.content.has(digest))
                return;
            const ingest = __addDisposableResource(env_1, store.content.ingest(), true);
            for await (const chunk of remoteBytes(remote, registry, options))
                ingest.write(chunk);
            // The reading side has hashed what it gave.
            ingest.commit({ digest, size, trusted: true });
        }
        catch (e_1) {
            env_1.error = e_1;
            env_1.hasError = true;
        }
        finally {
            const result_1 = __disposeResources(env_1);
            if (result_1)
                await result_1;
        }
    }, { signal: options.signal });
}
/** Bytes of a blob from where it is, verified when the last chunk is over. */
export function remoteBytes(remote, registry, options) {
    if (remote.from.startsWith(LAYOUT_PREFIX)) {
        return openLayout(remote.from.slice(LAYOUT_PREFIX.length)).blob(remote.descriptor, options);
    }
    return registry.blob(parseReference(remote.from), remote.descriptor, options);
}
async function collect(data) {
    const chunks = [];
    for await (const chunk of data)
        chunks.push(chunk);
    return Buffer.concat(chunks);
}
//# sourceMappingURL=image.js.map