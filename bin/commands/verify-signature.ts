// tsbuild verify-signature: checks signatures of an image, or of statements about it, with a key, as `cosign verify --key` does.

import type { KeyObject } from "node:crypto";
import type { Descriptor } from "../../solver/graph/request.ts";
import { isDigest } from "../../solver/graph/digest.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { ParsedFlags } from "../args.ts";
import { REGISTRY_FLAGS } from "../flags-registry.ts";
import { BUNDLE_FLAGS, verifyBundles } from "../verify-bundle.ts";
import { cleanText } from "../log-text.ts";
import { readAnnotations, readVerifyingKeys } from "../signature-keys.ts";
import { type NamedPlace, openSignaturePlaces } from "../signature-place.ts";
import type { Command, CommandContext } from "../command.ts";

/** Short names of statements' types, as cosign has them (pkg/cosign/attestation). */
const TYPES: ReadonlyMap<string, string> = new Map([
  ["slsaprovenance", "https://slsa.dev/provenance/v0.2"],
  ["slsaprovenance02", "https://slsa.dev/provenance/v0.2"],
  ["slsaprovenance1", "https://slsa.dev/provenance/v1"],
  ["spdx", "https://spdx.dev/Document"],
  ["spdxjson", "https://spdx.dev/Document"],
  ["cyclonedx", "https://cyclonedx.org/bom"],
  ["link", "https://in-toto.io/Link/v1"],
  ["vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"],
  ["openvex", "https://openvex.dev/ns"],
  ["custom", "https://cosign.sigstore.dev/attestation/v1"],
]);

export const command: Command = {
  flags: {
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    positionals: { min: 1, max: null },
    flags: [
      {
        name: "key",
        kind: "list",
        value: "file",
        help: "Public key, one of several: a file in PEM, or env://NAME",
      },
      {
        name: "annotations",
        short: "a",
        kind: "list",
        value: "key=value",
        help: "Annotation that has to be signed",
      },
      {
        name: "type",
        kind: "string",
        help: "Verify attestations: slsaprovenance1, spdxjson, cyclonedx … or a URI",
      },
      ...BUNDLE_FLAGS,
      ...REGISTRY_FLAGS,
    ],
  },
  async run(flags, context) {
    const texts = flags.all("key").filter((text) => text !== "");
    const isBundle = flags.has("bundle");
    if (texts.length === 0 && !isBundle)
      throw new BuildError("USAGE", "verify-signature needs a key: --key FILE", {
        hint: "identities are verified in files: --bundle FILE --certificate-identity NAME …",
      });
    const keys = await readVerifyingKeys(texts, context);
    await using places = openSignaturePlaces(context);
    for (const image of flags.positionals) {
      const at = await places.open(image);
      if (isBundle) await verifyFiles(at, image, keys, flags, context);
      else if (flags.has("type")) await verifyStatements(at, image, keys, flags, context);
      else await verifySignatures(at, image, keys, flags, context);
    }
    return 0;
  },
};

async function verifySignatures(
  at: NamedPlace,
  image: string,
  keys: readonly KeyObject[],
  flags: ParsedFlags,
  context: CommandContext,
): Promise<void> {
  const { noneVerified, verifiedSignatures } = await import("../../exporters/signature/verify.ts");
  const { top } = await imagesOf(at);
  const annotations = readAnnotations(flags);
  const { verified, rejected } = await verifiedSignatures(at.place, top.digest, {
    ...{ keys, annotations },
    identity: () => null,
  });
  if (verified.length === 0) throw noneVerified(image, "signatures", rejected);
  context.complain(
    report(image, [
      "The cosign claims were validated",
      ...(Object.keys(annotations).length === 0 ? [] : ["The specified annotations were verified"]),
      "The signatures were verified against the specified public key",
    ]),
  );
  context.print(`${JSON.stringify(verified.map(({ json }) => json))}\n`);
}

/** Of an index each image has to have one, if the index itself has none. */
async function verifyStatements(
  at: NamedPlace,
  image: string,
  keys: readonly KeyObject[],
  flags: ParsedFlags,
  context: CommandContext,
): Promise<void> {
  const { noneVerified, verifiedStatements } = await import("../../exporters/signature/verify.ts");
  const type = typeOf(flags.one("type") ?? "");
  const { top, images } = await imagesOf(at);
  const ofTop = await verifiedStatements(at.place, top.digest, keys, type);
  const verified = [...ofTop.verified];
  if (verified.length === 0) {
    for (const { digest } of images) {
      const found = digest === top.digest ? ofTop : await verifiedStatements(at.place, digest, keys, type);
      const shown = digest === top.digest ? image : `${at.shown}@${digest}`;
      if (found.verified.length === 0)
        throw noneVerified(shown, "attestations", [...ofTop.rejected, ...found.rejected]);
      verified.push(...found.verified);
    }
  }
  context.complain(
    report(image, [
      "The cosign claims were validated",
      "The signatures were verified against the specified public key",
    ]),
  );
  for (const { envelope } of verified) context.print(`${Buffer.from(envelope).toString("utf8")}\n`);
}

/** Throws USAGE. */
function typeOf(asked: string): string {
  const known = TYPES.get(asked);
  if (known !== undefined) return known;
  if (asked.includes(":")) return asked;
  throw new BuildError("USAGE", `--type: ${JSON.stringify(asked)} is not a type of attestations`, {
    hint: `one of ${[...TYPES.keys()].join(", ")}, or a URI`,
  });
}

/** An image that is named by its digest is not looked for. */
async function verifyFiles(
  at: NamedPlace,
  image: string,
  keys: readonly KeyObject[],
  flags: ParsedFlags,
  context: CommandContext,
): Promise<void> {
  const digest = isDigest(at.name) ? at.name : (await imagesOf(at)).top.digest;
  const verified = await verifyBundles(digest, keys, flags, context);
  const type = flags.has("type") ? typeOf(flags.one("type") ?? "") : null;
  for (const { predicateType, statement, by } of verified) {
    if (type !== null && predicateType !== type)
      throw new BuildError(
        "SIGNATURE_INVALID",
        `${image}: the statement is of type ${printable(predicateType, 100)}`,
        {
          exitCode: 12,
        },
      );
    context.complain(
      report(image, [
        "The cosign claims were validated",
        by === null
          ? "The signature was verified against the specified public key"
          : `The certificate of ${cleanText(by.name)}, confirmed by ${cleanText(by.issuer)}, was verified`,
        ...(flags.bool("insecure-ignore-tlog") ? [] : ["The transparency log entries were verified"]),
      ]),
    );
    context.print(`${statement.trimEnd()}\n`);
  }
}

async function imagesOf({
  place,
  name,
}: NamedPlace): Promise<{ top: Descriptor; images: readonly Descriptor[] }> {
  const [{ imagesUnder }, { EXIT_CODES }] = await Promise.all([
    import("../../exporters/signature/sign.ts"),
    import("../../exporters/signature/verify.ts"),
  ]);
  try {
    return await imagesUnder(place, name);
  } catch (error) {
    if (!(error instanceof BuildError) || error.code !== "IMAGE_UNKNOWN") throw error;
    const { code, message, hint } = error;
    throw new BuildError(code, message, { cause: error, hint, exitCode: EXIT_CODES.unknownTag });
  }
}

/** As cosign says it. */
function report(image: string, checks: readonly string[]): string {
  const lines = checks.map((check) => `  - ${check}`);
  return [
    `\nVerification for ${image} --`,
    "The following checks were performed on each of these signatures:",
    ...lines,
    "",
    "",
  ].join("\n");
}
