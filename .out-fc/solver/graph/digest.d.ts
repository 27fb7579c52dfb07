declare const brand: unique symbol;
/** sha256 of some bytes, checked: "sha256:" and 64 lower-case hex digits. */
export type Digest = `sha256:${string}` & {
    readonly [brand]: "Digest";
};
/** Is this text a digest in the one form we accept? */
export declare function isDigest(text: string): text is Digest;
/** Text from outside to a Digest. Throws DIGEST_INVALID. */
export declare function parseDigest(text: string): Digest;
/** Digest of bytes held in memory. A string is hashed as UTF-8. */
export declare function digestOf(data: Uint8Array | string): Digest;
/** The 64 hex digits of a digest. */
export declare function hexOf(digest: Digest): string;
/** A digest from 64 hex digits that come from a hash of our own. */
export declare function digestFromHex(hex: string): Digest;
export {};
