// Programs for the launcher (elf.ts): system calls as data, followed by strings and structures.

import { Buffer } from "node:buffer";
import { BuildError } from "../../solver/graph/error.ts";
import { PROGRAM_BASE, PROGRAM_MAX_BYTES, RECORDS_OFFSET, RECORD_WORDS, type LauncherArch } from "./elf.ts";
import { O } from "../sys/constants.ts";

/** Numbers per architecture: x86-64 table, arm64 = asm-generic/unistd.h. */
const NUMBERS = {
  read: [0, 63],
  write: [1, 64],
  openat: [257, 56],
  close: [3, 57],
  dup3: [292, 24],
  ioctl: [16, 29],
  mkdirat: [258, 34],
  mknodat: [259, 33],
  symlinkat: [266, 36],
  fchmod: [91, 52],
  fchown: [93, 55],
  chdir: [80, 49],
  fchdir: [81, 50],
  umask: [95, 166],
  mount: [165, 40],
  umount2: [166, 39],
  pivot_root: [155, 41],
  unshare: [272, 97],
  setns: [308, 268],
  clone: [56, 220],
  wait4: [61, 260],
  execve: [59, 221],
  exit_group: [231, 94],
  setsid: [112, 157],
  prctl: [157, 167],
  capset: [126, 91],
  setgroups: [116, 159],
  setresgid: [119, 149],
  setresuid: [117, 147],
  sethostname: [170, 161],
  prlimit64: [302, 261],
  sched_setaffinity: [203, 122],
  seccomp: [317, 277],
  close_range: [436, 436],
  openat2: [437, 437],
  open_tree: [428, 428],
  move_mount: [429, 429],
  fsopen: [430, 430],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  mount_setattr: [442, 442],
  socket: [41, 198],
  rt_sigprocmask: [14, 135],
  kill: [62, 129],
  getpid: [39, 172],
  writev: [20, 66],
  faccessat: [269, 48],
  unlinkat: [263, 35],
  setxattr: [188, 5],
  pidfd_open: [434, 434],
  sendmsg: [46, 211],
  recvmsg: [47, 212],
  sendto: [44, 206],
  ppoll: [271, 73],
  bind: [49, 200],
  listen: [50, 201],
  setsockopt: [54, 208],
  rt_sigaction: [13, 134],
  signalfd4: [289, 74],
} as const;
export type CallName = keyof typeof NUMBERS;

declare const labelBrand: unique symbol;
/** A place in the program that records can go to; bound once with `here`. */
export type Label = number & { readonly [labelBrand]: "Label" };

/** number: as it is (negative: two's complement). string: address of a NUL-terminated copy. bytes: address of a copy.
 *  pointers: address of an array of addresses of the strings, ended by NULL. own: address inside the program header. */
export type Arg =
  | number
  | bigint
  | string
  | Uint8Array
  | { readonly pointers: readonly string[] }
  | { readonly header: number }
  /** A structure with addresses in it: 8-byte words. */
  | { readonly words: readonly Arg[] }
  /** Address inside a block of bytes that several calls share (placed once per object). */
  | { readonly of: Uint8Array; readonly offset: number };

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
  readonly storeAt?: { readonly of: Uint8Array; readonly offset: number };
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
    describe(recordAddress: bigint): { call: string; what: string } | null;
  };
}

interface Entry {
  readonly name: CallName | number;
  readonly args: readonly Arg[];
  readonly options: CallOptions;
}

const RECORD_BYTES = RECORD_WORDS * 8;

/** Starts an empty program. `statusFd`: descriptor on which failures are told (record address and -errno, 16 bytes). */
export function openProgram(arch: LauncherArch, statusFd: number): Program {
  const entries: Entry[] = [];
  const labels: (number | null)[] = [];
  const column = arch === "x64" ? 0 : 1;

  const program: Program = {
    call(name, args, options = {}) {
      entries.push({ name, args, options });
    },
    open(fd, name, args, options = {}) {
      program.call(name, args, { ...options, intoNextArg: 0 });
      program.call("dup3", [0, fd, O.CLOEXEC]);
    },
    label() {
      labels.push(null);
      return (labels.length - 1) as Label;
    },
    here(label) {
      labels[label] = entries.length;
    },
    assemble() {
      const fatal = entries.length;
      const all: Entry[] = [
        ...entries,
        { name: "write", args: [statusFd, { header: 8 }, 16], options: { onError: "ignore" } },
        { name: "exit_group", args: [125], options: {} },
      ];
      return layout(all, fatal, labels, column);
    },
  };
  return program;
}

