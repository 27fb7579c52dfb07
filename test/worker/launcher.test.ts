// The launcher of each architecture: that of this machine by the kernel, the other by qemu's user mode, which also maps call numbers
// to names.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { arch as machineArch } from "node:process";
import { launcherElf, type LauncherArch } from "../../worker/launcher/elf.ts";
import { type Arg, type CallName, openProgram, type Program } from "../../worker/launcher/program.ts";
import { needs } from "../support/needs.ts";
import { type TemporaryDir, temporaryDir } from "../support/store.ts";

const QEMU = { x64: "qemu-x86_64-static", arm64: "qemu-aarch64-static" } as const;
const ENOENT = 2;
const SIGCHLD = 17;

/** Every call there is a name for, with arguments that fail, or do nothing, whoever makes it. */
const HARMLESS: Readonly<Record<Exclude<CallName, "exit_group">, readonly Arg[]>> = {
  read: [-1, 1, 1],
  write: [-1, 1, 1],
  openat: [-1, 1, 0, 0],
  close: [-1],
  dup3: [-1, 9, 0],
  ioctl: [-1, 0, 0],
  mkdirat: [-1, 1, 0],
  mknodat: [-1, 1, 0, 0],
  symlinkat: [1, -1, 1],
  fchmod: [-1, 0],
  fchown: [-1, 0, 0],
  chdir: [1],
  fchdir: [-1],
  umask: [0o22],
  mount: [1, 1, 1, 0, 0],
  umount2: [1, 0],
  pivot_root: [1, 1],
  unshare: [-1],
  setns: [-1, 0],
  clone: [-1, 0, 0, 0, 0],
  wait4: [-1, 0, 0, 0],
  execve: ["/no/such/program", { pointers: ["/no"] }, { pointers: [] }],
  setsid: [],
  prctl: [-1, 0, 0, 0, 0],
  capset: [1, 1],
  setgroups: [-1, 1],
  setresgid: [-1, -1, -1],
  setresuid: [-1, -1, -1],
  sethostname: [1, 1],
  prlimit64: [-1, 0, 0, 0],
  sched_setaffinity: [-1, 0, 0],
  seccomp: [-1, 0, 0],
  close_range: [1, 0, 0],
  openat2: [-1, 1, 1, 0],
  open_tree: [-1, 1, -1],
  move_mount: [-1, 1, -1, 1, -1],
  fsopen: [1, -1],
  fsconfig: [-1, -1, 0, 0, 0],
  fsmount: [-1, -1, -1],
  mount_setattr: [-1, 1, 0, 0, 0],
  socket: [-1, 0, 0],
  rt_sigprocmask: [-1, 1, 1, 8],
  kill: [0x3fff_fffe, 0],
  getpid: [],
  writev: [-1, 1, 1],
  faccessat: [-1, 1, 0],
  unlinkat: [-1, 1, 0],
  setxattr: [1, 1, 1, 0, 0],
  pidfd_open: [-1, 0],
  sendmsg: [-1, 1, 0],
  recvmsg: [-1, 1, 0],
  sendto: [-1, 1, 0, 0, 0, 0],
  ppoll: [1, 1, 0, 0, 0],
  bind: [-1, new Uint8Array(16), 16], // qemu would follow an address to print it
  listen: [-1, 0],
  setsockopt: [-1, 0, 0, 1, 0],
  rt_sigaction: [-1, 0, 0, 8],
  signalfd4: [-2, 1, 8, 0],
};
/** Calls of Linux 5.1 and later, which have one number everywhere. */
const SAME_NUMBER_FROM = 424;

