// Every kind of hostile tree through every input, as root or an ordinary user by turns. Next to each is a sentinel, which must neither
// change nor appear in any output. docs/threat-model.md has the rules; TSBUILD_STRANGERS=long makes the trees
// larger, and tries each as both.

import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Outcome } from "../support/cli.ts";
import { serveGit } from "../support/git-server.ts";
import { projectDir } from "../support/project.ts";
import { type MisbehavingServer, startServer } from "../support/registry.ts";
import { removeTree } from "../support/store.ts";
import { type Account, accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { type Kind, KINDS, LONG } from "./kinds.ts";
import { type Cell, type Way, WAYS } from "./ways.ts";

/** An endless command is let run so long, and then has so long to end. */
const ENDLESS_MS = 2_000;
const END_MS = 15_000; // three seconds, on a machine that is busy with other tests
/** Every other command ends by itself within this. */
const LIMIT_MS = 90_000;

for (const [turn, account] of accounts().entries()) {
  describe(`trees of strangers as ${account.name}`, function () {
    this.timeout(2 * LIMIT_MS);
    let shop: Workshop;
    let server: MisbehavingServer;
    let served = "";
    before(async () => {
      shop = await openWorkshop(account);
      server = await startServer(async (request, response) => {
        const { pathname } = new URL(request.url, "http://localhost");
        const file = join(served, pathname);
        if (pathname.includes(".git/")) await serveGit(served, request, response);
        else if (existsSync(file)) response.end(readFileSync(file));
        else response.writeHead(404).end();
      });
    });
    after(async () => {
      await server[Symbol.asyncDispose]();
      shop[Symbol.dispose]();
    });

    for (const [row, way] of WAYS.entries()) {
      for (const [column, kind] of KINDS.entries()) {
        if (way.never[kind.name] !== undefined) continue;
        if (!LONG && (row + column) % accounts().length !== turn) continue;
        it(`${kind.name} by ${way.name}`, async () => {
          served = shop.at(`${way.name} ${kind.name}`.replaceAll(/[^a-z]+/gi, "-"));
          await attempt({ shop, account, dir: served, web: server.origin }, way, kind);
          removeTree(served);
        });
      }
    }
  });
}

/** Where and as whom something is tried. */
interface Ground {
  readonly shop: Workshop;
  readonly account: Account;
  readonly dir: string;
  /** Address at which the files of `dir` are served. */
  readonly web: string;
}

async function attempt({ shop, account, dir, web }: Ground, way: Way, kind: Kind): Promise<void> {
  const secret = `sentinel-${randomBytes(12).toString("hex")}`;
  const outside = join(dir, "outside");
  mkdirSync(join(outside, "sub"), { recursive: true });
  for (const name of ["secret", "sub/secret", "index.json", "sha256"])
    writeFileSync(join(outside, name), secret);
  own(dir, account);
  const before = listing(outside);
  const trees: string[] = [];
  const swappers: ChildProcess[] = [];
  const outputs: string[] = [];
  const cell: Cell = {
    shop,
    kind,
    dir,
    outside,
    web,
    tree(path) {
      mkdirSync(path, { recursive: true });
      kind.make(path, outside);
      own(path, account);
      trees.push(path);
      return path;
    },
    file(name, text) {
      mkdirSync(dirname(join(dir, name)), { recursive: true });
      writeFileSync(join(dir, name), text);
      own(join(dir, name.split("/")[0] ?? ""), account);
      return join(dir, name);
    },
    async run(args, inputFile) {
      for (const tree of trees.splice(0)) {
        own(tree, account); // with what the way has put into it
        if (kind.swaps !== undefined) swappers.push(await startSwapper(tree, kind.swaps));
      }
      const outcome = await runToItsEnd(shop, kind, args, inputFile);
      outputs.push(outcome.stdout, outcome.stderr);
      return outcome;
    },
  };
  let outcome: Outcome;
  try {
    outcome = await way.attempt(cell);
  } finally {
    for (const swapper of swappers) {
      const closed = once(swapper, "close");
      swapper.kill("SIGKILL");
      await closed;
    }
  }
  const said = outcome.stdout + outcome.stderr;
  assert.doesNotMatch(said, /internal error|looks like a bug|^\s+at .*\(.*:\d+:\d+\)/m, said);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: names must not reach a terminal as what they are
  assert.doesNotMatch(said, /\u001b\]0;/); // oxlint-disable-line no-control-regex
  // A signal that comes before the command listens for it ends it at once.
  const isTold = kind.endless === true && (outcome.code === 143 || outcome.signal === "SIGTERM");
  assert.ok(outcome.code === 0 || outcome.code === 1 || isTold, `${outcome.code} ${outcome.signal}: ${said}`);
  assert.deepEqual(listing(outside), before, "what lies outside has changed");
  for (const text of outputs)
    assert.equal(text.includes(secret), false, `what lies outside was shown: ${text}`);
  const names = readdirSync(dir).filter((name) => name !== "outside");
  const found = grep(secret, [...names.map((name) => join(dir, name)), shop.root]);
  assert.deepEqual(found, [], "what lies outside came in");
}

