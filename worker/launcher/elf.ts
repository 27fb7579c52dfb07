// The launcher: a static executable of about 400 bytes that reads a program of system calls and makes them.
//
// Why it exists. Between fork and execve of a step some eighty system calls must be made by a single-threaded process:
// unshare, mounts, pivot_root, capabilities, seccomp. Node always has several threads (unshare(CLONE_NEWUSER) fails with
// EINVAL), its VM must never be forked, and one waiting Node process per step costs 45 ms of CPU and 40 MB. So the calls
// are data: launcher/program.ts lays them out in memory in the launcher's format, the launcher only executes them. It starts in under
// a millisecond, needs 64 MB of address space and a few pages of memory, and contains nothing that the program it executes
// could reuse.
//
// Program memory (fixed address PROGRAM_BASE, read from descriptor 0 until `length` bytes are there):
//   +0   u64 length of the program in bytes       +8   u64 address of the record that failed last
//   +16  u64 its result (-errno)                   +24  u64 unused
//   +32  records of eleven u64 words: number, six arguments, address to store the result at, next record,
//        next record when the result is 0, next record when the call failed
// The memory is writable, so "store the result at" may point into the argument of a later record.
//
// The machine code below is made from these instructions (GNU as syntax in the margin of each part).

import { Buffer } from "node:buffer";

export const PROGRAM_BASE = 0x1000_0000;
/** Only address space until it is used. Holds the secrets of a step, each up to 500 KiB. */
export const PROGRAM_MAX_BYTES = 0x400_0000;
export const RECORDS_OFFSET = 32;
export const RECORD_WORDS = 11;

const X64 = [
  "41bc00000010", //             mov r12d, PROGRAM_BASE
  "31c031ff4c89e6ba00000004", // rd: xor eax,eax; xor edi,edi; mov rsi,r12; mov edx,PROGRAM_MAX_BYTES
  "0f054885c07e79", //           syscall; test rax,rax; jle die
  "4901c4498d8424000000f0", //   add r12,rax; lea rax,[r12-PROGRAM_BASE]
  "483b04250000001072d8", //     cmp rax,[PROGRAM_BASE]; jb rd
  "41bc20000010", //             mov r12d, PROGRAM_BASE+32
  "498b0424498b7c2408", //       next: mov rax,[r12]; mov rdi,[r12+8]
  "498b742410498b542418", //     mov rsi,[r12+16]; mov rdx,[r12+24]
  "4d8b5424204d8b442428", //     mov r10,[r12+32]; mov r8,[r12+40]
  "4d8b4c24300f05", //           mov r9,[r12+48]; syscall
  "498b4c2438488901", //         mov rcx,[r12+56]; mov [rcx],rax
  "483d01f0ffff7313", //         cmp rax,-4095; jae failed
  "4885c07407", //               test rax,rax; jz zero
  "4d8b642440ebc0", //           mov r12,[r12+64]; jmp next
  "4d8b642448ebb9", //           zero: mov r12,[r12+72]; jmp next
  "4c892425080000104889042510000010", // failed: mov [PROGRAM_BASE+8],r12; mov [PROGRAM_BASE+16],rax
  "4d8b642450eba2", //           mov r12,[r12+80]; jmp next
  "b8e7000000bf7d0000000f05", // die: exit_group(125)
].join("");

const ARM64 = [
  "1300a2d2f40313aa", //                 mov x19, #PROGRAM_BASE; mov x20, x19
  "e80780d2000080d2e10314aa0280a0d2", // rd: mov x8,#63; mov x0,#0; mov x1,x20; mov x2,#PROGRAM_MAX_BYTES
  "010000d41f0000f12d030054", //         svc #0; cmp x0,#0; b.le die
  "9402008b810213cb620240f9", //         add x20,x20,x0; sub x1,x20,x19; ldr x2,[x19]
  "3f0002eba3feff5474820091", //         cmp x1,x2; b.lo rd; add x20,x19,#32
  "880240f9808640a9828e41a9849642a9", // next: ldr x8,[x20]; ldp x0,x1 / x2,x3 / x4,x5
  "010000d4891e40f9200100f9", //         svc #0; ldr x9,[x20,#56]; str x0,[x9]
  "1ffc3fb1c2000054600000b4", //         cmn x0,#4095; b.hs failed; cbz x0,zero
  "942240f9f5ffff17", //                 ldr x20,[x20,#64]; b next
  "942640f9f3ffff17", //                 zero: ldr x20,[x20,#72]; b next
  "740600f9600a00f9942a40f9efffff17", // failed: str x20,[x19,#8]; str x0,[x19,#16]; ldr x20,[x20,#80]; b next
  "c80b80d2a00f80d2010000d4", //         die: exit_group(125)
].join("");

/** A program header of elf(5). */
interface Segment {
  readonly type: number;
  readonly flags: number;
  readonly at: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
}

export type LauncherArch = "x64" | "arm64";

/** The launcher as an ELF file. elf(5): one read-execute segment with the code, one empty read-write one for the program. */
export function launcherElf(arch: LauncherArch): Uint8Array {
  const code = Buffer.from(arch === "x64" ? X64 : ARM64, "hex");
  const headerBytes = 64 + 3 * 56;
  const elf = Buffer.alloc(headerBytes + code.length);
  const codeBase = 0x40_0000;
  elf.write("\x7fELF", 0, "latin1");
  elf.set([2, 1, 1], 4); // ELFCLASS64, little endian, version 1
  elf.writeUInt16LE(2, 16); // ET_EXEC
  elf.writeUInt16LE(arch === "x64" ? 62 : 183, 18); // EM_X86_64, EM_AARCH64
  elf.writeUInt32LE(1, 20);
  elf.writeBigUInt64LE(BigInt(codeBase + headerBytes), 24); // e_entry
  elf.writeBigUInt64LE(64n, 32); // e_phoff
  elf.writeUInt16LE(64, 52); // e_ehsize
  elf.writeUInt16LE(56, 54); // e_phentsize
  elf.writeUInt16LE(3, 56); // e_phnum
  elf.writeUInt16LE(64, 58); // e_shentsize
  const segment = (index: number, { type, flags, at, fileBytes, memoryBytes }: Segment): void => {
    const base = 64 + index * 56;
    elf.writeUInt32LE(type, base);
    elf.writeUInt32LE(flags, base + 4);
    elf.writeBigUInt64LE(BigInt(at), base + 16); // p_vaddr
    elf.writeBigUInt64LE(BigInt(at), base + 24);
    elf.writeBigUInt64LE(BigInt(fileBytes), base + 32);
    elf.writeBigUInt64LE(BigInt(memoryBytes), base + 40);
    elf.writeBigUInt64LE(0x1_0000n, base + 48); // 64 KiB pages exist on arm64
  };
  const [PT_LOAD, PT_GNU_STACK, RX, RW] = [1, 0x6474_e551, 5, 6];
  const { length } = elf;
  segment(0, { type: PT_LOAD, flags: RX, at: codeBase, fileBytes: length, memoryBytes: length });
  // Zero filled.
  segment(1, { type: PT_LOAD, flags: RW, at: PROGRAM_BASE, fileBytes: 0, memoryBytes: PROGRAM_MAX_BYTES });
  segment(2, { type: PT_GNU_STACK, flags: RW, at: 0, fileBytes: 0, memoryBytes: 0 });
  elf.set(code, headerBytes);
  return elf;
}
