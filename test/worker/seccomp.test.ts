// The system-call filter, call by call: its instructions are interpreted here as the kernel does (linux/filter.h).

import assert from "node:assert/strict";
import { closeSync, writeFileSync } from "node:fs";
import { launcherElf } from "../../worker/launcher/elf.ts";
import { launcherArch } from "../../worker/launcher/install.ts";
import type { Answer, ToldCall } from "../../worker/sandbox/notify.ts";
import { type FilterWish, stepFilter, type StepFilter } from "../../worker/sandbox/seccomp-notify.ts";
import { reversed } from "../../worker/sandbox/reversed-names.ts";
import { answerSocket } from "../../worker/sandbox/sockets.ts";
import { getxattr } from "../../worker/sys/file.ts";
import { temporaryDir } from "../support/store.ts";
import { assembleBpf, seccompFilter } from "../../worker/sandbox/seccomp.ts";
import { ALLOWED_SYSCALLS } from "../../worker/sandbox/syscalls.ts";

const ALLOW = "allow";
const EPERM = "errno 1";
const ENOSYS = "errno 38";
const TOLD = "told to the keeper";
const AUDIT = { x64: 0xc000_003e, i386: 0x4000_0003, arm64: 0xc000_00b7 } as const;
type Table = keyof typeof AUDIT;
const COLUMN = { x64: 1, i386: 2, arm64: 3 } as const;
const NEWEST = 466;

/** Runs a filter on one call. */
function judge(filter: Uint8Array, arch: number, nr: number, args: readonly bigint[] = []): string {
  const program = new DataView(filter.buffer, filter.byteOffset, filter.length);
  const data = new DataView(new ArrayBuffer(64)); // struct seccomp_data
  data.setUint32(0, nr, true);
  data.setUint32(4, arch, true);
  args.forEach((arg, index) => data.setBigUint64(16 + index * 8, arg, true));
  let accumulator = 0;
  for (let pc = 0, steps = 0; steps < 10_000; steps++) {
    assert.ok(pc * 8 < filter.length, "the filter runs over its end");
    const code = program.getUint16(pc * 8, true);
    const jumpTrue = program.getUint8(pc * 8 + 2);
    const jumpFalse = program.getUint8(pc * 8 + 3);
    const k = program.getUint32(pc * 8 + 4, true);
    pc += 1;
    const jump = (holds: boolean): void => {
      pc += holds ? jumpTrue : jumpFalse;
    };
    switch (code) {
      case 0x20: // LD W ABS
        accumulator = data.getUint32(k, true);
        break;
      case 0x05: // JA
        pc += k;
        break;
      case 0x15:
        jump(accumulator === k);
        break;
      case 0x25:
        jump(accumulator > k);
        break;
      case 0x35:
        jump(accumulator >= k);
        break;
      case 0x45:
        jump((accumulator & k) !== 0);
        break;
      case 0x06: // RET K
        if (k === 0x7fff_0000) return ALLOW;
        if (k === 0x8000_0000) return "kill";
        if (k === 0x7fc0_0000) return TOLD;
        return `errno ${k & 0xffff}`;
      default:
        assert.fail(`instruction ${code.toString(16)} is not one of the filter's`);
    }
  }
  return assert.fail("the filter does not end");
}

const CONDITIONAL: Readonly<
  Record<Table, { clone: number; clone3: number; personality: number; socket: number }>
> = {
  x64: { clone: 56, clone3: 435, personality: 135, socket: 41 },
  i386: { clone: 120, clone3: 435, personality: 136, socket: 359 },
  arm64: { clone: 220, clone3: 435, personality: 92, socket: 198 },
};

