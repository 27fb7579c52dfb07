// The default system-call filter as classic BPF. seccomp(2), linux/filter.h, linux/seccomp.h, linux/audit.h.
//
// Equal in effect to the default profile of Docker and containerd with Docker's default capabilities: calls not in the table fail with
// EPERM, calls newer than the table with ENOSYS (so that programs fall back to older calls).

import type { LauncherArch } from "../launcher/elf.ts";
import { ALLOWED_SYSCALLS } from "./syscalls.ts";

/** Architectures as filters see them. */
export const AUDIT_ARCH = { x64: 0xc000_003e, i386: 0x4000_0003, arm64: 0xc000_00b7 } as const;
/** x86-64 numbers from here on belong to the x32 ABI. */
const X32_BIT = 0x4000_0000;
/** The newest call any kernel had when the table was made (removexattrat). */
const NEWEST_SYSCALL = 466;

export const RET_ALLOW = 0x7fff_0000;
const RET_KILL = 0x8000_0000;
const EPERM = 1;
const ENOSYS = 38;
const errno = (number: number): number => 0x0005_0000 | number;

export const BPF = {
  LD_ABS: 0x20,
  JEQ: 0x15,
  JGT: 0x25,
  JGE: 0x35,
  JSET: 0x45,
  JA: 0x05,
  RET: 0x06,
} as const;
export const DATA = { nr: 0, arch: 4, arg0Low: 16, arg4Low: 48, arg4High: 52 } as const;

export type Instruction = readonly [code: number, jt: number, jf: number, k: number];

/** CLONE_NEW* of every namespace: a step may not make namespaces of its own, user namespaces least of all (E4).
 *  NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
export const CLONE_NAMESPACE_FLAGS: readonly number[] = [
  0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000,
];
const CLONE_NAMESPACES = CLONE_NAMESPACE_FLAGS.reduce((mask, flag) => mask + flag, 0);
/** Families a step gets no socket of: AF_ALG reaches the kernel's cryptography (CVE-2026-31431), AF_VSOCK the host of a virtual
 *  machine. */
export const AF_ALG = 38;
export const AF_VSOCK = 40;
/** PER_LINUX, PER_LINUX32, UNAME26 with both, and the query. */
export const PERSONALITIES: readonly number[] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

interface Conditional {
  readonly clone: number;
  readonly clone3: number;
  readonly personality: number;
  readonly socket: number;
}
const CONDITIONAL: Readonly<Record<"x64" | "i386" | "arm64", Conditional>> = {
  x64: { clone: 56, clone3: 435, personality: 135, socket: 41 },
  i386: { clone: 120, clone3: 435, personality: 136, socket: 359 },
  arm64: { clone: 220, clone3: 435, personality: 92, socket: 198 },
};

/** The filter for a machine, as instructions. */
export function seccompFilter(arch: LauncherArch): Instruction[] {
  const tables = arch === "x64" ? (["x64", "i386"] as const) : (["arm64"] as const);
  const program: Instruction[] = [[BPF.LD_ABS, 0, 0, DATA.arch]];
  for (const table of tables) {
    const body = archFilter(table);
    // Not this architecture: over the whole body. JA reaches further than the 255 of a condition.
    program.push([BPF.JEQ, 1, 0, AUDIT_ARCH[table]], [BPF.JA, 0, 0, body.length], ...body);
  }
  program.push([BPF.RET, 0, 0, RET_KILL]);
  return program;
}

/** struct sock_filter[]. */
export function assembleBpf(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(program.length * 8);
  const view = new DataView(bytes.buffer);
  program.forEach(([code, jt, jf, k], index) => {
    view.setUint16(index * 8, code, true);
    view.setUint8(index * 8 + 2, jt);
    view.setUint8(index * 8 + 3, jf);
    view.setUint32(index * 8 + 4, k, true);
  });
  return bytes;
}

function archFilter(table: "x64" | "i386" | "arm64"): Instruction[] {
  const special = CONDITIONAL[table];
  const program: Instruction[] = [[BPF.LD_ABS, 0, 0, DATA.nr]];
  if (table === "x64") program.push([BPF.JGE, 0, 1, X32_BIT], [BPF.RET, 0, 0, errno(ENOSYS)]);
  const when = (nr: number, body: readonly Instruction[]): void => {
    program.push([BPF.JEQ, 0, body.length, nr], ...body);
  };
  when(special.clone3, [[BPF.RET, 0, 0, errno(ENOSYS)]]); // its flags lie in memory a filter cannot read
  when(special.clone, [
    [BPF.LD_ABS, 0, 0, DATA.arg0Low],
    [BPF.JSET, 0, 1, CLONE_NAMESPACES],
    [BPF.RET, 0, 0, errno(EPERM)],
    [BPF.RET, 0, 0, RET_ALLOW],
  ]);
  when(special.personality, [
    [BPF.LD_ABS, 0, 0, DATA.arg0Low],
    ...PERSONALITIES.flatMap((value): Instruction[] => [
      [BPF.JEQ, 0, 1, value],
      [BPF.RET, 0, 0, RET_ALLOW],
    ]),
    [BPF.RET, 0, 0, errno(EPERM)],
  ]);
  when(special.socket, [
    [BPF.LD_ABS, 0, 0, DATA.arg0Low],
    [BPF.JEQ, 1, 0, AF_ALG],
    [BPF.JEQ, 0, 1, AF_VSOCK],
    [BPF.RET, 0, 0, errno(EPERM)],
    [BPF.RET, 0, 0, RET_ALLOW],
  ]);
  // Ascending ranges: below one is a gap, inside is allowed, above goes on.
  for (const [low, high] of allowedRanges(table)) {
    program.push(
      [BPF.JGE, 1, 0, low],
      [BPF.RET, 0, 0, errno(EPERM)],
      [BPF.JGT, 1, 0, high],
      [BPF.RET, 0, 0, RET_ALLOW],
    );
  }
  program.push(
    [BPF.JGT, 0, 1, NEWEST_SYSCALL],
    [BPF.RET, 0, 0, errno(ENOSYS)],
    [BPF.RET, 0, 0, errno(EPERM)],
  );
  return program;
}

/** Allowed numbers of a table as closed ranges, ascending. */
function allowedRanges(table: "x64" | "i386" | "arm64"): [low: number, high: number][] {
  const column = table === "x64" ? 1 : table === "i386" ? 2 : 3;
  const numbers = ALLOWED_SYSCALLS.map((row) => row[column])
    .filter((number): number is number => number !== null)
    .sort((a, b) => a - b);
  const ranges: [number, number][] = [];
  for (const number of numbers) {
    const last = ranges.at(-1);
    if (last !== undefined && number === last[1] + 1) last[1] = number;
    else ranges.push([number, number]);
  }
  return ranges;
}