function layout(
  entries: readonly Entry[],
  fatal: number,
  labels: readonly (number | null)[],
  column: 0 | 1,
): ReturnType<Program["assemble"]> {
  const addressOf = (record: number): bigint => BigInt(PROGRAM_BASE + RECORDS_OFFSET + record * RECORD_BYTES);
  const scratch = BigInt(PROGRAM_BASE + 24);
  const chunks: Uint8Array[] = [];
  let dataOffset = RECORDS_OFFSET + entries.length * RECORD_BYTES;
  const place = (bytes: Uint8Array): bigint => {
    const at = BigInt(PROGRAM_BASE + dataOffset);
    const padded = Buffer.alloc((bytes.length + 7) & ~7);
    padded.set(bytes);
    chunks.push(padded);
    dataOffset += padded.length;
    return at;
  };
  const strings = new Map<string, bigint>();
  const blocks = new Map<Uint8Array, bigint>();
  const block = (bytes: Uint8Array): bigint => {
    const at = blocks.get(bytes) ?? place(bytes);
    blocks.set(bytes, at);
    return at;
  };
  const word = (arg: Arg): bigint => {
    if (typeof arg === "number" || typeof arg === "bigint") return BigInt.asUintN(64, BigInt(arg));
    if (typeof arg === "string") {
      const known = strings.get(arg);
      if (known !== undefined) return known;
      if (arg.includes("\0")) {
        throw new BuildError(
          "EXEC_FAILED",
          "arguments, paths and environment variables of a command cannot contain a NUL byte",
        );
      }
      const at = place(Buffer.from(`${arg}\0`));
      strings.set(arg, at);
      return at;
    }
    if (arg instanceof Uint8Array) return block(arg);
    if ("of" in arg) return block(arg.of) + BigInt(arg.offset);
    if ("header" in arg) return BigInt(PROGRAM_BASE + arg.header);
    const inner = "pointers" in arg ? [...arg.pointers, 0] : arg.words;
    const table = Buffer.alloc(inner.length * 8);
    inner.forEach((value, index) => table.writeBigUInt64LE(word(value), index * 8));
    return place(table);
  };
  const resolve = (label: Label): bigint => {
    const record = labels[label];
    if (record === null || record === undefined) throw new Error("a label of the program is not bound");
    return addressOf(record);
  };

  const records = Buffer.alloc(entries.length * RECORD_BYTES);
  entries.forEach(({ name, args, options }, index) => {
    const at = index * RECORD_BYTES;
    const put = (slot: number, value: bigint): void => {
      records.writeBigUInt64LE(value, at + slot * 8);
    };
    put(0, BigInt(typeof name === "number" ? name : NUMBERS[name][column]));
    args.forEach((arg, position) => put(1 + position, word(arg)));
    if (options.storeAt !== undefined) put(7, word(options.storeAt));
    else
      put(
        7,
        options.intoNextArg === undefined
          ? scratch
          : addressOf(index + 1) + BigInt(8 + options.intoNextArg * 8),
      );
    const following = addressOf(index + 1);
    const next = options.next === undefined ? following : resolve(options.next);
    put(8, next);
    put(9, options.onZero === undefined ? next : resolve(options.onZero));
    put(
      10,
      options.onError === undefined
        ? addressOf(fatal)
        : options.onError === "ignore"
          ? next
          : resolve(options.onError),
    );
  });
  const header = Buffer.alloc(RECORDS_OFFSET);
  header.writeBigUInt64LE(BigInt(dataOffset), 0);
  if (dataOffset > PROGRAM_MAX_BYTES) {
    throw new BuildError(
      "LIMIT_EXCEEDED",
      `arguments, environment and secrets of a step are limited to ${PROGRAM_MAX_BYTES >> 20} MiB`,
    );
  }
  return {
    bytes: Buffer.concat([header, records, ...chunks]),
    describe(address) {
      const index = Number(address - addressOf(0)) / RECORD_BYTES;
      const entry = entries[index];
      return entry === undefined ? null : { call: String(entry.name), what: entry.options.what ?? "" };
    },
  };
}
