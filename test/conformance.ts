// Runs the differential conformance suite against the built program.
//
//   npm run conformance                 every case
//   npm run conformance -- copy/ run/*  the cases whose name matches a glob or contains the part
//   npm run conformance -- --ratchet    the cases of conformance-passing.txt, each of which must pass
//   npm run conformance -- --update     every case; those that pass are added to the list (nothing is ever removed)
//
// The suite (a Python program and recorded results of BuildKit) is not part of this package: TSBUILD_CONFORMANCE is its
// directory, by default ../shared/conformance next to the checkout.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { projectDir } from "./support/project.ts";
import { removeTree } from "./support/store.ts";

const LIST = join(projectDir, "test", "conformance-passing.txt");
const HEAD = [
  "# Conformance cases that pass. npm run conformance -- --update adds to this list; a case never leaves it.",
  "",
];

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const suite = resolve(projectDir, process.env.TSBUILD_CONFORMANCE ?? "../shared/conformance");
  if (!existsSync(join(suite, "conformance.py"))) {
    process.stderr.write(
      `There is no conformance suite in ${suite}: set TSBUILD_CONFORMANCE to its directory.\n`,
    );
    return 2;
  }
  const ratchet = args.includes("--ratchet");
  const update = args.includes("--update");
  const known = readList();
  const filters = ratchet ? known : args.filter((arg) => !arg.startsWith("--"));
  if (ratchet && known.length === 0) throw new Error(`${LIST} names no case`);
  const outcome = await runSuite(suite, filters);

  const listed = new Set(known);
  const more = outcome.passed.filter((name) => !listed.has(name));
  if (update) {
    writeFileSync(LIST, [...HEAD, ...[...known, ...more].sort(), ""].join("\n"));
    process.stdout.write(`${more.length} cases joined the list of ${known.length}\n`);
  }
  if (!ratchet) return outcome.code;

  // Filters match parts of names, so a few cases more than the listed ones may have run.
  const passed = new Set(outcome.passed);
  const lost = known.filter((name) => !passed.has(name));
  for (const name of lost)
    process.stdout.write(`LOST ${name}: it is in conformance-passing.txt and must pass\n`);
  process.stdout.write(`${known.length - lost.length} of ${known.length} listed cases pass\n`);
  const tally = process.env.TSBUILD_TALLY;
  if (tally !== undefined) {
    const counts = `${known.length - lost.length} ${lost.length} 0`;
    appendFileSync(tally, [...lost.map((name) => `# conformance ${name}`), counts, ""].join("\n"));
  }
  return lost.length === 0 ? 0 : 1;
}

function readList(): string[] {
  if (!existsSync(LIST)) return [];
  return readFileSync(LIST, "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
}

async function runSuite(
  suite: string,
  filters: readonly string[],
): Promise<{ passed: string[]; code: number }> {
  const root = mkdtempSync(join(tmpdir(), "tsbuild-conformance-"));
  try {
    const command = `${process.execPath} ${join(projectDir, "dist", "bin", "tsbuild.cjs")} build`;
    const child = spawn(
      "python3",
      [
        ...[
          join(suite, "conformance.py"),
          "run",
          "-v",
          "--cmd",
          command,
          "--jobs",
          String(availableParallelism()),
        ],
        ...filters.flatMap((filter) => ["--filter", filter]),
      ],
      { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, TSBUILD_ROOT: join(root, "store") } },
    );
    const ended = once(child, "close");
    const passed: string[] = [];
    for await (const line of createInterface({ input: child.stdout })) {
      if (line.startsWith("ok ")) passed.push(line.slice(3).trim());
      else process.stdout.write(`${line}\n`);
    }
    const [code] = (await ended) as [number | null];
    return { passed, code: code ?? 1 };
  } finally {
    removeTree(root);
  }
}
