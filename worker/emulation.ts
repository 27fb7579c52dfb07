// Steps for another architecture: whether the kernel can run their programs, and what to do if it cannot. The kernel runs
// them with an emulator that is registered with it: Documentation/admin-guide/binfmt-misc.rst.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { BuildError } from "../solver/graph/error.ts";
import { formatPlatform, type Platform } from "../solver/graph/op.ts";

/** "unseen": the registrations are not to be seen here, as in most containers; there may be some all the same. */
export type Emulation =
  | { readonly kind: "native" | "emulated" | "unseen" | "disabled" | "none" }
  | { readonly kind: "unfixed"; readonly name: string };

const REGISTRATIONS = "/proc/sys/fs/binfmt_misc";
/** ELF class (bits), byte order and machine, elf.h: EM_*. */
const MACHINES: Readonly<Record<string, readonly [32 | 64, "LE" | "BE", number]>> = {
  "386": [32, "LE", 3],
  amd64: [64, "LE", 62],
  arm: [32, "LE", 40],
  arm64: [64, "LE", 183],
  loong64: [64, "LE", 258],
  mips: [32, "BE", 8],
  mipsle: [32, "LE", 8],
  mips64: [64, "BE", 8],
  mips64le: [64, "LE", 8],
  ppc64: [64, "BE", 21],
  ppc64le: [64, "LE", 21],
  riscv64: [64, "LE", 243],
  s390x: [64, "BE", 22],
};
/** The processor itself may run them. */
const SMALLER: Readonly<Record<string, string>> = { amd64: "386", arm64: "arm" };

/** What can be seen of how programs of an architecture run here. `dir`: where binfmt_misc is mounted, or not. */
export function emulationOf(architecture: string, own: string, dir: string = REGISTRATIONS): Emulation {
  if (architecture === own) return { kind: "native" };
  const status = read(join(dir, "status"));
  if (status === null) return { kind: "unseen" };
  if (status.trim() !== "enabled") return { kind: "disabled" };
  const header = headerOf(architecture);
  let unfixed: string | null = null;
  for (const name of readdirSync(dir).sort()) {
    if (name === "status" || name === "register") continue;
    const text = read(join(dir, name)) ?? "";
    if (header === null || !text.startsWith("enabled\n") || !takes(text, header)) continue;
    // Without F the emulator is looked for at each execve(2), in the root of the step, where it is not.
    if (/^flags: \w*F/m.test(text)) return { kind: "emulated" };
    unfixed = name;
  }
  return unfixed === null ? { kind: "none" } : { kind: "unfixed", name: unfixed };
}

/** The platforms whose programs run here, as far as can be seen without running any: this machine's own first, with the variants of its
 *  processor, then others in the order BuildKit lists them. `files`: what tells it. */
export function runnablePlatforms(
  own: Platform,
  files: { readonly binfmt: string; readonly cpuinfo: string; readonly ia32: string } = {
    binfmt: REGISTRATIONS,
    cpuinfo: "/proc/cpuinfo",
    ia32: "/proc/sys/abi/vsyscall32",
  },
): Platform[] {
  const linux = (architecture: string, variant?: string): Platform => ({
    os: "linux",
    architecture,
    ...(variant === undefined ? {} : { variant }),
  });
  const runs = (architecture: string): boolean =>
    architecture !== own.architecture &&
    (emulationOf(architecture, own.architecture, files.binfmt).kind === "emulated" ||
      // Kernels that run 32-bit programs have this setting.
      (own.architecture === "amd64" && architecture === "386" && read(files.ia32) !== null));
  const flags = new Set(/^flags\s*:(.*)$/m.exec(read(files.cpuinfo) ?? "")?.[1]?.split(" "));
  const variants: Platform[] = [];
  if (own.architecture === "amd64") {
    for (const { variant, needed } of AMD64_LEVELS) {
      if (!needed.every((flag) => flags.has(flag))) break;
      variants.push(linux("amd64", variant));
    }
  }
  const others = [
    "amd64",
    "arm64",
    "riscv64",
    "ppc64",
    "ppc64le",
    "s390x",
    "386",
    "mips64le",
    "mips64",
    "loong64",
  ];
  const arm = runs("arm") ? [linux("arm", "v7"), linux("arm", "v6")] : [];
  return [own, ...variants, ...others.filter(runs).map((architecture) => linux(architecture)), ...arm];
}

