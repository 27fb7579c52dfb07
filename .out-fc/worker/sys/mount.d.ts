import { type PathLike } from "./libc.ts";
/** Attributes of fsmount(2) and mount_setattr(2). */
export declare const MOUNT_ATTR: {
    readonly RDONLY: 1;
    readonly NOSUID: 2;
    readonly NODEV: 4;
    readonly NOEXEC: 8;
    readonly NOATIME: 16;
};
/** Flags of open_tree(2). */
export declare const OPEN_TREE: {
    readonly CLONE: 1;
};
/** Flags of move_mount(2). */
export declare const MOVE_MOUNT: {
    readonly F_EMPTY_PATH: 4;
    readonly T_SYMLINKS: 16;
    readonly T_EMPTY_PATH: 64;
};
/** Flags of umount2(2). */
export declare const UMOUNT: {
    readonly FORCE: 1;
    readonly DETACH: 2;
    readonly NOFOLLOW: 8;
};
/** Propagation for mountSetattr. */
export declare const PROPAGATION: {
    readonly PRIVATE: 262144;
    readonly SLAVE: 524288;
    readonly SHARED: 1048576;
};
/** fsopen(2): a configuration context for a file system of this type. */
export declare function fsopen(type: string): number;
/** fsconfig(2), FSCONFIG_SET_STRING. Values are at most 255 bytes. */
export declare function fsconfigString(fd: number, key: string, value: PathLike): void;
/** fsconfig(2), FSCONFIG_SET_FLAG. */
export declare function fsconfigFlag(fd: number, key: string): void;
/** fsconfig(2), FSCONFIG_CMD_CREATE: makes the superblock. */
export declare function fsconfigCreate(fd: number): void;
/** fsmount(2): a detached mount of the created superblock. */
export declare function fsmount(fd: number, attributes?: number): number;
/** open_tree(2). With OPEN_TREE.CLONE a detached bind mount, else just a descriptor. */
export declare function openTree(dirfd: number, path: PathLike, flags: number): number;
/** move_mount(2): gives a detached mount (from, "" with F_EMPTY_PATH) a place. */
export declare function moveMount(fromFd: number, fromPath: PathLike, toFd: number, toPath: PathLike, flags: number): void;
/** mount_setattr(2), since Linux 5.12. */
export declare function mountSetattr(dirfd: number, path: PathLike, flags: number, change: {
    readonly set?: number;
    readonly clear?: number;
    readonly propagation?: number;
}): void;
/** umount2(2). */
export declare function umount2(path: PathLike, flags: number): void;
/** Layers to be stacked. */
export interface OverlaySpec {
    readonly lowers: readonly string[];
    /** Where changes go; left out: the mount is read-only. Needs `work`, an empty directory beside it. */
    readonly upper?: string;
    readonly work?: string;
    /** Marks in user.overlay.* instead of trusted.overlay.*: what an unprivileged user namespace may write. */
    readonly userxattr: boolean;
    /** Do not sync the upper on unmount. Only for an upper that is thrown away after a crash. */
    readonly volatile?: boolean;
}
/** Mounts stacked layers; returns a descriptor of the detached mount's root, to be closed by the caller.
 *
 *  Overlay wants at least two layers when it has no upper: one layer alone is a read-only bind of its directory (it is
 *  the oldest, so it can hold no whiteout that means something), an upper alone a bind of that, no layer at all fails. */
export declare function overlayMount(spec: OverlaySpec): number;
