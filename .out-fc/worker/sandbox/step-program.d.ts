import { type Program } from "../launcher/program.ts";
import type { LauncherArch } from "../launcher/elf.ts";
/** Descriptors of a step's launcher. Mount descriptors follow from `first` on. */
/** aliveRead, aliveWrite: a pipe (O_NONBLOCK) that only the launcher outside holds open, see `childSide`. */
export declare const STEP_FD: {
    readonly program: 0;
    readonly stdout: 1;
    readonly stderr: 2;
    readonly status: 3;
    readonly aliveRead: 4;
    readonly aliveWrite: 5;
    readonly first: 6;
};
export interface StepMount {
    readonly target: string;
    readonly source: {
        readonly kind: "fd";
        readonly fd: number;
        readonly isFile: boolean;
    } | {
        readonly kind: "tmpfs";
        readonly sizeBytes: number | null;
    } | {
        readonly kind: "data";
        readonly data: Uint8Array;
        readonly uid: number;
        readonly gid: number;
        readonly mode: number;
    };
    readonly readonly: boolean;
}
export interface StepPlan {
    readonly arch: LauncherArch;
    readonly scratchDir: string;
    readonly rootFd: number;
    readonly rootReadonly: boolean;
    readonly args: readonly string[];
    readonly env: readonly string[];
    readonly cwd: string;
    readonly uid: number;
    readonly gid: number;
    readonly groups: readonly number[];
    readonly hostname: string;
    readonly hosts: {
        readonly path: string;
        readonly text: string;
    };
    readonly resolvConf: {
        readonly path: string;
        readonly text: string;
    };
    readonly network: {
        readonly kind: "none" | "host";
    } | {
        readonly kind: "join";
        readonly fd: number;
    };
    readonly mounts: readonly StepMount[];
    /** Kernel directories of this machine to be hidden besides the usual ones. */
    readonly maskedDirs: readonly string[];
    readonly rlimits: readonly {
        readonly name: string;
        readonly resource: number;
        readonly soft: bigint;
        readonly hard: bigint;
    }[];
    readonly insecure: boolean;
    readonly seccomp: Uint8Array | null;
    readonly stdinFd: number | null;
    readonly ttyFd: number | null;
    readonly singleId: boolean;
}
/** Messages on STEP_FD.status, 16 bytes each: (kind, value); exit is followed by RUSAGE_BYTES. */
export declare const STEP_STATUS: {
    readonly pid: 1n;
    readonly exit: 2n;
    readonly execFailed: 4n;
    readonly notFound: 5n;
};
export declare const RUSAGE_BYTES = 144;
/** Paths where a step's own mounts go besides the asked ones; the caller clears stubs away that were not there before. */
export declare const STEP_MOUNT_POINTS: readonly {
    readonly path: string;
    readonly isFile: boolean;
}[];
/** Lays out the whole step. */
export declare function stepProgram(plan: StepPlan): ReturnType<Program["assemble"]>;
/** Brings up lo in the network namespace the program is in. */
export declare function loopbackUp(program: Program): void;