/** x86-64 psABI, "micro-architecture levels", in the names of /proc/cpuinfo. */
const AMD64_LEVELS = [
  { variant: "v2", needed: ["cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"] },
  { variant: "v3", needed: ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"] },
  { variant: "v4", needed: ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"] },
] as const;

/** Runs a command for a platform. Throws PLATFORM_UNSUPPORTED with what to do: at once where it is certain that its programs
 *  cannot run here, else when the kernel says so. */
export async function onPlatform<T>(
  platform: Platform | null,
  own: Platform,
  run: () => Promise<T>,
  dir: string = REGISTRATIONS,
): Promise<T> {
  if (platform === null || platform.architecture === own.architecture) return run();
  const emulation = emulationOf(platform.architecture, own.architecture, dir);
  const maybe = emulation.kind === "emulated" || emulation.kind === "unseen";
  if (!maybe && SMALLER[own.architecture] !== platform.architecture) throw refusal(platform, own, emulation);
  try {
    return await run();
  } catch (error) {
    // The words of ENOEXEC, execve(2), in sandbox/outcome.ts.
    if (!(error instanceof BuildError) || !/exec format error/.test(error.message)) throw error;
    throw refusal(platform, own, emulation, error);
  }
}

function refusal(platform: Platform, own: Platform, emulation: Emulation, cause?: BuildError): BuildError {
  return new BuildError(
    "PLATFORM_UNSUPPORTED",
    `RUN for ${formatPlatform(platform)} needs an emulator on this ${formatPlatform(own)} machine (exec format error)`,
    { hint: hintOf(emulation), ...(cause === undefined ? {} : { cause }) },
  );
}

function hintOf(emulation: Emulation): string {
  switch (emulation.kind) {
    case "disabled":
      return `the kernel's emulators (binfmt_misc) are disabled; as root: echo 1 > ${REGISTRATIONS}/status`;
    case "unfixed":
      return `the emulator ${emulation.name} is registered without the flag F (fix binary), so steps cannot use it: register it with F, as Debian's qemu-user-static does`;
    case "native":
    case "emulated":
    case "unseen":
    case "none":
      return "apt-get install qemu-user-static binfmt-support (as root), or build the stage with FROM --platform=$BUILDPLATFORM";
  }
}

/** The first bytes of an executable of the architecture; null for one we do not know. elf(5) */
function headerOf(architecture: string): Buffer | null {
  const known = MACHINES[architecture];
  if (known === undefined) return null;
  const [bits, order, machine] = known;
  const header = Buffer.alloc(20);
  header.write("\x7fELF", "latin1");
  header.set([bits === 64 ? 2 : 1, order === "LE" ? 1 : 2, 1], 4);
  for (const [value, at] of [
    [2, 16], // ET_EXEC
    [machine, 18],
  ] as const) {
    if (order === "LE") header.writeUInt16LE(value, at);
    else header.writeUInt16BE(value, at);
  }
  return header;
}

/** Would the kernel hand a file that begins like this to the registration? Its text: fs/binfmt_misc.c, entry_status(). */
function takes(text: string, header: Buffer): boolean {
  const hex = (field: string): Buffer | null => {
    const found = new RegExp(`^${field} ([0-9a-f]+)$`, "m").exec(text)?.[1];
    return found === undefined ? null : Buffer.from(found, "hex");
  };
  const magic = hex("magic");
  if (magic === null) return false; // by the end of the file's name
  const mask = hex("mask");
  const offset = Number(/^offset (\d+)$/m.exec(text)?.[1] ?? 0);
  return magic.every((byte, at) => (((header[offset + at] ?? 0) ^ byte) & (mask?.[at] ?? 0xff)) === 0);
}

function read(file: string): string | null {
  try {
    return readFileSync(file, "latin1");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (["ENOENT", "EACCES", "EPERM", "ENOTDIR", "EINVAL"].includes(code)) return null;
    throw error;
  }
}
