import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import { formatPlatform, type Platform } from "../../solver/graph/op.ts";
import { emulationOf, onPlatform, runnablePlatforms } from "../../worker/emulation.ts";
import { temporaryDir } from "../support/store.ts";

const AMD64 = { os: "linux", architecture: "amd64" };
const ARM64 = { os: "linux", architecture: "arm64" };
/** As /proc/sys/fs/binfmt_misc shows what Debian's qemu-user-static registers. */
const AARCH64 = [
  "enabled",
  "interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P",
  "flags: POF",
  "offset 0",
  "magic 7f454c460201010000000000000000000200b700",
  "mask ffffffffffffff00fffffffffffffffffeffffff",
  "",
].join("\n");

function registrations(files: Readonly<Record<string, string>>): Disposable & { readonly path: string } {
  const dir = temporaryDir();
  mkdirSync(dir.at("m"));
  for (const [name, text] of Object.entries({ register: "", status: "enabled\n", ...files }))
    writeFileSync(dir.at("m", name), text);
  return { path: dir.at("m"), [Symbol.dispose]: () => dir[Symbol.dispose]() };
}

describe("Emulation", () => {
  const seen = (files: Readonly<Record<string, string>>, architecture = "arm64") => {
    using dir = registrations(files);
    return emulationOf(architecture, "amd64", dir.path);
  };

  it("is found by what a registration takes, whatever its name is", () => {
    assert.deepEqual(seen({ rosetta: AARCH64 }), { kind: "emulated" });
    assert.deepEqual(seen({ "qemu-aarch64": AARCH64 }, "riscv64"), { kind: "none" });
    const bigEndian = AARCH64.replace("46020101", "46020201").replace("0200b700", "00020016");
    assert.deepEqual(seen({ s: bigEndian.replace("feffffff", "fffeffff") }, "s390x"), { kind: "emulated" });
  });
  it("is not taken from names of files, from what is switched off or from a mask that is not met", () => {
    assert.deepEqual(seen({ jar: "enabled\ninterpreter /usr/bin/java\nflags: F\nextension .jar\n" }), {
      kind: "none",
    });
    assert.deepEqual(seen({ "qemu-aarch64": AARCH64.replace("enabled", "disabled") }), { kind: "none" });
    assert.deepEqual(seen({ "qemu-aarch64": AARCH64.replace("0200b700", "0200b800") }), { kind: "none" });
  });
  it("needs the flag that opens the emulator outside of the step", () => {
    assert.deepEqual(seen({ "qemu-aarch64": AARCH64.replace("POF", "PO") }), {
      kind: "unfixed",
      name: "qemu-aarch64",
    });
  });
  it("may be switched off as a whole, or out of sight", () => {
    assert.deepEqual(seen({ status: "disabled\n", "qemu-aarch64": AARCH64 }), { kind: "disabled" });
    assert.deepEqual(emulationOf("arm64", "amd64", "/nowhere"), { kind: "unseen" });
    assert.deepEqual(emulationOf("amd64", "amd64", "/nowhere"), { kind: "native" });
  });
  it("that is certainly missing is an error before anything runs", async () => {
    using dir = registrations({ "qemu-aarch64": AARCH64.replace("POF", "P") });
    let ran = false;
    const run = async (): Promise<void> => {
      ran = true;
    };
    await assert.rejects(onPlatform(ARM64, AMD64, run, dir.path), (error: BuildError) => {
      assert.equal(error.code, "PLATFORM_UNSUPPORTED");
      assert.match(error.message, /linux\/arm64 needs an emulator on this linux\/amd64 machine/);
      assert.match(error.hint ?? "", /qemu-aarch64 is registered without the flag F/);
      return true;
    });
    assert.equal(ran, false);
  });
  it("that cannot be seen is tried, and the kernel's refusal explained", async () => {
    const refuse = async (): Promise<void> => {
      throw new BuildError("EXEC_FAILED", 'exec: "/bin/sh": exec format error', { exitCode: 126 });
    };
    await assert.rejects(onPlatform(ARM64, AMD64, refuse, "/nowhere"), { code: "PLATFORM_UNSUPPORTED" });
    await assert.rejects(onPlatform(AMD64, AMD64, refuse, "/nowhere"), { code: "EXEC_FAILED" });
    assert.equal(await onPlatform(ARM64, AMD64, async () => 7, "/nowhere"), 7);
  });
  it("is not asked for where the processor may run the smaller architecture itself", async () => {
    using dir = registrations({});
    assert.equal(await onPlatform({ os: "linux", architecture: "386" }, AMD64, async () => 7, dir.path), 7);
  });

  it("adds to the platforms of this machine, like the level of its processor and 32-bit programs", () => {
    using dir = registrations({
      "qemu-aarch64": AARCH64,
      cpuinfo: "processor\t: 0\nflags\t\t: fpu pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm avx\n",
    });
    const names = (own: Platform, ia32: string): string[] =>
      runnablePlatforms(own, { binfmt: dir.path, cpuinfo: join(dir.path, "cpuinfo"), ia32 }).map(
        formatPlatform,
      );
    assert.deepEqual(names(AMD64, "/proc/version"), [
      "linux/amd64",
      "linux/amd64/v2",
      "linux/arm64",
      "linux/386",
    ]);
    assert.deepEqual(names(AMD64, "/nowhere"), ["linux/amd64", "linux/amd64/v2", "linux/arm64"]);
    assert.deepEqual(names(ARM64, "/proc/version"), ["linux/arm64"]);
  });
});