describe("Calls that are told to the keeper", () => {
  const filterOf = (arch: "x64" | "arm64", wish: Partial<FilterWish> = {}): StepFilter => {
    const filter = stepFilter(arch, { insecure: false, destinations: false, ...wish });
    assert.ok(filter !== null);
    return filter;
  };
  const judged = (filter: Uint8Array, table: Table, nr: number, ...args: bigint[]): string =>
    judge(filter, AUDIT[table], nr, args);

  it("are sockets of 32-bit programs, whose family only who is told can read (CVE-2026-31431)", () => {
    const { filter, tells } = filterOf("x64");
    assert.ok(tells);
    assert.equal(judged(filter, "i386", 102, 1n), TOLD); // socketcall, SYS_SOCKET
    for (const kind of [0n, 2n, 3n, 4n, 8n, 11n, 16n, 20n])
      assert.equal(judged(filter, "i386", 102, kind), ALLOW);
    assert.equal(filterOf("arm64").tells, false);
  });
  it("are refused where nobody can be told", () => {
    const { alone } = filterOf("x64", { destinations: true });
    assert.ok(alone !== null);
    assert.equal(judged(alone, "i386", 102, 1n), EPERM);
    for (const kind of [0n, 3n, 11n]) assert.equal(judged(alone, "i386", 102, kind), ALLOW);
    assert.equal(judged(alone, "x64", 42, 1n), ALLOW);
  });
  for (const [table, connect, sendto] of [
    ["x64", 42, 44],
    ["i386", 362, 369],
    ["arm64", 203, 206],
  ] as const) {
    for (const insecure of [false, true]) {
      it(`are where ${table} programs connect and send to${insecure ? ", with --security=insecure" : ""}`, () => {
        const arch = table === "arm64" ? "arm64" : "x64";
        const { filter } = filterOf(arch, { insecure, destinations: true });
        assert.equal(judged(filter, table, connect, 3n, 0x1000n, 16n), TOLD);
        const address = (at: bigint): string => judged(filter, table, sendto, 3n, 0x1000n, 4n, 0n, at, 16n);
        assert.deepEqual([address(0n), address(0x1000n), address(0x1_0000_0000n)], [ALLOW, TOLD, TOLD]);
      });
    }
  }
  it("are where 32-bit programs connect to by socketcall", () => {
    const { filter } = filterOf("x64", { destinations: true });
    for (const [kind, expected] of [
      [1n, TOLD],
      [2n, ALLOW],
      [3n, TOLD],
      [9n, ALLOW],
      [11n, TOLD],
      [16n, ALLOW],
    ] as const) {
      assert.equal(judged(filter, "i386", 102, kind), expected);
    }
  });
  it("change no verdict on any other", () => {
    for (const [arch, table] of [
      ["x64", "x64"],
      ["x64", "i386"],
      ["arm64", "arm64"],
    ] as const) {
      const plain = assembleBpf(seccompFilter(arch));
      const { filter } = filterOf(arch, { destinations: true });
      for (let nr = 0; nr <= 1100; nr++) {
        const verdict = judged(filter, table, nr, 2n);
        if (verdict !== TOLD) assert.equal(verdict, judged(plain, table, nr, 2n), `${table} ${nr}`);
      }
    }
    assert.equal(judged(filterOf("x64").filter, "x64", 102, 1n), ALLOW);
  });
  it("need no filter where there is none", () => {
    assert.equal(stepFilter("x64", { insecure: true, destinations: false }), null);
  });
});

describe("Directories read backwards", () => {
  const entry = (name: string, next: bigint): Buffer => {
    const bytes = Buffer.alloc(24);
    bytes.writeBigInt64LE(next, 8);
    bytes.writeUInt16LE(24, 16);
    bytes.write(name, 19);
    return bytes;
  };
  it("keep their positions in order", () => {
    const all = [entry("a", 1n), entry("b", 2n), entry("c", 3n)];
    assert.deepEqual(
      reversed(Buffer.concat(all)),
      Buffer.concat([entry("c", 1n), entry("b", 2n), entry("a", 3n)]),
    );
  });
  it("are told to the keeper only where that is asked for", () => {
    for (const arch of ["x64", "arm64"] as const) {
      const wish = { insecure: true, destinations: false };
      assert.equal(stepFilter(arch, wish), null);
      assert.equal(stepFilter(arch, { ...wish, names: true })?.tells, true);
    }
  });
});

describe("Sockets of 32-bit programs", () => {
  const refused = { kind: "error", errnum: 1 };
  const callOf = (...args: number[]): ToldCall => ({
    ...{ call: "socket", pid: process.pid, proc: "", procFd: -1, args },
    memory: () => Buffer.alloc(0),
    isWaiting: () => true,
  });
  const ask = (...args: number[]): Promise<Answer> => answerSocket(process.execPath, callOf(...args), true);
  it("are of no family that reaches the machine, and need no rights (CVE-2026-31431)", async () => {
    for (const [family, type, protocol] of [
      [38, 5, 0], // AF_ALG
      [40, 1, 0], // AF_VSOCK
      [2, 3, 1], // raw ICMP
      [2, 2, 1], // a ping socket
      [17, 3, 0], // AF_PACKET
      [16, 3, 15], // netlink of devices
      [2, 10, 0], // SOCK_PACKET
      [-1, 1, 0],
      [38 + 2 ** 31, 5, 0],
    ] as const) {
      assert.deepEqual(await ask(family, type, protocol), refused, `${family} ${type} ${protocol}`);
    }
  });
  it("need their three arguments", async () => {
    assert.deepEqual(await ask(2, 1), { kind: "error", errnum: 14 });
  });
  it("are handed over as they were asked for", async () => {
    using dir = temporaryDir();
    writeFileSync(dir.at("launcher"), launcherElf(launcherArch()), { mode: 0o755 });
    for (const [family, type, name] of [
      [1, 1, "UNIX"],
      [2, 1, "TCP"],
      [2, 2 | 0o2000000, "UDP"],
      [16, 3, "NETLINK"],
    ] as const) {
      const answer = await answerSocket(dir.at("launcher"), callOf(family, type, 0), true);
      assert.ok(answer.kind === "descriptor");
      try {
        const found = getxattr(`/proc/self/fd/${answer.fd}`, "system.sockprotoname");
        assert.match(found?.toString() ?? "", new RegExp(`^${name}`));
        assert.equal(answer.closeOnExec, (type & 0o2000000) !== 0);
      } finally {
        closeSync(answer.fd);
      }
    }
  });
});

