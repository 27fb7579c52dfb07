/** A path to execute, good for as long as this process lives. A step that gets hold of the file behind it (its
 *  interpreter may be /proc/self/exe, CVE-2019-5736) can neither write it nor reach a directory of the host from it.
 *  It also does not matter whether the store is mounted noexec. */
export declare function launcherInMemory(): string;
/** A new tmpfs as a detached mount. */
export declare function detachedTmpfs(attributes: number): number;
