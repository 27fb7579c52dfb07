// Every file and directory of a used store, damaged in every way: the next commands work or name the file and the fix, none
// hangs, `fsck --repair` repairs it, the next build is correct, and nothing outside the store is touched.
//
// As a script: node dist/test/build/store-wholeness.js [PART OF A CASE'S NAME | --short]

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Outcome } from "../support/cli.ts";
import { removeTree, withOwnIds } from "../support/store.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

export const DAMAGES = [
  "empty",
  "half",
  "garbage",
  "directory",
  "fifo",
  "dangling",
  "link",
  "removed",
] as const;
export type Damage = (typeof DAMAGES)[number];

export interface Case {
  readonly path: string;
  readonly damage: Damage;
  /** What is called first: what comes after it meets a store it may have mended. */
  readonly first: First;
}
const FIRST = ["build", "images", "fsck", "du", "prune"] as const;
type First = (typeof FIRST)[number];

/** The round makes the last step new: it starts the keeper, takes the cache mount and mounts all layers below. */
const DOCKERFILE = `
FROM base
COPY file /file
RUN tr a-z A-Z < /file > /big
ARG ROUND
RUN --mount=type=cache,target=/cache : $ROUND; echo once > /cache/f; cat /cache/f > /last
`;

const HANGS_AFTER_MS = 120_000;

export interface Wholeness extends Disposable {
  readonly cases: readonly Case[];
  /** One case in a copy of the store. Throws for the first thing that is wrong. */
  check(one: Case): Promise<void>;
}

/** Makes the store that all cases begin with. */
export async function openWholeness(): Promise<Wholeness> {
  const shop = await openWorkshop();
  const context = shop.context("app", { Dockerfile: DOCKERFILE, file: "words\n".repeat(50) });
  const build = (round: string, run: (args: string[]) => Promise<Outcome>): Promise<Outcome> =>
    run([
      ...["build", "--reproducible", "--progress=plain", "--build-arg", `ROUND=${round}`, "-t", "app"],
      ...["-o", "type=image", "-o", `type=tar,dest=${shop.at("out.tar")}`, context],
    ]);
  const digestOfOutput = (): string => {
    const digest = createHash("sha256")
      .update(readFileSync(shop.at("out.tar")))
      .digest("hex");
    rmSync(shop.at("out.tar"));
    return digest;
  };
  await build("first", shop.ok);
  const right = digestOfOutput();
  await shop.ok(["tag", "app", "keep"]);
  const template = shop.at("template");
  renameSync(shop.root, template);
  let round = 0;

  async function check(one: Case): Promise<void> {
    round += 1;
    removeTree(shop.root);
    withOwnIds(["cp", "-a", "--no-target-directory", template, shop.root]);
    const sentinel = makeSentinel(shop);
    spoil(shop.root, one, sentinel.dir);
    const outcomes: string[] = [];
    const call = async (args: readonly string[]): Promise<Outcome> => {
      const command = shop.start(args);
      const timer = setTimeout(() => command.kill("SIGKILL"), HANGS_AFTER_MS);
      const outcome = await command.outcome;
      clearTimeout(timer);
      outcomes.push(
        `$ tsbuild ${args.slice(0, 2).join(" ")}: ${outcome.signal ?? outcome.code}\n${outcome.stderr}`,
      );
      assert.equal(outcome.signal, null, `tsbuild ${args[0]} hangs or is killed`);
      assert.doesNotMatch(outcome.stderr, /^\s+at .*\.[cm]?[jt]s:\d+/m, "an error with a stack");
      return outcome;
    };
    const worksOrSays = ({ code, stderr }: Outcome): void => {
      if (code === 0) return;
      assert.match(stderr, /hint: |fsck --repair|again/, "fails without a way out");
      assert.ok(
        stderr.includes(shop.root) || /sha256:|layer|database|blob/.test(stderr),
        "fails and names no file",
      );
    };
    try {
      const steps: Record<First, () => Promise<void>> = {
        build: async () => {
          const outcome = await build(`${round} a`, call);
          worksOrSays(outcome);
          if (outcome.code === 0) assert.equal(digestOfOutput(), right);
        },
        images: async () => worksOrSays(await call(["images"])),
        fsck: async () => {
          const outcome = await call(["fsck"]);
          if (outcome.code !== 1) worksOrSays(outcome);
        },
        du: async () => worksOrSays(await call(["du"])),
        prune: async () => worksOrSays(await call(["prune", "--force", "--keep-storage", "1GB"])),
      };
      await steps[one.first]();
      const repair = await call(["fsck", "--repair"]);
      assert.equal(repair.code, 0, "fsck --repair");
      const again = await build(`${round} b`, call);
      assert.equal(again.code, 0, "the build after the repair");
      assert.equal(digestOfOutput(), right, "what the build after the repair makes");
      const fsck = await call(["fsck"]);
      assert.equal(fsck.code, 0, "fsck after all");
      assert.match(fsck.stdout, /: no problems found/);
      const images = await call(["images"]);
      assert.match(images.stdout, /^app /m);
      if (!/^(blobs|layers)/.test(one.path)) assert.match(images.stdout, /^keep /m, "an image name is lost");
      assert.equal((await call(["run", "--rm", "app", "cat", "/last"])).stdout, "once\n");
      assert.equal(sentinel.look(), sentinel.before, "something outside of the store was changed");
    } catch (error) {
      if (error instanceof Error) error.message = `${nameOf(one)}: ${error.message}\n${outcomes.join("\n")}`;
      throw error;
    }
  }

  const cases = pathsOf(template).flatMap((path, at) =>
    DAMAGES.map(
      (damage, which): Case => ({ path, damage, first: FIRST[(at + which) % FIRST.length] as First }),
    ),
  );
  return { cases, check, [Symbol.dispose]: () => shop[Symbol.dispose]() };
}