describe("The system-call filter", () => {
  for (const table of ["x64", "i386", "arm64"] as const) {
    const filter = assembleBpf(seccompFilter(table === "arm64" ? "arm64" : "x64"));
    const at = (nr: number, ...args: bigint[]): string => judge(filter, AUDIT[table], nr, args);
    const special = CONDITIONAL[table];

    it(`answers every number of ${table} as the table says`, () => {
      const allowed = new Set(ALLOWED_SYSCALLS.map((row) => row[COLUMN[table]]).filter((nr) => nr !== null));
      const conditional = new Set<number>(Object.values(special));
      for (let nr = 0; nr <= 1100; nr++) {
        if (conditional.has(nr)) continue;
        const expected = allowed.has(nr) ? ALLOW : nr > NEWEST ? ENOSYS : EPERM;
        assert.equal(at(nr), expected, `call ${nr}`);
      }
    });
    it(`lets ${table} programs fork and make threads, but no namespaces`, () => {
      assert.equal(at(special.clone, 17n), ALLOW); // SIGCHLD
      assert.equal(at(special.clone, 0x3d_0f00n), ALLOW); // flags of pthread_create
      for (const flag of [
        0x2_0000n,
        0x200_0000n,
        0x400_0000n,
        0x800_0000n,
        0x1000_0000n,
        0x2000_0000n,
        0x4000_0000n,
      ]) {
        assert.equal(at(special.clone, flag | 17n), EPERM, flag.toString(16));
      }
      assert.equal(at(special.clone3), ENOSYS);
    });
    it(`lets ${table} programs ask for the personalities of the default profile only`, () => {
      for (const allowed of [0n, 8n, 0x2_0000n, 0x2_0008n, 0xffff_ffffn])
        assert.equal(at(special.personality, allowed), ALLOW);
      for (const refused of [0x4_0000n /* ADDR_NO_RANDOMIZE */, 1n, 0x40_0000n])
        assert.equal(at(special.personality, refused), EPERM);
    });
    it(`lets ${table} programs open sockets of every family but AF_VSOCK and AF_ALG (CVE-2026-31431)`, () => {
      for (const family of [1n, 2n, 10n, 16n, 17n, 37n, 39n, 41n])
        assert.equal(at(special.socket, family), ALLOW);
      for (const family of [38n, 40n]) {
        assert.equal(at(special.socket, family), EPERM);
        // The kernel looks at 32 bits of the argument.
        assert.equal(at(special.socket, family | 0xffff_ffff_0000_0000n), EPERM);
      }
    });
  }

  it("refuses the calls that break out of containers", () => {
    const x64 = {
      mount: 165,
      umount2: 166,
      unshare: 272,
      setns: 308,
      pivot_root: 155,
      keyctl: 250,
      add_key: 248,
      bpf: 321,
      perf_event_open: 298,
      userfaultfd: 323,
      io_uring_setup: 425,
      open_by_handle_at: 304,
      kexec_load: 246,
      init_module: 175,
      finit_module: 313,
      fsopen: 430,
      open_tree: 428,
      move_mount: 429,
      mount_setattr: 442,
      swapon: 167,
      reboot: 169,
      syslog: 103,
      settimeofday: 164,
      clock_settime: 227,
      quotactl: 179,
      iopl: 172,
      kcmp: 312,
      pidfd_getfd: 438,
    };
    for (const [name, nr] of Object.entries(x64))
      assert.equal(judge(assembleBpf(seccompFilter("x64")), AUDIT.x64, nr), EPERM, name);
  });
  it("gives the x32 numbers of x86-64 as not there", () => {
    for (const nr of [0, 1, 56, 272, 520])
      assert.equal(judge(assembleBpf(seccompFilter("x64")), AUDIT.x64, 0x4000_0000 + nr), ENOSYS);
  });
  it("kills programs of another architecture", () => {
    assert.equal(judge(assembleBpf(seccompFilter("x64")), AUDIT.arm64, 0), "kill");
    assert.equal(judge(assembleBpf(seccompFilter("arm64")), AUDIT.x64, 0), "kill");
    assert.equal(judge(assembleBpf(seccompFilter("arm64")), 0x4000_0028 /* 32-bit arm */, 0), "kill");
  });
  it("has a table in which no number stands twice", () => {
    for (const column of [1, 2, 3] as const) {
      const numbers = ALLOWED_SYSCALLS.map((row) => row[column]).filter((nr) => nr !== null);
      assert.equal(new Set(numbers).size, numbers.length);
    }
  });
});
