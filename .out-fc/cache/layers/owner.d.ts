/** "uid:gid" of a file whose owner the kernel could not take. Left out of images, applied when they are written. */
export declare const OWNER_XATTR = "user.tsbuild.owner";
/** What this process may do with ids: "host" (no user namespace), "mapped" (several ids) or "single" (only its own). */
export declare function idMapKind(): "host" | "mapped" | "single";
/** Gives `name` in the directory (or, with an empty name, the open file itself) an owner, never through a link. Where the kernel cannot (single-id mode, or an id
 *  that has no mapping: EINVAL of chown(2)) it is noted in OWNER_XATTR; links and special files hold no such attribute
 *  and stay ours. chown(2) clears set-id bits and capabilities: set those afterwards. Throws SysError. */
export declare function setOwner(dirfd: number, name: Buffer | string, uid: number, gid: number, options: {
    readonly singleId: boolean;
}): void;
/** The noted owner of a file by its path (last component not followed), or null when the kernel's is right. */
export declare function notedOwner(path: Buffer): {
    readonly uid: number;
    readonly gid: number;
} | null;
