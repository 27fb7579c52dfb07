export declare const PROGRAM_BASE = 268435456;
/** Only address space until it is used. Holds the secrets of a step, each up to 500 KiB. */
export declare const PROGRAM_MAX_BYTES = 67108864;
export declare const RECORDS_OFFSET = 32;
export declare const RECORD_WORDS = 11;
export type LauncherArch = "x64" | "arm64";
/** The launcher as an ELF file. elf(5): one read-execute segment with the code, one empty read-write one for the program. */
export declare function launcherElf(arch: LauncherArch): Uint8Array;
