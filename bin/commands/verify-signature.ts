// tsbuild verify-signature: checks signatures of an image, or of statements about it, with a key, as `cosign verify --key` does.

import type { KeyObject } from "node:crypto";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { VerifiedBundle } from "../../exporters/signature/bundle.ts";
import { type Digest, isDigest } from "../../solver/graph/digest.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { ParsedFlags } from "../args.ts";
import { REGISTRY_FLAGS } from "../flags-registry.ts";
import { asksForIdentity, BUNDLE_FLAGS, bundleVerifier, readBundles } from "../verify-bundle.ts";
import { cleanText } from "../log-text.ts";
import { readAnnotations, readVerifyingKeys, REGISTRY_FLAGS_OF_COSIGN } from "../signature-keys.ts";
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

const TYPE_NAMES = [...TYPES.keys()].join(", ");

/** Of statements that are signed as they should, and of another type. */
function hintOfType(rejected: readonly string[], flags: ParsedFlags): string | null {
  const isOther = flags.has("type") && rejected.some((why) => why.includes(": the statement is of type "));
  return isOther ? `--type takes a URI, or one of ${TYPE_NAMES}` : null;
}

export const command: Command = {
  flags: {
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    positionals: { min: 1, max: null },
    elsewhere: {
      ...REGISTRY_FLAGS_OF_COSIGN,
      o: "leave it out: the output is JSON",
      output: "leave it out: the output is JSON",
      offline: "leave it out: no service is asked",
      "private-infrastructure": "leave it out: with --key no log is asked",
      "check-claims": "leave it out: digests and annotations are checked always",
      "experimental-oci11": "leave it out: referrers are read always",
      "rekor-url": "no log is asked: use --bundle and --trusted-root",
    },
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
    const isIdentity = asksForIdentity(flags);
    if (texts.length === 0 && !isBundle && !isIdentity)
      throw new BuildError("USAGE", "verify-signature needs a key: --key FILE", {
        hint: "or an identity: --certificate-identity NAME --certificate-oidc-issuer URL --trusted-root FILE",
      });
    if (texts.length > 0 && isIdentity)
      throw new BuildError("USAGE", "--key and --certificate-… cannot be used together");
    const keys = await readVerifyingKeys(texts, context);
    await using places = openSignaturePlaces(context);
    for (const image of flags.positionals) {
      const at = await places.open(image);
      if (isBundle) await verifyFiles(at, image, keys, flags, context);
      else if (isIdentity) await verifyBeside(at, image, flags, context);
      else await verifyByKeys(at, image, keys, flags, context);
    }
    return 0;
  },
};

/** What was found by keys, for the report. */
interface ByKeys {
  /** "signatures" or "attestations". */
  readonly what: string;
  /** Printed, a line each. */
  readonly lines: readonly string[];
  readonly rejected: readonly string[];
  readonly broken: readonly string[];
  /** What was checked of each besides the usual. */
  readonly more: readonly string[];
  /** What the lines or their absence are about. */
  readonly shown: string;
}

/** Signatures of the image, or with --type statements about it. */
async function verifyByKeys(
  at: NamedPlace,
  image: string,
  keys: readonly KeyObject[],
  flags: ParsedFlags,
  context: CommandContext,
): Promise<void> {
  const { noneVerified } = await import("../../exporters/signature/verify.ts");
  const find = flags.has("type") ? findStatements : findSignatures;
  const { what, lines, rejected, broken, more, shown } = await find(at, image, keys, flags);
  if (lines.length === 0) throw noneVerified(shown, what, rejected, hintOfType(rejected, flags));
  for (const one of broken) context.complain(`WARNING: ${cleanText(one)}; it was left out\n`);
  const checks = ["The cosign claims were validated", ...more];
  context.complain(
    report(image, [...checks, "The signatures were verified against the specified public key"]),
  );
  for (const line of lines) context.print(`${line}\n`);
}

async function findSignatures(
  { place, ...at }: NamedPlace,
  image: string,
  keys: readonly KeyObject[],
  flags: ParsedFlags,
): Promise<ByKeys> {
  const { SIGN_TYPE, verifiedSignatures, verifiedStatements } = await import(
    "../../exporters/signature/verify.ts"
  );
  const { top } = await imagesOf({ place, ...at });
  const annotations = readAnnotations(flags);
  const isAnnotated = Object.keys(annotations).length > 0;
  const found = await verifiedSignatures(place, top.digest, { keys, annotations, identity: () => null });
  const signed: unknown[] = found.verified.map(({ json }) => json);
  const { broken } = found;
  const rejected = [...found.rejected];
  if (signed.length === 0) {
    // As cosign 3 has them; annotations are not in them.
    const bundles = await verifiedStatements(place, top.digest, keys, SIGN_TYPE);
    if (!isAnnotated) signed.push(...bundles.verified.map(() => claimOf(top.digest)));
    rejected.push(...bundles.rejected);
  }
  const lines = signed.length === 0 ? [] : [JSON.stringify(signed)];
  const more = isAnnotated ? ["The specified annotations were verified"] : [];
  return { what: "signatures", lines, rejected, broken, more, shown: image };
}

