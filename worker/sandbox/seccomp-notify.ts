// The system-call filter of a step: that of seccomp.ts, and calls that the keeper handles. seccomp_unotify(2).
//
// Families. On x86-64 a 32-bit program may call socket(2) through socketcall(2), whose arguments are in memory that a filter
// cannot read, so the family filter of seccomp.ts would not apply (CVE-2026-31431). Refusing it would break networking in
// 32-bit programs of glibc and Go, which have no alternative. So the keeper creates that socket and passes it to the program (sockets.ts).
//
// Destinations. If the keeper itself forwards the step's connections (forwarder.ts), it is notified of every destination
// before a connection is made.

import type { LauncherArch } from "../launcher/elf.ts";
import { assembleBpf, AUDIT_ARCH, BPF, DATA, type Instruction, RET_ALLOW, seccompFilter } from "./seccomp.ts";

const RET_USER_NOTIF = 0x7fc0_0000;
const RET_EPERM = 0x0005_0001;

/** Calls of socketcall(2). linux/net.h */
export const SOCKETCALL = { socket: 1, connect: 3, sendto: 11 } as const;
/** The numbers of those that are told, by architecture; `audit`: as the kernel names it in a notification. */
export const TOLD_CALLS: Readonly<
  Record<
    "x64" | "i386" | "arm64",
    {
      readonly audit: number;
      readonly connect: number;
      readonly sendto: number;
      readonly socketcall: number | null;
      readonly getdents64: number;
    }
  >
> = {
  x64: { audit: AUDIT_ARCH.x64, connect: 42, sendto: 44, socketcall: null, getdents64: 217 },
  i386: { audit: AUDIT_ARCH.i386, connect: 362, sendto: 369, socketcall: 102, getdents64: 220 },
  arm64: { audit: AUDIT_ARCH.arm64, connect: 203, sendto: 206, socketcall: null, getdents64: 61 },
};

/** What a step's filter does. */
export interface FilterWish {
  /** Without the default filter (--security=insecure), and so without families that are kept from it. */
  readonly insecure: boolean;
  /** Tell every destination before it is connected to. */
  readonly destinations: boolean;
  /** Tell every reading of a directory; left out: none. */
  readonly names?: boolean;
}

export interface StepFilter {
  readonly filter: Uint8Array;
  /** Does it need a listener? */
  readonly tells: boolean;
  /** What stands in for it where there can be no listener: what it would tell is refused, or goes on where that does no harm. */
  readonly alone: Uint8Array | null;
}

const FILTERS = new Map<string, StepFilter | null>();

/** The filter of a step; null: none. Made once, for every step the same. */
export function stepFilter(arch: LauncherArch, wish: FilterWish): StepFilter | null {
  const key = `${arch} ${wish.insecure} ${wish.destinations} ${wish.names === true}`;
  let filter = FILTERS.get(key);
  if (filter === undefined) {
    filter = makeFilter(arch, wish);
    FILTERS.set(key, filter);
  }
  return filter;
}

function makeFilter(
  arch: LauncherArch,
  { insecure, destinations, names = false }: FilterWish,
): StepFilter | null {
  const told = toldCalls(arch, { families: !insecure, destinations, names, verdict: RET_USER_NOTIF });
  const tells = told.length > 0;
  if (insecure) {
    if (!tells) return null;
    return { filter: assembleBpf([...told, [BPF.RET, 0, 0, RET_ALLOW]]), tells, alone: null };
  }
  const rest = seccompFilter(arch);
  const refused = toldCalls(arch, { families: true, destinations: false, names: false, verdict: RET_EPERM });
  return { filter: assembleBpf([...told, ...rest]), tells, alone: assembleBpf([...refused, ...rest]) };
}

interface Told {
  readonly families: boolean;
  readonly destinations: boolean;
  readonly names: boolean;
  readonly verdict: number;
}

/** Instructions that give these calls the verdict and go on behind their end with all others. */
function toldCalls(arch: LauncherArch, told: Told): Instruction[] {
  const tables = arch === "x64" ? (["x64", "i386"] as const) : (["arm64"] as const);
  return tables.flatMap((table) => {
    const body = toldOf(table, told);
    if (body.length === 0) return [];
    return [[BPF.LD_ABS, 0, 0, DATA.arch], [BPF.JEQ, 0, body.length, AUDIT_ARCH[table]], ...body];
  });
}

function toldOf(
  table: keyof typeof TOLD_CALLS,
  { families, destinations, names, verdict }: Told,
): Instruction[] {
  const calls = TOLD_CALLS[table];
  const tell: Instruction = [BPF.RET, 0, 0, verdict];
  const number: Instruction = [BPF.LD_ABS, 0, 0, DATA.nr];
  const body: Instruction[] = [];
  if (calls.socketcall !== null) {
    const kinds = [
      ...(families ? [SOCKETCALL.socket] : []),
      ...(destinations ? [SOCKETCALL.connect, SOCKETCALL.sendto] : []),
    ];
    const inner = kinds.flatMap((kind): Instruction[] => [[BPF.JEQ, 0, 1, kind], tell]);
    if (inner.length > 0) {
      body.push(number, [BPF.JEQ, 0, inner.length + 1, calls.socketcall], [BPF.LD_ABS, 0, 0, DATA.arg0Low]);
      body.push(...inner);
    }
  }
  if (names) body.push(number, [BPF.JEQ, 0, 1, calls.getdents64], tell);
  if (destinations) {
    body.push(number, [BPF.JEQ, 0, 1, calls.connect], tell);
    // The fifth argument is the address; without one the socket is connected already.
    const inner: Instruction[] = [
      [BPF.LD_ABS, 0, 0, DATA.arg4Low],
      [BPF.JEQ, 0, 2, 0],
      [BPF.LD_ABS, 0, 0, DATA.arg4High],
      [BPF.JEQ, 1, 0, 0],
      tell,
    ];
    body.push([BPF.JEQ, 0, inner.length, calls.sendto], ...inner);
  }
  return body;
}
