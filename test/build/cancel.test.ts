// Ctrl-C, SIGTERM: every command ends within seconds of the first signal, whatever it is doing, and leaves no partial output.

import assert from "node:assert/strict";
import { openFilesOf } from "../support/store.ts";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { RunningCommand } from "../support/cli.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

/** Of the first signal, on a machine that does nothing else. */
const ENDS_WITHIN_MS = 3_000;
/** One that runs many tests at a time. */
const SLACK_MS = 3_000;
/** Hours of reading, no blocks on the disk. */
const HUGE_BYTES = 8 * 2 ** 40;

describe("a command that is cancelled", () => {
  let shop: Workshop;
  let silent: Server;
  let port = 0;
  let asked = 0;
  before(async () => {
    shop = await openWorkshop();
    const big = shop.context("big", { Dockerfile: "FROM scratch\nCOPY huge /\n", huge: "" });
    truncateSync(join(big, "huge"), HUGE_BYTES);
    shop.context("copy", {
      Dockerfile: `FROM base AS a\nRUN truncate -s ${HUGE_BYTES} /huge\nFROM scratch\nCOPY --from=a /huge /copy\n`,
    });
    shop.context("deaf", {
      Dockerfile: `FROM base\nRUN --network=none trap '' TERM INT; echo it runs; while :; do sleep 1000; done\n`,
    });
    shop.context("tar", { Dockerfile: `FROM base\nRUN truncate -s ${HUGE_BYTES} /huge\n` });
    // Takes connections, and says nothing.
    silent = createServer((socket) => {
      asked += 1;
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    port = (silent.address() as { port: number }).port;
  });
  after(() => {
    silent.close();
    shop[Symbol.dispose]();
  });

  interface Case {
    readonly args: () => readonly string[];
    /** Resolves when it is at the work that is to be cancelled. */
    readonly busy: (command: RunningCommand) => Promise<unknown>;
    readonly mayDieBySignal?: boolean;
  }
  const hasOpen = (name: string) => (command: RunningCommand) =>
    until(() => family(command.pid).some((pid) => openFilesOf(pid).some((path) => path.endsWith(name))));
  const isAsked = async (): Promise<void> => {
    const before = asked;
    await until(() => asked > before);
  };
  const cases: Readonly<Record<string, Case>> = {
    "build: COPY --from of a file of 8 TB": {
      args: () => ["build", shop.at("copy")],
      busy: hasOpen("/huge"),
    },
    "build: a file of 8 TB in the context": { args: () => ["build", shop.at("big")], busy: hasOpen("/huge") },
    "build: a step that is deaf to signals": {
      args: () => ["build", "--progress=plain", shop.at("deaf")],
      busy: (command) => command.says(/[\d.]+ it runs/),
    },
    "build: a step in a keeper that is stopped": {
      args: () => ["build", "--progress=plain", shop.at("deaf")],
      busy: async (command) => {
        await command.says(/[\d.]+ it runs/);
        process.kill(keeperOf(command.pid), "SIGSTOP");
      },
    },
    "build: -o type=tar of a file of 8 TB": {
      args: () => ["build", "-o", `type=tar,dest=${shop.at("out", "out.tar")}`, shop.at("tar")],
      busy: hasOpen(".part"),
    },
    "build: -o type=tar into a FIFO nobody reads": {
      args: () => {
        execFileSync("mkfifo", [shop.at("fifo")]);
        shop.context("small", { Dockerfile: "FROM scratch\nCOPY Dockerfile /\n" });
        return ["build", "--progress=plain", "-o", `type=oci,dest=${shop.at("fifo")}`, shop.at("small")];
      },
      busy: (command) => command.says(/exporting to oci/),
      mayDieBySignal: true,
    },
    "build: a git repository that does not answer": {
      args: () => ["build", `git://127.0.0.1:${port}/r.git`],
      busy: isAsked,
    },
    "build: a Dockerfile from a server that does not answer": {
      args: () => ["build", "-f", `http://127.0.0.1:${port}/Dockerfile`, shop.at("deaf")],
      busy: isAsked,
    },
    "pull: a registry that does not answer": {
      args: () => ["pull", `127.0.0.1:${port}/image:1`],
      busy: isAsked,
    },
    "fsck: a blob of 8 TB": {
      args: () => {
        const hex = "ab".repeat(32);
        const path = join(shop.root, "blobs", "sha256", hex);
        writeFileSync(path, "");
        truncateSync(path, HUGE_BYTES);
        return ["fsck"];
      },
      busy: hasOpen("ab".repeat(32)),
    },
  };
  for (const [name, { args, busy, mayDieBySignal }] of Object.entries(cases)) {
    it(name, async () => {
      mkdirSync(shop.at("out"), { recursive: true });
      const command = shop.start(args());
      await busy(command);
      const from = performance.now();
      command.kill("SIGTERM");
      const { code, signal, stderr } = await command.outcome;
      const tookMs = Math.round(performance.now() - from);
      if (!(mayDieBySignal === true && signal === "SIGTERM")) assert.equal(code, 143, stderr);
      assert.match(stderr, /canceled\n$/);
      assert.ok(tookMs < ENDS_WITHIN_MS + SLACK_MS, `it took ${tookMs} ms`);
      assert.deepEqual(readdirSync(shop.at("out")), []);
      await until(() => family(command.pid).length === 0);
    });
  }
});

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 3000; tries++) {
    if (holds()) return;
    await delay(10);
  }
  assert.fail("it did not come to that");
}

function parents(): Map<number, number> {
  const found = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const status = readFileSync(`/proc/${name}/status`, "latin1");
      found.set(Number(name), Number(/^PPid:\t(\d+)$/m.exec(status)?.[1]));
    } catch {
      // gone meanwhile
    }
  }
  return found;
}

/** A process, if it is there, and all below it. */
function family(pid: number): number[] {
  const all = parents();
  const found = all.has(pid) ? [pid] : [];
  for (const one of found) for (const [child, parent] of all) if (parent === one) found.push(child);
  return found;
}

function keeperOf(pid: number): number {
  const keeper = family(pid).find((one) =>
    readFileSync(`/proc/${one}/cmdline`, "latin1").includes("\0keeper\0"),
  );
  assert.ok(keeper !== undefined, "no keeper");
  return keeper;
}
