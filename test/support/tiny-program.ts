// Static executables for either architecture, without a compiler: they write a text to the file /made and to
// standard output. System calls: asm-generic/unistd.h (arm64), syscall_64.tbl (amd64). Header: elf(5).

const BASE = 0x40_0000;
const CODE = 64 + 56; // behind the header and the one program header
const CREATE = 0o1101; // O_WRONLY | O_CREAT | O_TRUNC
const MODE = 0o644;

/** The executable that writes `text`. */
export function tinyProgram(architecture: "amd64" | "arm64", text: string): Buffer {
  const path = Buffer.from("/made\0");
  const words = Buffer.from(text);
  const make = architecture === "arm64" ? arm64 : amd64;
  const size = make(0, 0, 0).length; // the same wherever the data lies
  const pathAt = BASE + CODE + size;
  const code = make(pathAt, pathAt + path.length, words.length);
  const body = Buffer.concat([code, path, words]);

  const head = Buffer.alloc(CODE);
  head.write("\x7fELF\x02\x01\x01", "latin1"); // 64 bits, little endian
  head.writeUInt16LE(2, 16); // ET_EXEC
  head.writeUInt16LE(architecture === "arm64" ? 183 : 62, 18);
  head.writeUInt32LE(1, 20);
  head.writeBigUInt64LE(BigInt(BASE + CODE), 24); // entry
  head.writeBigUInt64LE(64n, 32); // program headers
  head.writeUInt16LE(64, 52);
  head.writeUInt16LE(56, 54);
  head.writeUInt16LE(1, 56);
  head.writeUInt32LE(1, 64); // PT_LOAD
  head.writeUInt32LE(5, 68); // readable, executable
  head.writeBigUInt64LE(BigInt(BASE), 80);
  head.writeBigUInt64LE(BigInt(BASE), 88);
  head.writeBigUInt64LE(BigInt(CODE + body.length), 96);
  head.writeBigUInt64LE(BigInt(CODE + body.length), 104);
  head.writeBigUInt64LE(0x1000n, 112);
  return Buffer.concat([head, body]);
}

function arm64(pathAt: number, textAt: number, length: number): Buffer {
  const words: number[] = [];
  const set = (register: number, value: number): void => {
    // MOVZ, or MOVN for a negative number
    words.push((value < 0 ? 0x9280_0000 | (~value << 5) : 0xd280_0000 | (value << 5)) | register);
  };
  const address = (register: number, at: number): void => {
    const distance = at === 0 ? 0 : at - (BASE + CODE + words.length * 4);
    words.push(0x1000_0000 | ((distance & 3) << 29) | (((distance >> 2) & 0x7_ffff) << 5) | register); // ADR
  };
  const call = (number: number): void => {
    set(8, number);
    words.push(0xd400_0001); // SVC 0
  };
  set(0, -100); // AT_FDCWD
  address(1, pathAt);
  set(2, CREATE);
  set(3, MODE);
  call(56); // openat
  address(1, textAt);
  set(2, length);
  call(64); // write
  set(0, 1);
  call(64);
  set(0, 0);
  call(93); // exit
  const code = Buffer.alloc(words.length * 4);
  words.forEach((word, index) => code.writeInt32LE(word | 0, index * 4));
  return code;
}

function amd64(pathAt: number, textAt: number, length: number): Buffer {
  const set = (opcode: readonly number[], value: number): number[] => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value);
    return [...opcode, ...bytes];
  };
  const [EAX, EDI, ESI, EDX, R10D] = [[0xb8], [0xbf], [0xbe], [0xba], [0x41, 0xba]] as const; // MOV register, number
  const call = (number: number): number[] => [...set(EAX, number), 0x0f, 0x05]; // SYSCALL
  return Buffer.from([
    ...set(EDI, -100), // AT_FDCWD
    ...set(ESI, pathAt),
    ...set(EDX, CREATE),
    ...set(R10D, MODE),
    ...call(257), // openat
    ...[0x89, 0xc7], // MOV edi, eax
    ...set(ESI, textAt),
    ...set(EDX, length),
    ...call(1), // write
    ...set(EDI, 1),
    ...call(1),
    ...set(EDI, 0),
    ...call(60), // exit
  ]);
}
