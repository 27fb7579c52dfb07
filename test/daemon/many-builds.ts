// Builds of all kinds, one after the other in some lanes: what a daemon has open, mounted, running and in memory after many of them is what it
// had before.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { BASE, type DaemonShop, openDaemonShop, sh } from "../support/daemon.ts";
import { buildOn, connectedTo, historyOf, sendGarbage, vanish } from "../support/daemon-client.ts";
import { openFilesOf } from "../support/store.ts";
import { type Account, programDir } from "../support/unprivileged.ts";

const LANES = 4;
const MIB = 1 << 20;

/** What may be there after the builds that was not there before, beside what each build may leave: its place in a list, pages of the
 *  database. The heap is measured after a full collection; of the others' memory the allocators keep some. */
const MAY_GROW = { heapBytes: 8 * MIB, anonBytes: 64 * MIB, keeperBytes: 48 * MIB } as const;
const MAY_GROW_BY_BUILD = { heapBytes: 1_000, anonBytes: 4_000, keeperBytes: 2_000 } as const;

/** Helpers of networks are started ahead of steps, and threads of the keeper end after a while: each of them comes and goes with some. */
const SLACK = {
  ...{ descriptors: 2, keeperDescriptors: 4, mounts: 0, keeperMounts: 2, processes: 2, temporary: 2 },
} as const;

/** What a daemon has. Bytes are those of memory that belongs to one process alone (RssAnon, proc(5)), and of JavaScript's heap and
 *  buffers. */
export interface Figures {
  readonly heapBytes: number;
  readonly anonBytes: number;
  readonly keeperBytes: number;
  readonly descriptors: number;
  readonly keeperDescriptors: number;
  readonly mounts: number;
  readonly keeperMounts: number;
  /** It and all below it. */
  readonly processes: number;
  /** Files of work that goes on, in the store and in the daemon's temporary directory. */
  readonly temporary: number;
}

export interface ManyOutcome {
  readonly builds: number;
  readonly seconds: number;
  /** Builds by how they ended for their clients. */
  readonly ends: Readonly<Record<string, number>>;
  readonly before: Figures;
  readonly after: Figures;
}

/** What is loaded into the daemon: at SIGUSR2 it collects garbage and writes what is left. */
const HOOK = `
const { writeFileSync, renameSync } = require("node:fs");
process.on("SIGUSR2", async () => {
  for (let round = 0; round < 4; round++) {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { heapUsed, external } = process.memoryUsage();
  const file = process.env.TSBUILD_TEST_FIGURES;
  writeFileSync(file + ".new", String(heapUsed + external));
  renameSync(file + ".new", file);
});
`;