for (const arch of ["x64", "arm64"] as const) {
  describe(`The ${arch} launcher${arch === machineArch ? "" : ", emulated"}`, () => {
    let dir: TemporaryDir;
    before(() => {
      dir = temporaryDir();
      writeFileSync(dir.at("launcher"), launcherElf(arch));
      chmodSync(dir.at("launcher"), 0o755);
    });
    after(() => dir[Symbol.dispose]());

    function run(write: (program: Program) => void): {
      status: number | null;
      out: Buffer;
      describe: ReturnType<Program["assemble"]>["describe"];
    } {
      const program = openProgram(arch, 1);
      write(program);
      const { bytes, describe: name } = program.assemble();
      const command = arch === machineArch ? [] : [needs(QEMU[arch])];
      const [file, ...args] = [...command, dir.at("launcher")];
      const { status, stdout, stderr } = spawnSync(file, args, { input: bytes, env: {} });
      assert.equal(stderr.toString(), "");
      return { status, out: stdout, describe: name };
    }

    it("makes the calls of its program one after the other and ends as told", () => {
      const { status, out } = run((program) => {
        const pid = new Uint8Array(8);
        program.call("write", [1, "hello\n", 6]);
        program.call("getpid", [], { storeAt: { of: pid, offset: 0 } });
        program.call("write", [1, pid, 8]);
        program.call("exit_group", [7]);
      });
      assert.equal(status, 7);
      assert.equal(out.subarray(0, 6).toString(), "hello\n");
      assert.ok(out.readBigInt64LE(6) > 1n);
    });

    it("hands results on, and takes the way for 0, for more and for failure", () => {
      const { status, out } = run((program) => {
        const child = program.label();
        const parent = program.label();
        const closed = program.label();
        program.open(9, "openat", [-100, "/dev/null", 1, 0]);
        program.call("write", [9, "lost", 4]);
        program.call("clone", [SIGCHLD, 0, 0, 0, 0], { onZero: child, next: parent });
        program.here(child);
        program.call("write", [1, "child\n", 6]);
        program.call("exit_group", [3]);
        program.here(parent);
        const status = new Uint8Array(8);
        program.call("wait4", [-1, status, 0, 0]);
        program.call("write", [1, { of: status, offset: 1 }, 1]);
        program.call("close", [77], { onError: closed });
        program.call("exit_group", [1]);
        program.here(closed);
        program.call("writev", [1, { words: ["ab", 2, "cd", 1] }, 2]);
        program.call("exit_group", [0]);
      });
      assert.equal(status, 0);
      assert.equal(out.toString("latin1"), "child\n\x03abc");
    });

    it("tells which call failed and why, and ends with 125", () => {
      const {
        status,
        out,
        describe: name,
      } = run((program) => {
        program.call("write", [1, "", 0]);
        program.call("execve", ["/no/such/program", { pointers: ["/no"] }, { pointers: [] }], {
          what: "starting it",
        });
        program.call("exit_group", [0]);
      });
      assert.equal(status, 125);
      assert.equal(out.length, 16);
      assert.deepEqual(name(out.readBigUInt64LE(0)), { call: "execve", what: "starting it" });
      assert.equal(out.readBigInt64LE(8), BigInt(-ENOENT));
    });

    it("ends with 125 for a program that is cut short", () => {
      const { bytes } = openProgram(arch, 1).assemble();
      const command = arch === machineArch ? [] : [needs(QEMU[arch])];
      const [file, ...args] = [...command, dir.at("launcher")];
      assert.equal(
        spawnSync(file, args, { input: bytes.subarray(0, bytes.length - 1), env: {} }).status,
        125,
      );
      assert.equal(spawnSync(file, args, { input: "", env: {} }).status, 125);
    });

    it("knows each call by the number qemu knows it by", () => {
      const names = Object.keys(HARMLESS) as (keyof typeof HARMLESS)[];
      const program = openProgram(arch, 1);
      for (const name of names) program.call(name, HARMLESS[name], { onError: "ignore" });
      program.call("exit_group", [0]);
      const { status, stderr } = spawnSync(needs(QEMU[arch]), ["-strace", dir.at("launcher")], {
        input: program.assemble().bytes,
        encoding: "utf8",
        env: {},
      });
      assert.equal(status, 0, stderr);
      // "PID name(...) = ...", after the launcher's own reading; what qemu has no name for is "Unknown syscall N".
      const traced = stderr
        .split("\n")
        .flatMap(
          (line) => /^\d+ (?:(\w+)\(|Unknown syscall (\d+))/.exec(line)?.slice(1).filter(Boolean) ?? [],
        );
      const made = traced.slice(traced.indexOf("read") + 1, -1);
      assert.equal(made.length, names.length, stderr);
      names.forEach((name, index) => {
        const seen = made[index] ?? "";
        if (/^\d+$/.test(seen)) {
          assert.ok(Number(seen) >= SAME_NUMBER_FROM, `${name}: ${seen}`);
          assert.equal(numberOf(name, "x64"), numberOf(name, "arm64"), name);
        } else assert.equal(seen, name);
      });
    });
  });
}

/** The number a program has for a call: the first word of its record. */
function numberOf(name: CallName, arch: LauncherArch): bigint {
  const program = openProgram(arch, 1);
  program.call(name, []);
  return Buffer.from(program.assemble().bytes).readBigUInt64LE(32);
}