export const nameOf = ({ path, damage, first }: Case): string => `${path} ${damage}, then ${first}`;

/** What kind of thing a path of the store is: names made of digests and owners are the same. */
export const classOf = (path: string): string =>
  path.replaceAll(/[0-9a-f]{12}\.\d+\.\d+\.\d+\.[0-9a-f]+/g, "O").replaceAll(/[0-9a-f]{12,}/g, "H");

/** One case of each class of path, with damages and first commands in turn. */
export function oneOfEach(cases: readonly Case[]): Case[] {
  const classes = [...new Set(cases.map(({ path }) => classOf(path)))];
  return classes.flatMap((name, at) => {
    const damage = DAMAGES[(at * 3) % DAMAGES.length];
    return cases.find((one) => classOf(one.path) === name && one.damage === damage) ?? [];
  });
}

/** All of the store's own files and directories; what steps made in their layers and cache mounts is theirs, what is in work
 *  directories the kernel's. */
function pathsOf(root: string): string[] {
  const found: string[] = [];
  const walk = (at: string): void => {
    for (const name of readdirSync(join(root, at)).toSorted()) {
      const path = at === "" ? name : `${at}/${name}`;
      found.push(path);
      if (name !== "fs" && name !== "work" && lstatSync(join(root, path)).isDirectory()) walk(path);
    }
  };
  walk("");
  return found;
}

function spoil(root: string, { path, damage }: Case, sentinel: string): void {
  const file = join(root, path);
  const stat = lstatSync(file);
  const isDirectory = stat.isDirectory();
  if (damage === "half" && !isDirectory && stat.isFile()) {
    chmodSync(file, stat.mode | 0o200);
    truncateSync(file, stat.size >> 1);
    chmodSync(file, stat.mode & 0o777);
    return;
  }
  // Half a directory: without half of its names.
  if (damage === "half" && isDirectory) {
    const names = readdirSync(file);
    for (const name of names.slice(names.length >> 1)) removeTree(join(file, name));
    return;
  }
  removeTree(file);
  switch (damage) {
    case "half":
    case "empty":
      writeFileSync(file, "");
      chmodSync(file, stat.isFile() ? stat.mode & 0o777 : 0o600); // as a power cut leaves it
      break;
    case "garbage":
      writeFileSync(file, Buffer.alloc(Math.max(stat.size, 100), "garbage\n"));
      chmodSync(file, stat.isFile() ? stat.mode & 0o777 : 0o600);
      break;
    case "directory":
      mkdirSync(join(file, "strange"), { recursive: true });
      writeFileSync(join(file, "file"), "");
      break;
    case "fifo":
      execFileSync("mkfifo", [file]);
      break;
    case "dangling":
      symlinkSync("/nowhere/at/all", file);
      break;
    case "link":
      symlinkSync(isDirectory ? sentinel : join(sentinel, "file"), file);
      break;
    case "removed":
      break;
  }
}

/** A directory outside of the store that no command may change. */
function makeSentinel(shop: Workshop): {
  readonly dir: string;
  readonly before: string;
  readonly look: () => string;
} {
  const dir = shop.at("sentinel");
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(join(dir, "sub"), { recursive: true });
  writeFileSync(join(dir, "file"), "of the host\n", { mode: 0o644 });
  writeFileSync(join(dir, "sub", "file"), "of the host\n");
  symlinkSync("file", join(dir, "soft"));
  const look = (): string =>
    JSON.stringify(
      [".", ...(readdirSync(dir, { recursive: true }) as string[])].toSorted().map((name) => {
        const path = join(dir, name);
        const { mode, mtimeMs } = lstatSync(path);
        const stat = lstatSync(path);
        const what = stat.isSymbolicLink()
          ? readlinkSync(path)
          : stat.isFile()
            ? readFileSync(path, "utf8")
            : "";
        return [name, mode, mtimeMs, what];
      }),
    );
  return { dir, before: look(), look };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [wanted = ""] = process.argv.slice(2);
  using wholeness = await openWholeness();
  const all = wanted === "--short" ? oneOfEach(wholeness.cases) : wholeness.cases;
  const cases = all.filter((one) => wanted === "--short" || nameOf(one).includes(wanted));
  let failed = 0;
  for (const [at, one] of cases.entries()) {
    try {
      await wholeness.check(one);
    } catch (error) {
      failed += 1;
      process.stdout.write(`FAILED ${(error as Error).message}\n`);
    }
    if ((at + 1) % 25 === 0) process.stdout.write(`${at + 1} of ${cases.length}, ${failed} failed\n`);
  }
  process.stdout.write(`${cases.length} cases, ${failed} failed\n`);
  process.exitCode = failed === 0 ? 0 : 1;
}