/** Runs a command that must end: by itself, or (an endless one) soon after it is told to. */
async function runToItsEnd(
  shop: Workshop,
  kind: Kind,
  args: readonly string[],
  inputFile: string | undefined,
): Promise<Outcome> {
  const command = shop.start(args, inputFile === undefined ? {} : { inputFile });
  const ended = async (ms: number): Promise<boolean> => {
    const timer = new AbortController();
    const late = delay(ms, false, { signal: timer.signal }).catch(() => false);
    const inTime = await Promise.race([command.outcome.then(() => true), late]);
    timer.abort();
    return inTime;
  };
  if (kind.endless === true) {
    if (!(await ended(ENDLESS_MS))) command.kill("SIGTERM");
    if (await ended(END_MS)) return command.outcome;
  } else if (await ended(LIMIT_MS)) return command.outcome;
  command.kill("SIGKILL");
  const { stdout, stderr } = await command.outcome;
  throw new Error(`tsbuild ${args.join(" ")} does not end:\n${stdout}${stderr}`);
}

/** A process that exchanges two names of a directory; resolves when it has begun. */
async function startSwapper(dir: string, names: readonly [string, string]): Promise<ChildProcess> {
  const program = join(projectDir, "dist/test/strangers/swapper.js");
  const child = spawn(process.execPath, [program, dir, ...names], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  return child;
}

function own(path: string, account: Account): void {
  if (account.uid !== process.getuid?.())
    execFileSync("chown", ["-hR", `${account.uid}:${account.gid}`, path]);
}

/** All that a tree is, but for when it was read. */
function listing(dir: string): string[] {
  return ["", ...readdirSync(dir, { recursive: true, encoding: "utf8" }).sort()].map((name) => {
    const path = join(dir, name);
    const stat = lstatSync(path, { bigint: true });
    const content = stat.isFile() ? createHash("sha256").update(readFileSync(path)).digest("hex") : "";
    return [name, stat.mode, stat.uid, stat.gid, stat.ino, stat.mtimeNs, stat.ctimeNs, content].join(" ");
  });
}

/** Files below the paths that have the text; in compressed ones it is looked for by the programs that can. */
function grep(text: string, paths: readonly string[]): string[] {
  // -D skip: no device, FIFO or socket is opened; links on the way are not followed by -r.
  const args = ["-rlF", "-D", "skip", "--", text, ...paths];
  try {
    return execFileSync("grep", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
      .split("\n")
      .filter(Boolean);
  } catch (error) {
    const { stdout } = error as { stdout: string };
    return stdout.split("\n").filter(Boolean); // 1: nothing found; 2: something could not be read
  }
}
