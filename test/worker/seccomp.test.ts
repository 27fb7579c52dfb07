// The system-call filter, call by call: its instructions are interpreted here as the kernel does (linux/filter.h).

import assert from "node:assert/strict";
import { seccompFilter } from "../../worker/sandbox/seccomp.ts";
import { ALLOWED_SYSCALLS } from "../../worker/sandbox/syscalls.ts";

const ALLOW = "allow";
const EPERM = "errno 1";
const ENOSYS = "errno 38";
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

describe("The system-call filter", () => {
  for (const table of ["x64", "i386", "arm64"] as const) {
    const filter = seccompFilter(table === "arm64" ? "arm64" : "x64");
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
    it(`lets ${table} programs open sockets of every family but AF_VSOCK`, () => {
      for (const family of [1n, 2n, 10n, 16n, 17n]) assert.equal(at(special.socket, family), ALLOW);
      assert.equal(at(special.socket, 40n), EPERM);
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
      assert.equal(judge(seccompFilter("x64"), AUDIT.x64, nr), EPERM, name);
  });
  it("gives the x32 numbers of x86-64 as not there", () => {
    for (const nr of [0, 1, 56, 272, 520])
      assert.equal(judge(seccompFilter("x64"), AUDIT.x64, 0x4000_0000 + nr), ENOSYS);
  });
  it("kills programs of another architecture", () => {
    assert.equal(judge(seccompFilter("x64"), AUDIT.arm64, 0), "kill");
    assert.equal(judge(seccompFilter("arm64"), AUDIT.x64, 0), "kill");
    assert.equal(judge(seccompFilter("arm64"), 0x4000_0028 /* 32-bit arm */, 0), "kill");
  });
  it("has a table in which no number stands twice", () => {
    for (const column of [1, 2, 3] as const) {
      const numbers = ALLOWED_SYSCALLS.map((row) => row[column]).filter((nr) => nr !== null);
      assert.equal(new Set(numbers).size, numbers.length);
    }
  });
});
