// tsbuild beside the builders this machine has, on the same inputs, interleaved (A B A B …).
//
//   npm run bench                          every workload, 5 rounds
//   npm run bench -- --only run,files      some of them
//   npm run bench -- --help
//
// A ratio is tsbuild's median over the other's: below 1, tsbuild is faster.

import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildah, buildkit, docker, tsbuild } from "./builders.mjs";
import { sample } from "./measure.mjs";
import { describeMachine, table } from "./report.mjs";
import { baseContexts, workloads } from "./rows.mjs";
import { programPath, project, wall, workDirectory } from "./support.mjs";

const HELP = `Usage: npm run bench -- [options]

  --only NAMES      workloads, by comma: tiny, run, files, files-oci, layer, push, pull
  --rounds N        rounds (5)
  --scale X         factor of all counts and sizes (1)
  --dir DIR         where stores and contexts are (a directory below $TMPDIR); "tmpfs" is one in /dev/shm
  --user NAME       run tsbuild as this user (needs root)
  --against DIR     an older checkout that was built, as a builder of its own
  --peers NAMES     of buildkit, docker, buildah; default: those that are installed
  --save            write bench/RESULTS.md, and keep the ratios for --nightly
  --nightly         five rounds; fails if a ratio is more than 15 % worse than the kept one
`;
/** How much worse a ratio may be than the kept one. */
const WORSE = 1.15;
const KEPT = join(project, "bench/kept.json");

const { values: options } = parseArgs({
  options: {
    ...{ only: { type: "string" }, rounds: { type: "string" }, scale: { type: "string", default: "1" }, dir: { type: "string" } },
    ...{ user: { type: "string" }, against: { type: "string" }, peers: { type: "string" } },
    ...{ save: { type: "boolean" }, nightly: { type: "boolean" }, help: { type: "boolean" } },
  },
});
if (options.help) {
  process.stdout.write(HELP);
  process.exit(0);
}
const rounds = Number(options.rounds ?? 5);
const scale = Number(options.scale);

const work = workDirectory(options.dir === "tmpfs" ? "/dev/shm" : options.dir);
const stores = join(work, "stores");
mkdirSync(stores);
const user = options.user ?? null;
const places = { stores, user };
const { startRegistry } = await import("../dist/test/support/registry.js");
programPath("docker-registry", "docker-registry");
const registry = await startRegistry();

const peers = { buildkit, docker, buildah };
const asked = options.peers?.split(",").filter(Boolean) ?? Object.keys(peers);
for (const name of asked) if (!(name in peers)) throw new Error(`--peers: "${name}" is none of ${Object.keys(peers).join(", ")}`);
const builders = [
  tsbuild("tsbuild", project, places),
  ...(options.against === undefined ? [] : [tsbuild("older", options.against, places)]),
  ...asked.map((name) => peers[name](places)).filter((peer) => peer !== null),
];

/** Every command runs with a directory as its context, and the same words for all builders. */
async function run(builder, mode, context, tag) {
  const file = join(work, `${builder.name}.tar`);
  rmSync(file, { force: true });
  const taken = await sample(builder.commands[mode]({ context, tag, file }), { ...builder, cwd: work });
  if (mode === "oci" || mode === "zstd") statSync(file);
  return taken;
}

async function pushBases() {
  const [ours] = builders;
  await ours.fresh();
  const images = {};
  for (const [name, context] of Object.entries(baseContexts(work, programPath("busybox", "busybox-static"), scale))) {
    images[name] = `${registry.host}/bench/${name}:1`;
    const text = readFileSync(join(context, "Dockerfile"), "utf8").replace("ARG BASE", `ARG BASE=${images.base}`);
    writeFileSync(join(context, "Dockerfile"), text);
    await run(ours, "push", context, images[name]);
  }
  return images;
}

/** name → builder → samples. */
async function measure(workload, results) {
  const context = join(work, `context-${workload.name}`);
  mkdirSync(context, { recursive: true });
  workload.prepare(context);
  for (let round = 0; round < rounds; round++) {
    // Each begins as often as it follows another: what one leaves to be written to disk is the next one's burden.
    for (const builder of [...builders.slice(round % builders.length), ...builders.slice(0, round % builders.length)]) {
      const tag = `${registry.host}/bench/out-${workload.name}-${builder.name}:${round}`;
      for (const { name, mode, fresh, before, hidden } of workload.samples) {
        if (fresh) await builder.fresh();
        before?.(context, `${round}-${builder.name}-${name}`.replaceAll(/\W+/g, "-"));
        if (builder.commands[mode] === undefined) continue;
        const taken = await run(builder, mode, context, tag);
        if (hidden) continue;
        ((results[name] ??= {})[builder.name] ??= []).push(taken);
      }
    }
  }
}

const results = {};
try {
  const machine = describeMachine(builders, { rounds, scale, user, dir: work });
  console.log(machine);
  const images = await pushBases();
  const only = options.only?.split(",");
  const chosen = workloads({ images, scale }).filter(({ name }) => only === undefined || only.includes(name));
  for (const workload of chosen) {
    const before = Object.keys(results).length;
    await measure(workload, results);
    console.log(table(results, builders, Object.keys(results).slice(before)));
  }
  if (options.save) {
    const text = `# Results\n\n${machine}\n\n${table(results, builders, Object.keys(results))}\n`;
    writeFileSync(join(project, "bench/RESULTS.md"), text);
    writeFileSync(KEPT, `${JSON.stringify(ratios(), null, 2)}\n`);
  }
  if (options.nightly) compareWithKept();
} finally {
  for (const builder of builders) await builder.close();
  await registry[Symbol.asyncDispose]();
}

/** name → peer → ratio of the medians. */
function ratios() {
  const all = {};
  for (const [name, { tsbuild: ours, older: _, ...others }] of Object.entries(results))
    for (const [peer, theirs] of Object.entries(others))
      (all[name] ??= {})[peer] = Number((wall(ours) / wall(theirs)).toFixed(3));
  return all;
}

function compareWithKept() {
  const kept = JSON.parse(readFileSync(KEPT, "utf8"));
  let compared = 0;
  const worse = [];
  for (const [name, own] of Object.entries(ratios())) {
    for (const [peer, ratio] of Object.entries(own)) {
      const before = kept[name]?.[peer];
      if (before === undefined) continue;
      compared += 1;
      if (ratio > before * WORSE) worse.push(`${name}: ${ratio} of ${peer}'s time, was ${before}`);
    }
  }
  console.log(worse.length === 0 ? `${compared} ratios, none worse than kept` : worse.join("\n"));
  if (worse.length > 0 || compared === 0) process.exitCode = 1;
}
