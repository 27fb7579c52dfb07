// Sigstore bundles: a signed statement with the certificate of who signed it and the proofs of when, all in one file. Checked against roots that the
// user gives; nothing is fetched. https://docs.sigstore.dev/about/bundle/

import type { KeyObject } from "node:crypto";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { type Digest, hexOf } from "../../solver/graph/digest.ts";
import { IN_TOTO_TYPE } from "../attestation/statement.ts";
import { EXIT_CODES, statementIn } from "./verify.ts";

/** Who may have signed. */
export type BundleSigner =
  | {
      readonly kind: "certificate";
      /** Why an identity in a certificate will not do; null: it will. */
      readonly identity: (name: string, issuer: string) => string | null;
    }
  | { readonly kind: "key"; readonly key: KeyObject };

/** A file that was read, and what the user knows it as. */
export interface NamedText {
  readonly text: string;
  readonly name: string;
}

export interface BundleChecks {
  readonly signer: BundleSigner;
  /** null: none, as a key needs it only for a transparency log. */
  readonly trustedRoot: NamedText | null;
  readonly ignoresLog: boolean;
  readonly ignoresCertificateLog: boolean;
}

export interface VerifiedBundle {
  readonly predicateType: string;
  /** JSON text. */
  readonly statement: string;
  /** Name and issuer of the certificate; null: a key has signed. */
  readonly by: { readonly name: string; readonly issuer: string } | null;
}

/** Checks a bundle about an image. Throws SIGNATURE_INVALID, FILE_INVALID. */
export async function verifyBundle(
  { text, name }: NamedText,
  image: Digest,
  { signer, trustedRoot, ...ignores }: BundleChecks,
): Promise<VerifiedBundle> {
  const { checkBundle } = await import("./sigstore-bundle.ts");
  const key = signer.kind === "key" ? signer.key : null;
  const answer = checkBundle({ bundle: text, trustedRoot: trustedRoot?.text ?? null, key, ...ignores });
  if (answer.kind === "problem") {
    const { about, cause } = answer;
    const words = printable(answer.words.replace(/\s+/g, " "), 200);
    if (about === "signature") throw failure(name, words, cause);
    throw new BuildError("FILE_INVALID", `${about === "root" ? trustedRoot?.name : name}: ${words}`, {
      cause,
      hint:
        about === "root"
          ? "trusted_root.json of sigstore's TUF repository, or what 'cosign trusted-root create' writes"
          : "cosign writes one with --bundle",
    });
  }
  const { payload, payloadType, name: signedBy, issuer } = answer;
  if (payloadType !== IN_TOTO_TYPE)
    throw failure(name, `what is signed is ${printable(payloadType, 80)}, and no in-toto statement`);
  const problem = signer.kind === "certificate" ? signer.identity(signedBy, issuer) : null;
  if (problem !== null) throw failure(name, problem);
  const { predicateType, subjects } = statementIn(payload, name);
  if (!subjects.includes(hexOf(image)))
    throw failure(name, `the statement is about another image than ${image}`);
  const by = signer.kind === "certificate" ? { name: signedBy, issuer } : null;
  return { predicateType, statement: payload.toString("utf8"), by };
}

function failure(name: string, problem: string, cause?: unknown): BuildError {
  return new BuildError("SIGNATURE_INVALID", `${name}: ${problem}`, {
    cause,
    exitCode: EXIT_CODES.unmatched,
  });
}
