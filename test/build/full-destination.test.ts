// Outputs that cannot be written: the error names the file system and a fix, before the first step if possible.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { needs } from "../support/needs.ts";
import { itAsMachineRoot } from "../support/privileges.ts";
import { accounts, programDir } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

/** Every way to write something to a place the user names. */
const WAYS: Readonly<Record<string, (place: string) => string[]>> = {
  "-o type=local": (place) => ["-o", `type=local,dest=${place}/out`],
  "-o type=tar": (place) => ["-o", `type=tar,dest=${place}/out.tar`],
  "-o type=oci": (place) => ["-o", `type=oci,dest=${place}/out.tar`],
  "-o type=docker": (place) => ["-o", `type=docker,dest=${place}/out.tar`],
  "-o type=oci,tar=false": (place) => ["-o", `type=oci,tar=false,dest=${place}/out`],
  "--cache-to type=local": (place) => ["--cache-to", `type=local,dest=${place}/cache`],
  "--metadata-file": (place) => ["--metadata-file", `${place}/metadata.json`],
  "--iidfile": (place) => ["--iidfile", `${place}/iid`],
};

for (const account of accounts()) {
  describe(`a destination that cannot be written, as ${account.name}`, () => {
    let shop: Workshop;
    let context: string;
    const mounted: string[] = [];
    before(async () => {
      shop = await openWorkshop(account);
      context = shop.context("app", { Dockerfile: "FROM base\nCOPY big /big\nRUN echo step >&2\n", big: "" });
      writeFileSync(join(context, "big"), randomBytes(4 << 20)); // which does not compress
      await shop.ok(["build", "-q", context]);
    });
    after(() => {
      for (const path of mounted) execFileSync("umount", [path]);
      shop?.[Symbol.dispose]();
    });

    /** A file system of its own. */
    function disk(name: string, options: string): string {
      needs("mount");
      const path = shop.at(name);
      mkdirSync(path);
      const owner = `uid=${account.uid},gid=${account.gid},mode=755`;
      execFileSync("mount", ["-t", "tmpfs", "-o", `${options},${owner}`, "none", path]);
      mounted.push(path);
      return path;
    }

    /** Fails with words that fit, and with --no-cache before anything runs. */
    async function refused(args: readonly string[], words: RegExp, isEarly: boolean): Promise<string> {
      const early = isEarly ? ["--no-cache"] : [];
      const { code, stderr } = await shop.run(["build", "--progress=plain", ...early, ...args, context]);
      assert.equal(code, 1, stderr);
      assert.match(stderr, words);
      assert.doesNotMatch(stderr, /prune|--root|looks like a bug|^\s+at .*\.js/m, stderr);
      if (isEarly) assert.doesNotMatch(stderr, /RUN echo step/, "before the first step");
      return stderr;
    }

    for (const [name, flags] of Object.entries(WAYS)) {
      it(`a directory that is not there or not ours: ${name}`, async () => {
        const text = shop.context(name.replace(/\W+/g, "-"), { file: "text" });
        const words = /cannot write .*: (?:a parent is not a directory|.*not a directory)/i;
        await refused(flags(join(text, "file")), words, true);
        assert.deepEqual(readdirSync(text), ["file"]);
        if (account.uid === 0) return;
        await refused(flags("/usr"), /cannot write .*\/usr.*: permission denied/, true);
      });
    }

    itAsMachineRoot("a read-only file system, in each way: named, before the first step", async () => {
      const path = disk("readonly", "size=1m,ro");
      for (const flags of Object.values(WAYS)) {
        const stderr = await refused(
          flags(path),
          /cannot write \S+: \S+\/readonly is a read-only file system/,
          true,
        );
        assert.match(stderr, /hint: .*destination/);
      }
    });

    itAsMachineRoot("a full one, in each way: named, before the first step", async () => {
      const path = disk("full", "size=64k");
      writeFileSync(join(path, "ballast"), Buffer.alloc(64 << 10));
      for (const [name, flags] of Object.entries(WAYS)) {
        // A directory is still to be had on this one.
        const isEarly = !/local|tar=false/.test(name);
        const stderr = await refused(
          flags(path),
          /cannot write [^:]+: no space left on \S+\/full$/m,
          isEarly,
        );
        assert.match(stderr, /hint: .*another destination/);
      }
    });

    itAsMachineRoot("one that becomes full: named, nothing of the file stays", async () => {
      const path = disk("small", "size=1m");
      for (const [name, flags] of Object.entries(WAYS)) {
        if (/file/.test(name)) continue; // they are small
        const stderr = await refused(flags(path), /cannot write [^:]+: no space left on \S+\/small$/m, false);
        assert.match(stderr, /hint: free some space, or use another destination/);
        if (!/local|tar=false/.test(name)) assert.deepEqual(readdirSync(path), [], name);
        for (const left of readdirSync(path)) rmSync(join(path, left), { recursive: true });
      }
    });

    /** The command behind a shell, for what is a redirection or a limit there. */
    function inShell(line: string, ...args: string[]): { status: number | null; stderr: string } {
      const program = join(programDir(account), "dist/bin/tsbuild.cjs");
      const full =
        args[0] === "build"
          ? ["build", "--build-context", `base=oci-layout://${shop.at("base")}`]
          : [args[0] ?? ""];
      const isOther = account.uid !== process.getuid?.();
      const { status, stderr } = spawnSync(
        "sh",
        ["-c", line, "sh", process.execPath, program, "--root", shop.root, ...full, ...args.slice(1)],
        {
          encoding: "utf8",
          env: { PATH: process.env.PATH, HOME: shop.dir },
          cwd: shop.dir,
          ...(isOther ? { uid: account.uid, gid: account.gid } : {}),
        },
      );
      return { status, stderr };
    }

    it("a device that takes no more, also behind standard output and a link", async () => {
      const words = /no space left on the device \/dev\/full/;
      symlinkSync("/dev/full", shop.at("link"));
      for (const dest of ["/dev/full", shop.at("link")]) {
        await refused(["-o", `type=oci,dest=${dest}`], words, false);
        await refused(["--metadata-file", dest], words, false);
      }
      for (const args of [
        ["build", "-o", "-", context],
        ["build", "-o", "type=oci,dest=-", context],
        ["images"],
        ["--help"],
      ]) {
        const { status, stderr } = inShell('"$@" > /dev/full', ...args);
        assert.equal(status, 1, `${args.join(" ")}: ${stderr}`);
        assert.match(stderr, words);
        assert.doesNotMatch(stderr, /looks like a bug/);
      }
    });

    it("--iidfile takes no device away", async () => {
      const fifo = shop.at("fifo");
      execFileSync("mkfifo", [fifo]);
      const broken = shop.context("broken", { Dockerfile: "FROM base\nRUN false\n" });
      await shop.run(["build", "--iidfile", fifo, broken]);
      assert.equal(execFileSync("stat", ["-c", "%F", fifo], { encoding: "utf8" }).trim(), "fifo");
    });

    it("a file larger than the process may write", () => {
      const dest = shop.at("limited.tar");
      const { status, stderr } = inShell(
        'ulimit -f 4000; exec "$@"',
        "build",
        "-o",
        `type=tar,dest=${dest}`,
        context,
      );
      assert.equal(status, 1, stderr);
      assert.match(stderr, /cannot write \S+limited\.tar: a file on \S+ would exceed the size limit/);
      assert.match(stderr, /hint: `ulimit -f`/);
    });
  });
}
