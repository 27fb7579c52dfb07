// Simulated power cuts: the store is on an ext4 file system in a loop device, which is shut down (FS_IOC_SHUTDOWN) at a random
// moment of a build. Mounted again, the store must open, the next build must be equal to a clean one, and fsck must find nothing wrong.
//
// The kernel is not rebooted, but each round has a different boot id (a preloaded module answers for
// /proc/sys/kernel/random/boot_id), so what is only valid within one boot is not trusted.
//
// As a script, as root: unshare --mount node dist/test/build/power-cut.js ROUNDS (otherwise mount namespaces of other builds that start
// meanwhile would keep the disk in use)

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomInt, randomUUID } from "node:crypto";
import { closeSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ioctl } from "../../worker/sys/ioctl.ts";
import { startTsbuild, tsbuild } from "../support/cli.ts";
import { temporaryDir } from "../support/store.ts";
import { writeBaseImage } from "../support/base-image.ts";

const dockerfile = (word: string): string => `
FROM base AS gen
RUN : ${word}; mkdir /out; i=0; while [ $i -lt 60 ]; do echo $i > /out/f$i; i=$((i+1)); done; ln /out/f1 /out/hard; chmod 4755 /out/f3
FROM base
COPY --from=gen /out /gen
COPY src /src
RUN --mount=type=cache,target=/cache : ${word}; echo once > /cache/f; cat /cache/f > /last; rm /gen/f4
`;

/** linux/fs.h, FS_IOC_SHUTDOWN: _IOR('X', 125, __u32). */
const FS_IOC_SHUTDOWN = 0x8004587d;
/** What is dirty is lost, as by a power cut; the journal as it is, or flushed before. */
const MODES = { nologflush: 2, logflush: 1 } as const;

export interface PowerCutOutcome {
  /** Builds that were over before the cut. */
  late: number;
  /** Rounds whose store did not exist yet or was just being made. */
  young: number;
  /** Rounds in which opening or fsck had something to mend. */
  mended: number;
}

