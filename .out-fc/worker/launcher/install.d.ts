import { type LauncherArch } from "./elf.ts";
/** The architecture the launcher exists for; throws SANDBOX_UNAVAILABLE on others. */
export declare function launcherArch(): LauncherArch;
/** Calls `start` with the path of the launcher: in `dir`, or, where that is mounted noexec, in a directory that is gone
 *  again when `start` returns (a started process needs its file no longer). Throws SANDBOX_UNAVAILABLE. */
export declare function withLauncher<T>(dir: string, start: (file: string) => T): T;
