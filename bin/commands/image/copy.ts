// tsbuild image copy: an image from one place to another, with its digests.

import { humanSize } from "../../format.ts";
import { REGISTRY_FLAGS_OF_PODMAN } from "../../flags-registry.ts";
import { IMAGE_FLAGS, platformFlag, transferOf, withImages } from "../../image-command.ts";
import type { Command } from "../../command.ts";

const INSECURE = REGISTRY_FLAGS_OF_PODMAN["tls-verify"];
const ALL = "all platforms are copied unless --platform is given";
const COMPRESSION = "blobs are copied as they are; 'tsbuild build -o type=registry,compression=…' chooses";
/** Flags of `skopeo copy`. */
const OF_SKOPEO = {
  a: ALL,
  all: ALL,
  "multi-arch": ALL,
  "src-tls-verify": INSECURE,
  "dest-tls-verify": INSECURE,
  ...REGISTRY_FLAGS_OF_PODMAN,
  "preserve-digests": "leave it out: digests are kept always",
  "dest-compress": COMPRESSION,
  "dest-compress-format": COMPRESSION,
  "dest-compress-level": COMPRESSION,
  "dest-decompress": COMPRESSION,
  digestfile: "the digest is printed to standard output: redirect it",
  format: "leave it out: manifests are copied as they are",
  "src-creds": "use 'tsbuild login'",
  "dest-creds": "use 'tsbuild login'",
  "sign-by-sigstore-private-key": "use 'tsbuild sign' after the copy",
  "remove-signatures": "leave it out: signatures are copied with --referrers only",
};

export const command: Command = {
  flags: {
    usage: "[OPTIONS] SOURCE DESTINATION",
    positionals: { min: 2, max: 2 },
    elsewhere: OF_SKOPEO,
    flags: [
      ...IMAGE_FLAGS,
      platformFlag("Copy this platform alone; several: an index of these (default: all)"),
      {
        name: "referrers",
        kind: "bool",
        help: "Also copy signatures and other artifacts about the image",
      },
      { name: "quiet", short: "q", kind: "bool", help: "Print nothing but the digest" },
    ],
  },
  async run(flags, context) {
    const [source = "", destination = ""] = flags.positionals;
    const { from, to, platforms } = await transferOf(source, destination, flags, context);
    const done = await withImages(`copying ${source} to ${destination}`, flags, context, (tools) =>
      tools.copy(from, to, { platforms, withReferrers: flags.bool("referrers") }),
    );
    if (done === null) return 1;
    const { descriptor, existing, mounted, moved, movedBytes, referrers } = done;
    const isArchiveOut = to.kind === "archive" && to.path === null;
    if (!flags.bool("quiet"))
      context.complain(
        `${moved} blobs copied (${humanSize(movedBytes)}), ${mounted} mounted, ${existing} there already${referrers === 0 ? "" : `; ${referrers} artifacts about it`}\n`,
      );
    (isArchiveOut ? context.complain : context.print)(`${descriptor.digest}\n`);
    return 0;
  },
};
