// Digests: names of bytes. Algorithm and length: OCI image-spec descriptor.md, "Digests".
import { createHash } from "node:crypto";
import { BuildError } from "./error.js";
const DIGEST = /^sha256:[a-f0-9]{64}$/;
/** Is this text a digest in the one form we accept? */
export function isDigest(text) {
    return DIGEST.test(text);
}
/** Text from outside to a Digest. Throws DIGEST_INVALID. */
export function parseDigest(text) {
    if (!isDigest(text)) {
        throw new BuildError("DIGEST_INVALID", `not a sha256 digest: ${JSON.stringify(text.slice(0, 100))}`);
    }
    return text;
}
/** Digest of bytes held in memory. A string is hashed as UTF-8. */
export function digestOf(data) {
    return `sha256:${createHash("sha256").update(data).digest("hex")}`;
}
/** The 64 hex digits of a digest. */
export function hexOf(digest) {
    return digest.slice(7);
}
/** A digest from 64 hex digits that come from a hash of our own. */
export function digestFromHex(hex) {
    return parseDigest(`sha256:${hex}`);
}
//# sourceMappingURL=digest.js.map