/** Throws for the first thing that is wrong. Needs loop devices and mkfs.ext4, as root. */
export async function powerCuts(
  rounds: number,
  onRound: (round: number) => void = () => {},
): Promise<PowerCutOutcome> {
  using dir = temporaryDir();
  const [image, place, context] = [dir.at("disk"), dir.at("mounted"), dir.at("app")];
  execFileSync("mkdir", ["-p", place, join(context, "src"), dir.at("home")]);
  await writeBaseImage(dir.at("base"));
  for (let i = 0; i < 30; i += 1) writeFileSync(join(context, "src", `f${i}`), `file ${i}\n`.repeat(i * 50));
  const preload = dir.at("boot.mjs");
  writeFileSync(preload, BOOT_MODULE);
  const root = join(place, "store");
  let boot = randomUUID();
  const options = (): Parameters<typeof tsbuild>[1] => ({
    root,
    env: { HOME: dir.at("home"), NODE_OPTIONS: `--import=${preload}`, TEST_BOOT_ID: boot },
  });
  const args = (word: string): string[] => {
    writeFileSync(join(context, "Dockerfile"), dockerfile(word));
    return [
      ...[
        "build",
        "--progress=plain",
        "--reproducible",
        "--build-context",
        `base=oci-layout://${dir.at("base")}`,
      ],
      ...["-t", "app", "-o", "type=image", "-o", `type=tar,dest=${dir.at("out.tar")}`, context],
    ];
  };
  const ok = async (what: readonly string[], where: string): Promise<string> => {
    const { code, signal, stdout, stderr } = await tsbuild(what, options());
    assert.equal(signal ?? code, 0, `tsbuild ${what[0]} ${where}:\n${stdout}${stderr}`);
    return stdout;
  };
  const build = async (word: string, where: string): Promise<string> => {
    await ok(args(word), where);
    const digest = createHash("sha256")
      .update(readFileSync(dir.at("out.tar")))
      .digest("hex");
    rmSync(dir.at("out.tar"));
    return digest;
  };
  const makeDisk = (): void => {
    rmSync(image, { force: true });
    writeFileSync(image, "");
    truncateSync(image, 512 * 2 ** 20);
    execFileSync("mkfs.ext4", ["-q", "-E", "lazy_itable_init=0", image], {
      stdio: ["ignore", "inherit", "inherit"],
    });
  };
  let isMounted = false;
  const mount = (): void => {
    execFileSync("mount", ["-o", "loop", image, place], { stdio: "inherit" });
    isMounted = true;
  };
  // Also in the mount namespaces of the build's processes, which take a moment to end: the kernel gives the loop device back when
  // nobody has the file system any more. Mounted before that, it would be the one that was shut down.
  const unmount = async (): Promise<void> => {
    const deadline = Date.now() + 60_000;
    const isBusy = (): boolean => execFileSync("losetup", ["-j", image], { encoding: "utf8" }) !== "";
    while (isMounted || isBusy()) {
      if (Date.now() > deadline) throw new Error(`${place} stays mounted somewhere`);
      try {
        if (isMounted) execFileSync("umount", [place], { stdio: "ignore" });
        isMounted = false;
      } catch {
        // busy: looked at again until the deadline
      }
      await delay(20);
    }
  };

  const outcome: PowerCutOutcome = { late: 0, young: 0, mended: 0 };
  makeDisk();
  mount();
  try {
    const begun = performance.now();
    const clean = await build("clean", "on a new disk");
    let usualMs = performance.now() - begun;
    for (let round = 0; round < rounds; round += 1) {
      // Every fourth round begins without a store: its first seconds are the most dangerous ones.
      if (round % 4 === 0) {
        await unmount();
        makeDisk();
        mount();
      }
      const [mode, flags] = Object.entries(MODES)[round % 2] as [string, number];
      const where = `after power cut ${round} (${mode}${round % 4 === 0 ? ", new store" : ""})`;
      const cut = startTsbuild(args(`round ${round}`), { ...options(), group: true });
      const startedMs = performance.now();
      let over = false;
      void cut.outcome.then(() => (over = true));
      await Promise.race([delay(randomInt(Math.ceil(usualMs))), cut.outcome]);
      if (over) {
        outcome.late += 1;
        usualMs = performance.now() - startedMs; // the machine has become faster
        await delay(randomInt(300)); // what it wrote may still be on its way
      } else usualMs *= 1.05;
      shutDown(place, flags);
      cut.killGroup("SIGKILL");
      await cut.outcome;
      rmSync(dir.at("out.tar"), { force: true });
      await unmount();
      boot = randomUUID();
      mount();

      if (!(await exists(join(root, "version")))) outcome.young += 1;
      // The very next command, whichever it is.
      if (round % 3 === 0) await ok(["images"], where);
      if (round % 3 === 1) {
        const { code, signal, stdout, stderr } = await tsbuild(["fsck", "--repair"], options());
        assert.equal(signal ?? code, 0, `fsck --repair ${where}:\n${stdout}${stderr}`);
        if (/^(store|blob|layer|result|image) /m.test(stderr)) outcome.mended += 1;
        assert.doesNotMatch(stderr, /^blob /m, `a committed blob is damaged ${where}`); // threat model R2
      }
      assert.equal(await build(`round ${round}`, where), clean, `what the build makes ${where}`);
      const { stdout, stderr, code } = await tsbuild(["fsck"], options());
      const wrong = stderr.split("\n").filter((line) => line !== "" && !line.startsWith("leftover "));
      // Directories of the boot before that were not synced are not used; a build replaces only those it needs.
      assert.deepEqual(
        wrong.filter((line) => !/made before the last reboot|needs a missing layer/.test(line)),
        [],
        where,
      );
      assert.ok(code === 0 || code === 1, `fsck ${where}: ${stdout}${stderr}`);
      assert.match(await ok(["images"], where), /^app /m, where);
      onRound(round);
    }
  } finally {
    await unmount();
  }
  return outcome;
}

const exists = async (file: string): Promise<boolean> => {
  try {
    readFileSync(file);
    return true;
  } catch {
    return false;
  }
};

function shutDown(place: string, flags: number): void {
  const descriptor = openSync(place, "r");
  try {
    const argument = Buffer.alloc(4);
    argument.writeUInt32LE(flags);
    ioctl(descriptor, FS_IOC_SHUTDOWN, argument);
  } finally {
    closeSync(descriptor);
  }
}

/** The kernel's word for this boot, as another boot would have it. */
const BOOT_MODULE = `
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
const read = fs.readFileSync;
fs.readFileSync = (file, ...rest) =>
  file === "/proc/sys/kernel/random/boot_id" ? process.env.TEST_BOOT_ID + "\\n" : read(file, ...rest);
syncBuiltinESMExports();
`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [rounds = 100] = process.argv.slice(2).map(Number);
  const begun = Date.now();
  let done = 0;
  const { late, young, mended } = await powerCuts(
    rounds,
    () => void (++done % 10 === 0 && process.stdout.write(`${done} power cuts\n`)),
  );
  process.stdout.write(
    `${done} power cuts, ${late} after the build was over, ${young} before there was a store, ${mended} with something to mend: ` +
      `store sound and next build equal to a clean one each time (${Math.round((Date.now() - begun) / 1000)} s)\n`,
  );
}
