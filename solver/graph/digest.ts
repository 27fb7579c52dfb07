// Digests: names of bytes. Algorithm and length: OCI image-spec descriptor.md, "Digests".

import { hash } from "node:crypto";
import { BuildError } from "./error.ts";

declare const brand: unique symbol;

/** sha256 of some bytes, checked: "sha256:" and 64 lower-case hex digits. */
export type Digest = `sha256:${string}` & { readonly [brand]: "Digest" };

const DIGEST = /^sha256:[a-f0-9]{64}$/;

/** Is this text a digest in the one form we accept? */
export function isDigest(text: string): text is Digest {
  return DIGEST.test(text);
}

/** Parses and validates a digest. Throws DIGEST_INVALID. */
export function parseDigest(text: string): Digest {
  if (!isDigest(text)) {
    throw new BuildError("DIGEST_INVALID", `not a sha256 digest: ${JSON.stringify(text.slice(0, 100))}`);
  }
  return text;
}

/** Digest of bytes in memory. A string is hashed as UTF-8. */
export function digestOf(data: Uint8Array | string): Digest {
  return `sha256:${hash("sha256", data, "hex")}` as Digest;
}

/** The 64 hex digits of a digest. */
export function hexOf(digest: Digest): string {
  return digest.slice(7);
}

/** A digest from 64 hex digits that were computed here. */
export function digestFromHex(hex: string): Digest {
  return parseDigest(`sha256:${hex}`);
}
