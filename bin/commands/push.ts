// tsbuild push

import { BuildError } from "../../solver/graph/error.ts";
import { progressFlag } from "../flags-common.ts";
import { REGISTRY_FLAGS, REGISTRY_FLAGS_OF_PODMAN } from "../flags-registry.ts";
import { withStore } from "../local-store.ts";
import { progressMode } from "../progress.ts";
import { transfer } from "../transfer.ts";
import type { Command, CommandContext } from "../command.ts";

const COMPRESSION =
  "layers have the compression that 'tsbuild build -o type=registry,name=NAME,compression=…' gave them";
/** Flags of `podman push`. */
const OF_PODMAN = {
  "compression-format": COMPRESSION,
  "compression-level": COMPRESSION,
  "force-compression": COMPRESSION,
  ...REGISTRY_FLAGS_OF_PODMAN,
  "sign-by-sigstore-private-key": "use 'tsbuild sign' after the push",
};

export const command: Command = {
  flags: {
    usage: "[OPTIONS] NAME[:TAG]",
    positionals: { min: 1, max: 1 },
    elsewhere: OF_PODMAN,
    flags: [
      { name: "platform", kind: "string", help: "Push only the image of this platform" },
      ...REGISTRY_FLAGS,
      progressFlag("auto"),
      { name: "all-tags", short: "a", kind: "bool", help: "Push all local tags of a repository" },
      { name: "quiet", short: "q", kind: "bool", help: "Print only the name" },
    ],
  },
  async run(flags, context) {
    const { normalizeName } = await import("../engine/local-images.ts");
    const [text = ""] = flags.positionals;
    const names = flags.bool("all-tags") ? await allTags(text, context) : [normalizeName(text)];
    const asked = flags.one("platform");
    const { parsePlatform } = await import("../flags-values.ts");
    const platform = asked === null ? null : parsePlatform(asked);
    const mode = flags.bool("quiet") ? "quiet" : progressMode(flags.one("progress"), context.config.env);
    for (const name of names) {
      const done = await transfer("Pushing", mode, context, (engine, options) =>
        engine.push(name, platform, options),
      );
      if (done === null) return 1;
      if (!flags.bool("quiet")) context.complain(`digest: ${done.digest} size: ${done.size}\n`);
      context.print(`${name}\n`);
    }
    return 0;
  },
};

/** All names of a repository in the local store, in their order. Throws USAGE, IMAGE_UNKNOWN. */
async function allTags(text: string, { config }: CommandContext): Promise<readonly string[]> {
  const { IMAGE_SPACE, isNameless } = await import("../../cache/image-record.ts");
  const { formatReference, formatRepository, parseReference } = await import(
    "../../cache/registry/reference.ts"
  );
  const wanted = parseReference(text);
  if (wanted.tag !== null || wanted.digest !== null)
    throw new BuildError("USAGE", "tag can't be used with --all-tags/-a");
  const names = await withStore(config, (store) =>
    [...store.records.entries(IMAGE_SPACE)]
      .filter(({ key }) => !isNameless(key))
      .map(({ key }) => parseReference(key))
      .filter((one) => formatRepository(one) === formatRepository(wanted) && one.digest === null)
      .map(formatReference)
      .toSorted(),
  );
  if (names.length > 0) return names;
  throw new BuildError("IMAGE_UNKNOWN", `An image does not exist locally with the tag: ${text}`, {
    hint: "run 'tsbuild images' to list local images",
  });
}
