import type { LauncherArch } from "../launcher/elf.ts";
/** The filter for a machine: struct sock_filter[], 8 bytes each. */
export declare function seccompFilter(arch: LauncherArch): Uint8Array;
