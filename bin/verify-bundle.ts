// verify-signature --bundle: files of sigstore that say who has signed a statement about an image, and when.

import type { KeyObject } from "node:crypto";
import { resolve } from "node:path";
import { compileExpression } from "../cache/linear-regexp.ts";
import type { BundleSigner, NamedText, VerifiedBundle } from "../exporters/signature/bundle.ts";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError, printable } from "../solver/graph/error.ts";
import type { FlagSpec, ParsedFlags } from "./args.ts";
import type { CommandContext } from "./command.ts";
import { readNamed } from "./signature-keys.ts";

/** Statements of 16 MiB, in base64. sigstore's have some kilobytes. */
const BUNDLE_MAX_BYTES = 24 << 20;
const ROOT_MAX_BYTES = 4 << 20;

export const BUNDLE_FLAGS: readonly FlagSpec[] = [
  {
    name: "bundle",
    kind: "list",
    value: "file",
    help: "Sigstore bundle about the image, in place of what is beside it",
  },
  { name: "certificate-identity", kind: "string", value: "name", help: "Who has to have signed the bundle" },
  {
    name: "certificate-identity-regexp",
    kind: "string",
    value: "regexp",
    help: "The same as an expression (RE2)",
  },
  {
    name: "certificate-oidc-issuer",
    kind: "string",
    value: "url",
    help: "Who has to have confirmed that identity",
  },
  {
    name: "certificate-oidc-issuer-regexp",
    kind: "string",
    value: "regexp",
    help: "The same as an expression (RE2)",
  },
  {
    name: "trusted-root",
    kind: "string",
    value: "file",
    help: "Roots of trust for bundles (trusted_root.json)",
  },
  {
    name: "insecure-ignore-tlog",
    kind: "bool",
    help: "Do without a proof of the transparency log in bundles",
  },
  { name: "insecure-ignore-sct", kind: "bool", help: "Do without a proof of the certificate log in bundles" },
];

/** Is somebody asked for by name? */
export function asksForIdentity(flags: ParsedFlags): boolean {
  return BUNDLE_FLAGS.some(({ name }) => name.startsWith("certificate-") && flags.has(name));
}

/** Reads the files of --bundle. Throws FILE_INVALID, LIMIT_EXCEEDED. */
export async function readBundles(
  flags: ParsedFlags,
  { cwd, signal }: CommandContext,
): Promise<readonly NamedText[]> {
  const bundles: NamedText[] = [];
  for (const name of flags.all("bundle"))
    bundles.push({
      name,
      text: (await readNamed(name, resolve(cwd, name), BUNDLE_MAX_BYTES, signal)).toString("utf8"),
    });
  return bundles;
}

/** What verifies one bundle about an image, as the flags say. `keys`: of --key. Throws USAGE, FILE_INVALID; the function SIGNATURE_INVALID. */
export async function bundleVerifier(
  keys: readonly KeyObject[],
  flags: ParsedFlags,
  { cwd, signal }: CommandContext,
): Promise<(bundle: NamedText, image: Digest) => Promise<VerifiedBundle>> {
  const signer = await signerOf(keys, flags);
  const name = flags.one("trusted-root") ?? "";
  if (name === "" && signer.kind === "certificate")
    throw new BuildError("USAGE", "identities in bundles need roots of trust: --trusted-root FILE", {
      hint: "'cosign trusted-root create' writes one; sigstore's own is trusted_root.json in its TUF repository",
    });
  const read = async (): Promise<NamedText> => ({
    name,
    text: (await readNamed(name, resolve(cwd, name), ROOT_MAX_BYTES, signal)).toString("utf8"),
  });
  const trustedRoot = name === "" ? null : await read();
  const { verifyBundle } = await import("../exporters/signature/bundle.ts");
  const ignores = {
    ignoresLog: flags.bool("insecure-ignore-tlog"),
    ignoresCertificateLog: flags.bool("insecure-ignore-sct"),
  };
  return (bundle, image) => verifyBundle(bundle, image, { signer, trustedRoot, ...ignores });
}

async function signerOf(keys: readonly KeyObject[], flags: ParsedFlags): Promise<BundleSigner> {
  const [key, ...more] = keys;
  if (key !== undefined) {
    if (more.length === 0) return { kind: "key", key };
    throw new BuildError("USAGE", "--bundle is verified with one --key");
  }
  const name = await matcher(flags, "certificate-identity");
  const issuer = await matcher(flags, "certificate-oidc-issuer");
  return {
    kind: "certificate",
    identity(signedBy, confirmedBy) {
      const isName = name.test(signedBy);
      if (isName && issuer.test(confirmedBy)) return null;
      const [is, wanted] = isName
        ? [`confirmed by ${shown(confirmedBy)}`, issuer]
        : [`signed by ${shown(signedBy)}`, name];
      return `it was ${is}, not ${wanted.shown}`;
    },
  };
}

const shown = (text: string): string => printable(JSON.stringify(text), 200);

interface Matcher {
  readonly shown: string;
  readonly test: (text: string) => boolean;
}

/** Of a flag or of the one with an expression. As in cosign one of them is needed: a signature by anybody says nothing. */
async function matcher(flags: ParsedFlags, flag: string): Promise<Matcher> {
  const exact = flags.one(flag) ?? "";
  const pattern = flags.one(`${flag}-regexp`) ?? "";
  if ((exact === "") === (pattern === ""))
    throw new BuildError("USAGE", `a bundle needs --key, or --${flag} or --${flag}-regexp`, {
      hint: "--certificate-identity says who, --certificate-oidc-issuer by whose word",
    });
  if (exact !== "") return { shown: shown(exact), test: (text) => text === exact };
  const expression = await compileExpression(pattern, `--${flag}-regexp`);
  return { shown: `what ${shown(pattern)} matches`, test: (text) => expression.test(text) };
}
