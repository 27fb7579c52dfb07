// tsbuild tag
import { BuildError } from "../../solver/graph/error.js";
import { withStore } from "../local-store.js";
export const command = {
    flags: { usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", flags: [], positionals: { min: 2, max: 2 } },
    async run(flags, { config }) {
        const { findImage, IMAGES, normalizeName, splitName } = await import("../local-images.js");
        const [source = "", target = ""] = flags.positionals;
        const name = normalizeName(target);
        if (splitName(name).digest !== null) {
            throw new BuildError("REFERENCE_INVALID", `${target}: refusing to create a tag with a digest reference`);
        }
        await withStore(config, (store) => {
            const { record } = findImage(store, source);
            const renamed = { ...record, name };
            store.records.put(IMAGES, name, renamed);
        });
        return 0;
    },
};
//# sourceMappingURL=tag.js.map