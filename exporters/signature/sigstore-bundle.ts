// Sigstore's own library, which checks bundles. A program file of its own (bin/bundle.mjs), so it throws no errors of ours: it answers.

import { bundleFromJSON } from "@sigstore/bundle";
import { TrustedRoot } from "@sigstore/protobuf-specs";
import { toSignedEntity, toTrustMaterial, Verifier } from "@sigstore/verify";
import type { KeyObject } from "node:crypto";

export interface BundleQuestion {
  /** JSON text. */
  readonly bundle: string;
  /** trusted_root.json of sigstore's TUF repository; null: none, as a key needs it only for a transparency log. */
  readonly trustedRoot: string | null;
  /** What has to have signed it; null: whoever its certificate names. */
  readonly key: KeyObject | null;
  readonly ignoresLog: boolean;
  readonly ignoresCertificateLog: boolean;
}

export type BundleAnswer =
  | {
      readonly kind: "signed";
      readonly payloadType: string;
      readonly payload: Buffer;
      /** Of the certificate; empty: it has none, or a key has signed. */
      readonly name: string;
      readonly issuer: string;
    }
  /** `about`: what is wrong: the file itself, the roots, or what the file says. */
  | {
      readonly kind: "problem";
      readonly about: "bundle" | "root" | "signature";
      readonly words: string;
      readonly cause: unknown;
    };

/** Checks the signature, the certificate's chain and the proofs of logs and of time. */
export function checkBundle({ bundle: text, trustedRoot, key, ...ignores }: BundleQuestion): BundleAnswer {
  const problem = (
    about: "bundle" | "root" | "signature",
    words: string,
    cause: unknown = null,
  ): BundleAnswer => ({
    ...{ kind: "problem", about, words, cause },
  });
  let bundle: ReturnType<typeof bundleFromJSON>;
  try {
    bundle = bundleFromJSON(JSON.parse(text));
  } catch (cause) {
    return problem(
      "bundle",
      cause instanceof SyntaxError ? "it is not JSON" : "it is not a sigstore bundle",
      cause,
    );
  }
  if (bundle.content.$case !== "dsseEnvelope")
    return problem("signature", "it signs the bytes of a file, and not a statement about an image");
  const hasKey = bundle.verificationMaterial.content.$case === "publicKey";
  if (hasKey && key === null) return problem("signature", "it was signed with a key, and not by an identity");
  if (!hasKey && key !== null)
    return problem("signature", "it was signed by an identity, and not with a key");
  let trust: ReturnType<typeof toTrustMaterial>;
  try {
    const root = TrustedRoot.fromJSON(trustedRoot === null ? {} : JSON.parse(trustedRoot));
    if (trustedRoot !== null && !root.mediaType.startsWith(ROOT_TYPE)) return problem("root", NO_ROOT);
    // Whatever the bundle says of its key, which nobody has signed.
    trust = toTrustMaterial(
      root,
      key === null ? undefined : () => ({ publicKey: key, validFor: () => true }),
    );
  } catch (cause) {
    return problem("root", NO_ROOT, cause);
  }
  try {
    const { identity } = new Verifier(trust, {
      tlogThreshold: ignores.ignoresLog ? 0 : 1,
      ctlogThreshold: ignores.ignoresCertificateLog ? 0 : 1,
      // A certificate is valid for minutes: without a proven time it says nothing.
      timestampThreshold: hasKey ? 0 : 1,
    }).verify(toSignedEntity(bundle));
    const { payload, payloadType } = bundle.content.dsseEnvelope;
    const name = identity?.subjectAlternativeName ?? "";
    return { kind: "signed", payload, payloadType, name, issuer: identity?.extensions?.issuer ?? "" };
  } catch (cause) {
    const { message, cause: deeper } = cause as Error;
    return problem("signature", deeper instanceof Error ? `${message}: ${deeper.message}` : message, cause);
  }
}
const ROOT_TYPE = "application/vnd.dev.sigstore.trustedroot";
const NO_ROOT = "it is not a trusted root of sigstore";