/** Of an index each image has to have one, if the index itself has none. */
async function findStatements(
  at: NamedPlace,
  image: string,
  keys: readonly KeyObject[],
  flags: ParsedFlags,
): Promise<ByKeys> {
  const { verifiedStatements } = await import("../../exporters/signature/verify.ts");
  const type = typeOf(flags.one("type") ?? "");
  const { top, images } = await imagesOf(at);
  const ofTop = await verifiedStatements(at.place, top.digest, keys, type);
  const verified = [...ofTop.verified];
  const broken = [...ofTop.broken];
  const what = { what: "attestations", more: [] };
  if (verified.length === 0) {
    for (const { digest } of images) {
      const isTop = digest === top.digest;
      const found = isTop ? ofTop : await verifiedStatements(at.place, digest, keys, type);
      if (found.verified.length === 0) {
        const shown = isTop ? image : `${at.shown}@${digest}`;
        return { ...what, lines: [], rejected: [...ofTop.rejected, ...found.rejected], broken, shown };
      }
      verified.push(...found.verified);
      if (!isTop) broken.push(...found.broken);
    }
  }
  const lines = verified.map(({ envelope }) => Buffer.from(envelope).toString("utf8"));
  return { ...what, lines, rejected: [], broken, shown: image };
}

/** Throws USAGE. */
function typeOf(asked: string): string {
  const known = TYPES.get(asked);
  if (known !== undefined) return known;
  if (asked.includes(":")) return asked;
  throw new BuildError("USAGE", `--type: ${JSON.stringify(asked)} is not a type of attestations`, {
    hint: `one of ${TYPE_NAMES}, or a URI`,
  });
}

/** What a signature by a bundle says, in the form of the others. */
function claimOf(digest: Digest): object {
  const type = "https://sigstore.dev/cosign/sign/v1";
  return {
    critical: { identity: { "docker-reference": "" }, image: { "docker-manifest-digest": digest }, type },
    optional: null,
  };
}

/** Files of --bundle, all of which have to be about the image; one that is named by its digest is not looked for. */
async function verifyFiles(
  at: NamedPlace,
  image: string,
  keys: readonly KeyObject[],
  flags: ParsedFlags,
  context: CommandContext,
): Promise<void> {
  const digest = isDigest(at.name) ? at.name : (await imagesOf(at)).top.digest;
  const verify = await bundleVerifier(keys, flags, context);
  const type = flags.has("type") ? typeOf(flags.one("type") ?? "") : null;
  for (const bundle of await readBundles(flags, context)) {
    const verified = await verify(bundle, digest);
    if (type !== null && verified.predicateType !== type)
      throw new BuildError(
        "SIGNATURE_INVALID",
        `${bundle.name}: the statement is of type ${printable(verified.predicateType, 100)}`,
        { exitCode: 12, hint: `--type takes a URI, or one of ${TYPE_NAMES}` },
      );
    tellBundle(verified, image, flags, context);
  }
}

/** Bundles beside the image, of which one has to be of whom is asked for: its signature, or a statement of --type. */
async function verifyBeside(
  at: NamedPlace,
  image: string,
  flags: ParsedFlags,
  context: CommandContext,
): Promise<void> {
  const { noneVerified, SIGN_TYPE, verifiedBundles } = await import("../../exporters/signature/verify.ts");
  const type = flags.has("type") ? typeOf(flags.one("type") ?? "") : SIGN_TYPE;
  const verify = await bundleVerifier([], flags, context);
  const { top } = await imagesOf(at);
  const { verified, rejected } = await verifiedBundles(at.place, top.digest, type, verify);
  if (verified.length === 0) throw noneVerified(image, "bundles", rejected, hintOfType(rejected, flags));
  for (const one of verified) tellBundle(one, image, flags, context);
}

function tellBundle(
  { statement, by }: VerifiedBundle,
  image: string,
  flags: ParsedFlags,
  { complain, print }: CommandContext,
): void {
  complain(
    report(image, [
      "The cosign claims were validated",
      by === null
        ? "The signature was verified against the specified public key"
        : `The certificate of ${cleanText(by.name)}, confirmed by ${cleanText(by.issuer)}, was verified`,
      ...(flags.bool("insecure-ignore-tlog") ? [] : ["The transparency log entries were verified"]),
    ]),
  );
  print(`${statement.trimEnd()}\n`);
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
