// tsbuild tag

import { withStore } from "../local-store.ts";
import type { ImageRecord } from "../../cache/contract.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: { usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", flags: [], positionals: { min: 2, max: 2 } },
  async run(flags, { config }) {
    const { findImage, normalizeNewName } = await import("../engine/local-images.ts");
    const { IMAGE_SPACE, isNameless } = await import("../../cache/image-record.ts");
    const [source = "", target = ""] = flags.positionals;
    const name = normalizeNewName(target);
    await withStore(config, (store) => {
      const { record } = findImage(store, source);
      const renamed: ImageRecord = { ...record, name };
      // What gets its first name is no longer without one.
      const before = isNameless(record.name) ? [{ space: IMAGE_SPACE, key: record.name, value: null }] : [];
      store.records.batch([{ space: IMAGE_SPACE, key: name, value: renamed }, ...before]);
    });
    return 0;
  },
};
