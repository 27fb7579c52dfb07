export type SyscallRow = readonly [name: string, x64: number | null, i386: number | null, arm64: number | null];
export declare const ALLOWED_SYSCALLS: readonly SyscallRow[];
