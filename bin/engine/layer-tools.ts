// Functions of the keeper that fsck needs.

import type { LayerTools } from "../../cache/check.ts";
import type { Keeper } from "../../worker/keeper/keeper.ts";

/** Packs and unpacks layer directories without keeping anything. */
export function layerTools(keeper: () => Keeper, signal: AbortSignal): LayerTools {
  const options = { signal };
  return {
    plain: (blob) => keeper().run({ kind: "plain", blob }, options),
    async diffIdOf(dir) {
      const pack = {
        kind: "pack",
        dir,
        out: null,
        compression: "uncompressed",
        level: null,
        epochSeconds: null,
      } as const;
      return (await keeper().run(pack, options)).diffId;
    },
    list: (dir) => keeper().run({ kind: "measure", background: false, dir, earlier: [] }, options),
    async unpack(blob, mediaType, diffId, dir) {
      await keeper().run({ kind: "apply", blob, mediaType, diffId, dir }, options);
    },
    async remove(paths) {
      if (paths.length > 0) await keeper().run({ kind: "remove", paths }, options);
    },
  };
}
