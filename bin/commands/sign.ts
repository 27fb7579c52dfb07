// tsbuild sign: signs images where they are, in registries and layouts, as `cosign sign --key` does.

import { BuildError } from "../../solver/graph/error.ts";
import { REGISTRY_FLAGS } from "../flags-registry.ts";
import {
  PASSWORD_FILE_FLAG,
  readAnnotations,
  readSigningKey,
  REGISTRY_FLAGS_OF_COSIGN,
} from "../signature-keys.ts";
import { openSignaturePlaces } from "../signature-place.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    positionals: { min: 1, max: null },
    elsewhere: {
      ...REGISTRY_FLAGS_OF_COSIGN,
      "registry-referrers-mode": "use --referrers",
      upload: "signatures go where the image is; for a place of your own, sign an OCI layout",
      "output-signature": "signatures go where the image is; for a place of your own, sign an OCI layout",
    },
    flags: [
      { name: "key", kind: "string", value: "file", help: "Private key: a file in PEM, or env://NAME" },
      PASSWORD_FILE_FLAG,
      {
        name: "annotations",
        short: "a",
        kind: "list",
        value: "key=value",
        help: "Annotation that is signed",
      },
      { name: "attest", kind: "bool", help: "Also sign the attestations of the image" },
      { name: "recursive", short: "r", kind: "bool", help: "Also sign each image of an index" },
      {
        name: "referrers",
        kind: "bool",
        help: "Store signatures as OCI referrers of the image, not under tags",
      },
      {
        name: "sign-container-identity",
        kind: "string",
        value: "name",
        help: "Name that is signed (default: the repository)",
      },
      ...REGISTRY_FLAGS,
      // Of scripts for cosign: there is no log that anything would be sent to.
      { name: "yes", short: "y", kind: "bool", help: "" },
      { name: "tlog-upload", kind: "bool", help: "" },
    ],
  },
  async run(flags, context) {
    const text = flags.one("key") ?? "";
    if (text === "")
      throw new BuildError("USAGE", "sign needs a key: --key FILE", {
        hint: "'tsbuild generate-key-pair' makes one; signatures without keys are not supported",
      });
    if (flags.bool("tlog-upload"))
      throw new BuildError("USAGE", "--tlog-upload: transparency logs are not supported", {
        hint: "leave it out",
      });
    const annotations = readAnnotations(flags);
    const key = await readSigningKey(text, flags.one("password-file"), context);
    const { signImage } = await import("../../exporters/signature/sign.ts");
    await using places = openSignaturePlaces(context);
    for (const image of flags.positionals) {
      const { place, name, shown, identity } = await places.open(image);
      const named = flags.one("sign-container-identity") ?? identity;
      if (named === null || named === "")
        throw new BuildError("USAGE", `${image}: the image has no name in its layout`, {
          hint: "add --sign-container-identity NAME",
        });
      const signed = await signImage(place, name, named, {
        ...{ key, annotations, identity: null },
        recursive: flags.bool("recursive"),
        attestations: flags.bool("attest"),
        referrers: flags.bool("referrers"),
      });
      for (const { kind, digest, isNew } of signed) {
        const what = kind === "signature" ? "signed" : "signed an attestation of";
        context.complain(`${what} ${shown}@${digest}${isNew ? "" : " (was signed by this key already)"}\n`);
      }
      context.print(`${shown}@${signed[0]?.digest}\n`);
    }
    return 0;
  },
};
