/** image-spec layer.md, "Whiteouts": a file of this prefix deletes the rest of its name from the layers below. */
export declare const WHITEOUT_PREFIX: Buffer;
/** Everything the layers below have in its directory is deleted. */
export declare const OPAQUE_NAME: Buffer;
/** The same for overlayfs with userxattr: "y" on the directory. overlayfs.rst, "whiteouts and opaque directories". */
export declare const OPAQUE_XATTR = "user.overlay.opaque";
/** Components of a member's name with "." and ".." taken away, as Go's path.Clean does before anything is looked at.
 *  `refuse` throws. */
export declare function cleanName(name: Buffer, form: "layer" | "archive", refuse: (why: string) => never): Buffer[];
/** Does this name delete something where it stands in a layer? */
export declare function isWhiteoutName(name: Buffer): boolean;
/** Data of aufs, which old layers hold; only the opaque marker was adopted by the format. */
export declare function isAufsData(components: readonly Buffer[]): boolean;
/** Attributes that are the image's. Not those of overlayfs, ours, or labels of a host's security modules (T5, T8). */
export declare function isImageXattr(name: string): boolean;
/** Components with slashes between them. */
export declare function joinName(components: readonly Buffer[]): Buffer;
/** A name for a message: quoted, without control characters. */
export declare function shownName(name: Buffer): string;
