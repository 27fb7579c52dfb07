// What was measured, as Markdown.

import { execFileSync } from "node:child_process";
import { cpus, release, totalmem } from "node:os";
import { find } from "./builders.mjs";
import { median, wall } from "./support.mjs";

/** The machine, the versions and the conditions. */
export function describeMachine(builders, { rounds, scale, user, dir }) {
  const fileSystem = execFileSync("stat", ["-f", "-c", "%T", dir], { encoding: "utf8" }).trim();
  const versions = builders.map(({ name }) => versionOf(name)).filter((version) => version !== null);
  return [
    `${new Date().toISOString().slice(0, 10)}: ${cpus().length} x ${cpus()[0]?.model ?? "CPU"}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, Linux ${release()}, ${fileSystem}, Node ${process.version}.`,
    versions.length === 0 ? "No peers." : `${versions.join("; ")}.`,
    `${rounds} rounds, interleaved; seconds: median (fastest to slowest); CPU of all processes; peak of memory, page cache included${scale === 1 ? "" : `; sizes and counts times ${scale}`}.`,
    `tsbuild runs as ${user ?? (process.getuid?.() === 0 ? "root" : "an ordinary user")}. Ratio: tsbuild's median over the other's.`,
  ].join("\n");
}

const VERSIONS = { buildkit: ["buildkitd", "--version"], docker: ["dockerd", "--version"], buildah: ["buildah", "--version"] };

function versionOf(name) {
  const [program, ...args] = VERSIONS[name] ?? [];
  const path = program === undefined ? null : find(program);
  return path === null ? null : execFileSync(path, args, { encoding: "utf8" }).trim();
}

/** The rows of those names. */
export function table(results, builders, names) {
  const present = builders.filter(({ name }) => names.some((row) => results[row]?.[name] !== undefined));
  const others = present.slice(1);
  const head = ["", ...present.map(({ name }) => name), ...others.map(({ name }) => `/ ${name}`)];
  const rows = names.map((row) => {
    const ours = results[row]?.[present[0]?.name];
    return [
      row,
      ...present.map(({ name }) => cell(results[row][name])),
      ...others.map(({ name }) => {
        const theirs = results[row][name];
        return theirs === undefined || ours === undefined ? "" : (wall(ours) / wall(theirs)).toFixed(2);
      }),
    ];
  });
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

function cell(samples) {
  if (samples === undefined) return "";
  const seconds = (ms) => (ms / 1000).toFixed(ms < 10_000 ? 3 : 1);
  const times = samples.map(({ ms }) => ms);
  const parts = [`**${seconds(median(times))}** (${seconds(Math.min(...times))} to ${seconds(Math.max(...times))})`];
  const [cpu, peak] = ["cpuMs", "peakBytes"].map((field) => samples.map((taken) => taken[field]).filter((value) => value !== null));
  if (cpu.length > 0) parts.push(`CPU ${seconds(median(cpu))}`);
  if (peak.length > 0) parts.push(`${Math.round(Math.max(...peak) / 1e6)} MB`);
  return parts.join(", ");
}
