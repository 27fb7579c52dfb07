// The cost of a RUN: one more `RUN true` compared with `runc run` of `true` on the same root file system, interleaved (A B A B ...), medians
// and ratios. As root or as an ordinary user, with runc's rootless mode.
//
//   npm run build && node bench/run-latency.mjs [ROUNDS]      default: 15
//
// "step": the command from the message to the keeper to its result, in a running build: the time of a build of STEPS steps
// less that of a build of one, divided by STEPS - 1. "build": the whole process `tsbuild build` for a Dockerfile with one more line.

import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { cpus, release, userInfo } from "node:os";
import { join } from "node:path";
import { median, programPath, project, searchPath, workDirectory } from "./support.mjs";

const STEPS = 51;
const rounds = Number(process.argv[2] ?? 15);

const runc = programPath("runc", "runc");
const busybox = programPath("busybox", "busybox-static");

const work = workDirectory();

/** Milliseconds a command takes. */
function time(command, args, env = {}) {
  const started = performance.now();
  execFileSync(command, args, { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, PATH: searchPath, ...env } });
  return performance.now() - started;
}

/** The same root file system for both. */
function makeRootfs(dir) {
  for (const name of ["bin", "etc", "tmp", "proc", "sys", "dev"]) mkdirSync(join(dir, name), { recursive: true });
  copyFileSync(busybox, join(dir, "bin/busybox"));
  chmodSync(join(dir, "bin/busybox"), 0o755);
  for (const name of ["sh", "true"]) symlinkSync("busybox", join(dir, "bin", name));
  writeFileSync(join(dir, "etc/passwd"), "root:x:0:0::/:/bin/sh\n");
}

const bundle = join(work, "bundle");
mkdirSync(bundle);
makeRootfs(join(bundle, "rootfs"));
execFileSync(runc, ["spec", "--bundle", bundle, ...(userInfo().uid === 0 ? [] : ["--rootless"])]);
const spec = JSON.parse(readFileSync(join(bundle, "config.json"), "utf8"));
spec.process.terminal = false;
spec.process.args = ["true"];
spec.process.env = ["PATH=/bin"];
spec.root.readonly = false;
writeFileSync(join(bundle, "config.json"), JSON.stringify(spec));
let containers = 0;
const runcOnce = () => {
  containers += 1;
  return time(runc, ["--root", join(work, "runc"), "run", "--bundle", bundle, `bench-${process.pid}-${containers}`]);
};

const context = join(work, "context");
mkdirSync(context);
makeRootfs(join(context, "rootfs"));
const build = (lines) => {
  writeFileSync(join(context, "Dockerfile"), `FROM scratch\nCOPY rootfs/ /\nENV PATH=/bin\n${lines.join("\n")}\n`);
  return time(process.execPath, [join(project, "dist/bin/tsbuild.cjs"), "build", "-q", "--network", "none", context], {
    TSBUILD_ROOT: join(work, "store"),
  });
};
/** Steps nobody has run before: a build with an argument that is new. */
let builds = 0;
const fresh = (steps) => {
  builds += 1;
  return build([`ARG round=${builds}`, ...Array.from({ length: steps }, () => 'RUN ["true"]')]);
};
const more = [];
const oneMore = () => {
  more.push('RUN ["true"]');
  return build(more);
};

const times = { runc: [], build: [], one: [], many: [] };
oneMore(); // warm: launcher installed, base in the store
runcOnce();
for (let round = 0; round < rounds; round++) {
  times.runc.push(runcOnce());
  times.build.push(oneMore());
  times.one.push(fresh(1));
  times.runc.push(runcOnce());
  times.many.push(fresh(STEPS));
}

const version = execFileSync(runc, ["--version"], { encoding: "utf8" }).split("\n")[0];
console.log(`${cpus().length} x ${cpus()[0]?.model ?? "CPU"}, Linux ${release()}, Node ${process.version}, ${version}`);
console.log(`as ${userInfo().username}; ${rounds} rounds, interleaved; medians in milliseconds\n`);
const theirs = median(times.runc);
const rows = [
  ["runc run true", theirs],
  ["one more RUN true in a running build", (median(times.many) - median(times.one)) / (STEPS - 1)],
  ["tsbuild build with one more RUN true", median(times.build)],
];
for (const [name, ms] of rows) console.log(`${name.padEnd(44)}${ms.toFixed(1).padStart(8)}${(ms / theirs).toFixed(2).padStart(8)}`);
