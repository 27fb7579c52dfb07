// tsbuild rmi: takes names away. What they held goes with the next prune.
import { BuildError } from "../../solver/graph/error.js";
import { withStore } from "../local-store.js";
export const command = {
    flags: {
        usage: "[OPTIONS] IMAGE [IMAGE...]",
        positionals: { min: 1, max: null },
        flags: [
            {
                name: "force",
                short: "f",
                kind: "bool",
                help: "Remove all names of an ID; no error for what is not there",
            },
        ],
    },
    async run(flags, { config, print, complain }) {
        const { findImage, IMAGES, namesOf, normalizeName } = await import("../local-images.js");
        const { familiarReference, parseReference } = await import("../../cache/registry/reference.js");
        const force = flags.bool("force");
        return withStore(config, (store) => {
            let failed = false;
            for (const text of flags.positionals) {
                try {
                    const { record } = findImage(store, text);
                    const isName = !/^(?:sha256:)?[a-f0-9]{4,64}$/.test(text) || normalizeName(text) === record.name;
                    const names = isName ? [record.name] : namesOf(store, record.target.digest);
                    if (names.length > 1 && !force) {
                        throw new BuildError("IMAGE_UNKNOWN", `unable to remove ${text}: it has several names`, {
                            hint: `name one of them, or use --force: ${names.join(", ")}`,
                        });
                    }
                    store.records.batch(names.map((key) => ({ space: IMAGES, key, value: null })));
                    for (const name of names)
                        print(`Untagged: ${familiarReference(parseReference(name))}\n`);
                }
                catch (error) {
                    if (!(error instanceof BuildError))
                        throw error;
                    if (force && error.code === "IMAGE_UNKNOWN" && error.message.startsWith("No such image"))
                        continue;
                    complain(`ERROR: ${error.message}\n${error.hint === null ? "" : `hint: ${error.hint}\n`}`);
                    failed = true;
                }
            }
            return failed ? 1 : 0;
        });
    },
};
//# sourceMappingURL=rmi.js.map