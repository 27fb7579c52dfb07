// An image whose documents are made, and how to get at the bytes of its layers.
import { pullLayer } from "../cache/registry/image.js";
import { BuildError } from "../solver/graph/error.js";
/** Bytes of a blob of an assembled image, fetched into the content store first when it is only elsewhere. */
export async function* blobBytes(assembled, descriptor, deps, signal) {
    const { content } = deps.store;
    if (!content.has(descriptor.digest)) {
        const remote = assembled.remotes.get(descriptor.digest);
        if (remote === undefined)
            throw new BuildError("STORE_CORRUPT", `the blob ${descriptor.digest} of a layer is missing`);
        await pullLayer(remote, deps.store, deps.registry, { signal });
    }
    yield* content.stream(descriptor.digest, { signal });
}
/** Layer descriptors of all images, each once, in the order they appear. */
export function layersOf(assembled) {
    const seen = new Map();
    for (const image of assembled.images) {
        for (const { descriptor } of image.layers)
            if (!seen.has(descriptor.digest))
                seen.set(descriptor.digest, descriptor);
    }
    return [...seen.values()];
}
//# sourceMappingURL=assembled.js.map