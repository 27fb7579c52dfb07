import { type LauncherArch } from "./elf.ts";
/** Numbers per architecture: x86-64 table, arm64 = asm-generic/unistd.h. */
declare const NUMBERS: {
    readonly read: readonly [0, 63];
    readonly write: readonly [1, 64];
    readonly openat: readonly [257, 56];
    readonly close: readonly [3, 57];
    readonly dup3: readonly [292, 24];
    readonly ioctl: readonly [16, 29];
    readonly mkdirat: readonly [258, 34];
    readonly mknodat: readonly [259, 33];
    readonly symlinkat: readonly [266, 36];
    readonly fchmod: readonly [91, 52];
    readonly fchown: readonly [93, 55];
    readonly chdir: readonly [80, 49];
    readonly fchdir: readonly [81, 50];
    readonly umask: readonly [95, 166];
    readonly mount: readonly [165, 40];
    readonly umount2: readonly [166, 39];
    readonly pivot_root: readonly [155, 41];
    readonly unshare: readonly [272, 97];
    readonly setns: readonly [308, 268];
    readonly clone: readonly [56, 220];
    readonly wait4: readonly [61, 260];
    readonly execve: readonly [59, 221];
    readonly exit_group: readonly [231, 94];
    readonly setsid: readonly [112, 157];
    readonly prctl: readonly [157, 167];
    readonly capset: readonly [126, 91];
    readonly setgroups: readonly [116, 159];
    readonly setresgid: readonly [119, 149];
    readonly setresuid: readonly [117, 147];
    readonly sethostname: readonly [170, 161];
    readonly prlimit64: readonly [302, 261];
    readonly seccomp: readonly [317, 277];
    readonly close_range: readonly [436, 436];
    readonly openat2: readonly [437, 437];
    readonly open_tree: readonly [428, 428];
    readonly move_mount: readonly [429, 429];
    readonly fsopen: readonly [430, 430];
    readonly fsconfig: readonly [431, 431];
    readonly fsmount: readonly [432, 432];
    readonly mount_setattr: readonly [442, 442];
    readonly socket: readonly [41, 198];
    readonly rt_sigprocmask: readonly [14, 135];
    readonly kill: readonly [62, 129];
    readonly getpid: readonly [39, 172];
    readonly writev: readonly [20, 66];
    readonly faccessat: readonly [269, 48];
    readonly unlinkat: readonly [263, 35];
};
export type CallName = keyof typeof NUMBERS;
declare const labelBrand: unique symbol;
/** A place in the program that records can go to; bound once with `here`. */
export type Label = number & {
    readonly [labelBrand]: "Label";
};
/** number: as it is (negative: two's complement). string: address of a NUL-terminated copy. bytes: address of a copy.
 *  pointers: address of an array of addresses of the strings, ended by NULL. own: address inside the program header. */
export type Arg = number | bigint | string | Uint8Array | {
    readonly pointers: readonly string[];
} | {
    readonly header: number;
}
/** A structure with addresses in it: 8-byte words. */
 | {
    readonly words: readonly Arg[];
}
/** Address inside a block of bytes that several calls share (placed once per object). */
 | {
    readonly of: Uint8Array;
    readonly offset: number;
};
export interface CallOptions {
    /** Where to go on failure: a label, "ignore" (next record) or undefined: the fatal handler. */
    readonly onError?: Label | "ignore";
    /** Where to go when the result is 0; default: the next record. */
    readonly onZero?: Label;
    /** Where to go otherwise; default: the next record. */
    readonly next?: Label;
    /** Puts the result into argument `arg` of the record that is added next. */
    readonly intoNextArg?: number;
    /** Puts the result (8 bytes) into a shared block. */
    readonly storeAt?: {
        readonly of: Uint8Array;
        readonly offset: number;
    };
    /** Said in the error when this call fails, for people: "mounting /proc". */
    readonly what?: string;
}
export interface Program {
    /** A number stands for itself: a call that has no name here. */
    call(name: CallName | number, args: readonly Arg[], options?: CallOptions): void;
    /** A call that returns a descriptor, moved to the number `fd` (close-on-exec). */
    open(fd: number, name: CallName, args: readonly Arg[], options?: CallOptions): void;
    label(): Label;
    /** Binds a label to the record that is added next. */
    here(label: Label): void;
    /** The bytes for the launcher, and what a record is, for the message about its failure. */
    assemble(): {
        readonly bytes: Uint8Array;
        describe(recordAddress: bigint): {
            call: string;
            what: string;
        } | null;
    };
}
/** Starts an empty program. `statusFd`: descriptor on which failures are told (record address and -errno, 16 bytes). */
export declare function openProgram(arch: LauncherArch, statusFd: number): Program;
export {};