/** Runs so many builds after some that warm the daemon up, and compares. Throws for what has grown. */
export async function manyBuilds(
  account: Account,
  builds: number,
  {
    warmUp,
    onTenth,
  }: { readonly warmUp: number; readonly onTenth?: (figures: Figures, builds: number) => void },
): Promise<ManyOutcome> {
  using shop = await openWorkshop(account);
  const temporary = shop.context("temporary", { ".keep": "" });
  const hook = join(shop.context("hook", { "hook.cjs": HOOK }), "hook.cjs");
  const file = shop.at("hook", "figures");
  await using worker = await openDaemonShop(shop, [], {
    command: [
      ...[process.execPath, "--expose-gc", "--require", hook],
      join(programDir(account), "dist/bin/tsbuildd.cjs"),
    ],
    env: { TMPDIR: temporary, TSBUILD_TEST_FIGURES: file },
  });
  const kinds = kindsOf(worker, shop);
  const ends: Record<string, number> = {};
  let next = 0;
  const lanes = async (until: number): Promise<void> => {
    const lane = async (): Promise<void> => {
      while (next < until) {
        const at = next++;
        const [name, build] = kinds[at % kinds.length] as Kind;
        const end = await build(at);
        ends[`${name}: ${end}`] = (ends[`${name}: ${end}`] ?? 0) + 1;
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
  };
  const measure = (): Promise<Figures> => settled(shop, worker.daemon.pid, { file, temporary });

  await lanes(warmUp);
  const before = await measure();
  const begun = performance.now();
  for (let part = 1; part <= 10; part++) {
    await lanes(warmUp + Math.ceil((builds * part) / 10));
    onTenth?.(await measure(), Math.ceil((builds * part) / 10));
  }
  const seconds = (performance.now() - begun) / 1000;
  const after = await measure();
  for (const [end, count] of Object.entries(ends)) assert.match(end, /^(\w+): \1$/, `${count} of ${end}`);
  for (const name of ["heapBytes", "anonBytes", "keeperBytes"] as const) {
    const allowed = MAY_GROW[name] + MAY_GROW_BY_BUILD[name] * builds;
    assert.ok(
      after[name] - before[name] <= allowed,
      `${name}: ${words(before)} before, ${words(after)} after`,
    );
  }
  for (const [name, slack] of Object.entries(SLACK) as [keyof typeof SLACK, number][])
    assert.ok(after[name] <= before[name] + slack, `${name}: ${words(before)} before, ${words(after)} after`);
  const records = await connectedTo(worker.socket, historyOf);
  assert.ok(records.length > 0 && records.every(({ CompletedAt }) => CompletedAt !== undefined));
  const ended = await worker.stop();
  assert.equal(ended.code, 0, ended.stderr);
  assert.doesNotMatch(ended.stderr, /internal error|Warning/);
  return { builds, seconds, ends, before, after };
}

/** Figures in a line. */
export function words({ heapBytes, anonBytes, keeperBytes, ...rest }: Figures): string {
  const mib = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`;
  const others = Object.entries(rest).map(([name, value]) => `${name} ${value}`);
  return [`heap ${mib(heapBytes)}, daemon ${mib(anonBytes)}, keeper ${mib(keeperBytes)}`, ...others].join(
    ", ",
  );
}

/** Name of a kind, which is also how its builds should end, and a build of it. */
type Kind = readonly [name: string, build: (serial: number) => Promise<string>];

function kindsOf(worker: DaemonShop, shop: Workshop): readonly Kind[] {
  const { socket } = worker;
  const app = worker.context("app", {
    Dockerfile: `${BASE}FROM base AS common\n${sh("echo common > /common")}FROM common\nARG N\n${sh("echo $N > /n")}`,
  });
  const bad = worker.context("bad", { Dockerfile: `${BASE}ARG N\n${sh("echo $N; exit 7")}` });
  const missing = worker.context("missing", { Dockerfile: `${BASE}COPY nothing /\n` });
  const long = worker.context("long", { Dockerfile: `${BASE}ARG N\n${sh("echo begun $N; sleep 600")}` });
  const endOf = async (work: Promise<unknown>): Promise<string> => {
    try {
      await work;
      return "done";
    } catch (error) {
      return /exit code: 7/.test(String(error)) || /not found/.test(String(error)) ? "failed" : String(error);
    }
  };
  const build = (context: string, N: number): Promise<string> =>
    endOf(buildOn(socket, { context, args: { N: String(N) } }));

  const cached: Kind = ["done", () => build(app, -1)];
  const uncached: Kind = ["done", (serial) => build(app, serial)];
  const exported: Kind = [
    "done",
    async (serial) => {
      const out = shop.at("home", `out-${serial}`);
      const output = `type=local,dest=${out}`;
      const end = await endOf(buildOn(socket, { context: app, args: { N: String(serial) }, output }));
      const isWhole = existsSync(join(out, "n")) && readFileSync(join(out, "n"), "utf8") === `${serial}\n`;
      rmSync(out, { recursive: true, force: true });
      return isWhole ? end : `${end}, without its files`;
    },
  ];
  const failed: Kind = ["failed", (serial) => build(serial % 20 < 10 ? bad : missing, serial)];
  const cancelled: Kind = [
    "cancelled",
    async (serial) => {
      const controller = new AbortController();
      try {
        await buildOn(socket, {
          ...{ context: long, args: { N: String(serial) }, signal: controller.signal },
          onLog: (text) => void (text.includes("begun") && controller.abort(new Error("enough"))),
        });
        return "done";
      } catch (error) {
        return error === controller.signal.reason ? "cancelled" : String(error);
      }
    },
  ];
  const checked: Kind = ["done", () => endOf(buildOn(socket, { context: app, call: "check" }))];
  const gone: Kind = [
    "gone",
    async (serial) => {
      await vanish(socket, serial % 50);
      sendGarbage(socket, 1)[Symbol.dispose]();
      if (serial % 100 !== 9) return "gone";
      const stock = worker.start(["build", "--progress=plain", `--build-arg=N=${serial}`, long]);
      await stock.says(/ begun \d+$/m);
      stock.kill("SIGKILL");
      await stock.outcome;
      return "gone";
    },
  ];
  return [cached, uncached, cached, failed, exported, cached, uncached, cancelled, checked, gone];
}

/** Waits until two looks in a row see the same, but for memory. */
async function settled(
  { root }: Workshop,
  daemon: number,
  { file, temporary }: { readonly file: string; readonly temporary: string },
): Promise<Figures> {
  const work = ["active", "ingest", "locks", "tmp", "owners"].map((name) => join(root, name));
  const look = () => {
    const below = descendants(daemon);
    const keeper = below.find((pid) => /"storeDir":/.test(read(`/proc/${pid}/cmdline`))) ?? 0;
    const lines = (pid: number): number => read(`/proc/${pid}/mountinfo`).split("\n").length;
    return {
      keeper,
      descriptors: openFilesOf(daemon).length,
      keeperDescriptors: openFilesOf(keeper).length,
      mounts: lines(daemon),
      keeperMounts: lines(keeper),
      processes: 1 + below.length,
      temporary: [...work, temporary].reduce((sum, dir) => sum + entriesBelow(dir), 0),
    };
  };
  const deadline = Date.now() + SETTLE_MS;
  for (let last = "", same = 0; same < 3 && Date.now() < deadline; await delay(100)) {
    const now = JSON.stringify(look());
    same = now === last ? same + 1 : 0;
    last = now;
  }
  rmSync(file, { force: true });
  process.kill(daemon, "SIGUSR2");
  while (!existsSync(file)) {
    assert.ok(Date.now() < deadline + SETTLE_MS, "the daemon does not answer SIGUSR2");
    await delay(20);
  }
  const { keeper, ...figures } = look();
  const heapBytes = Number(readFileSync(file, "utf8"));
  return { heapBytes, anonBytes: anonymous(daemon), keeperBytes: anonymous(keeper), ...figures };
}
const SETTLE_MS = 20_000;

function descendants(pid: number): number[] {
  const children = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((name) => ({
      pid: Number(name),
      parent: Number(/^PPid:\s*(\d+)/m.exec(read(`/proc/${name}/status`))?.[1]),
    }));
  const below = (of: number): number[] =>
    children.filter(({ parent }) => parent === of).flatMap((child) => [child.pid, ...below(child.pid)]);
  return below(pid);
}

function anonymous(pid: number): number {
  return 1024 * Number(/^RssAnon:\s*(\d+) kB/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0);
}

function entriesBelow(dir: string): number {
  try {
    return readdirSync(dir, { recursive: true }).length;
  } catch {
    return 0; // none yet, or one that goes just now
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // its process is gone
  }
}
