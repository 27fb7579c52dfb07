// Builds Dockerfiles of test/corpus for real, with apt-get, pip and npm ci in RUN, and runs what came out:
//
//   npm run corpus -- [--network default|host (of RUN)] [--rootfs FILE] [--list] [NAME...]
//
// NAME: those with it in their name (default: all). As root it builds as root and as the ordinary user of test/setup.sh. Takes
// minutes, and needs mmdebstrap and this machine's own Debian mirror and npm registry, with the settings they have here:
// those go into the base images, which are thrown away with the store. --rootfs: the Debian root file system as a tar; made
// when it is not there, and kept (as is FILE.xz).

import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import "./support/root-hooks.ts"; // all temporary files in one directory, removed at the exit
import { type Effect, REAL_BUILDS, type RealBuild } from "./corpus-real/cases.ts";
import { tsbuild, tsbuildOk } from "./support/cli.ts";
import { projectDir } from "./support/project.ts";
import { temporaryDir } from "./support/store.ts";
import { type Account, accounts } from "./support/unprivileged.ts";

const CORPUS = join(projectDir, "test", "corpus");
const REAL = join(projectDir, "test", "corpus-real");
const NETWORKS = ["default", "host"];

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
process.exitCode = await main();

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      network: { type: "string", default: "default" },
      rootfs: { type: "string" },
      list: { type: "boolean", default: false },
    },
  });
  const all = Object.keys(REAL_BUILDS);
  const names = all.filter(
    (name) => positionals.length === 0 || positionals.some((part) => name.includes(part)),
  );
  if (values.list) {
    process.stdout.write(`${names.join("\n")}\n`);
    return 0;
  }
  if (names.length === 0) throw new Error(`no build has ${positionals.join(" or ")} in its name`);
  if (!NETWORKS.includes(values.network)) throw new Error(`--network is one of ${NETWORKS.join(", ")}`);

  using dir = temporaryDir();
  const rootfs = values.rootfs === undefined ? dir.at("rootfs.tar") : resolve(values.rootfs);
  if (!existsSync(rootfs)) makeRootfs(rootfs);
  const machine = dir.at("machine");
  copyMachine(machine);

  const tally = { passed: 0, failed: 0 };
  for (const account of accounts()) {
    using bench = openBench(account, { rootfs, machine, network: values.network });
    for (const name of names) {
      const startMs = Date.now();
      const problem = await tryBuild(bench, name);
      const seconds = ((Date.now() - startMs) / 1000).toFixed(1);
      process.stdout.write(
        `${problem === null ? "ok    " : "FAILED"} ${name} as ${account.name}, ${seconds} s\n`,
      );
      if (problem !== null) process.stdout.write(`${problem.replace(/^/gm, "    ")}\n`);
      tally[problem === null ? "passed" : "failed"] += 1;
    }
  }
  const file = process.env.TSBUILD_TALLY;
  if (file !== undefined) appendFileSync(file, `${tally.passed} ${tally.failed} 0\n`);
  process.stdout.write(`${tally.passed} passed, ${tally.failed} failed\n`);
  return tally.failed === 0 ? 0 : 1;
}

/** Debian's smallest root file system that has apt, of this machine's release and from its mirror. mmdebstrap(1) */
function makeRootfs(file: string): void {
  const release = readFileSync("/etc/os-release", "utf8");
  const suite = /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1];
  if (suite === undefined || !/^ID=debian$/m.test(release)) throw new Error("this is no Debian machine");
  const sources = sourceFiles().map((name) => join("/etc/apt", name));
  try {
    execFileSync("mmdebstrap", ["--variant=minbase", "--quiet", suite, file, ...sources], {
      stdio: ["ignore", "inherit", "inherit"],
    });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw cause;
    throw new Error("mmdebstrap is missing: apt-get install mmdebstrap (as root)", { cause });
  }
}

/** Files of apt's sources, relative to /etc/apt. */
function sourceFiles(): string[] {
  const more = readdirSync("/etc/apt/sources.list.d").filter((name) => /\.(list|sources)$/.test(name));
  return ["sources.list", ...more.map((name) => join("sources.list.d", name))].filter((name) =>
    existsSync(join("/etc/apt", name)),
  );
}

/** What the base images take from this machine: where apt and npm fetch from and whom they trust, and npm itself. */
function copyMachine(dir: string): void {
  for (const name of sourceFiles()) cpSync(join("/etc/apt", name), join(dir, "debian/etc/apt", name));
  mkdirSync(join(dir, "debian/etc/apt/apt.conf.d"), { recursive: true });
  const settings = execFileSync("apt-config", ["dump", "Acquire"]);
  writeFileSync(join(dir, "debian/etc/apt/apt.conf.d/80machine"), settings);

  const npm = (args: readonly string[]): string =>
    execFileSync("npm", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  const lines = [
    `registry=${npm(["config", "get", "registry"])}`,
    "audit=false",
    "fund=false",
    "update-notifier=false",
  ];
  const cafile = npm(["config", "get", "cafile"]);
  mkdirSync(join(dir, "node/usr/etc"), { recursive: true });
  if (existsSync(cafile)) {
    cpSync(cafile, join(dir, "node/usr/etc/ca.pem"));
    lines.push("cafile=/usr/etc/ca.pem");
  }
  writeFileSync(join(dir, "node/usr/etc/npmrc"), `${lines.join("\n")}\n`);
  const packed = npm(["pack", "--silent", "--pack-destination", dir, "npm@10"]); // the last for Debian 12's node
  cpSync(join(dir, packed), join(dir, "npm.tgz"));
}

interface Bench extends Disposable {
  readonly account: Account;
  /** `tsbuild ARGS` in a directory; throws with its words when it fails. */
  build(args: readonly string[], cwd: string): Promise<void>;
  run(effect: Effect, image: string): Promise<{ readonly code: number | null; readonly output: string }>;
  /** A directory of the account's with a copy of `from` (nothing, where that is not there). */
  copy(from: string, name: string): string;
  /** Base or build to when it is in the store. */
  readonly made: Map<string, Promise<void>>;
  readonly rootfs: string;
}

/** A store of the account and directories it can read. */
function openBench(
  account: Account,
  options: { readonly rootfs: string; readonly machine: string; readonly network: string },
): Bench {
  const dir = temporaryDir(account);
  const call = { account, root: dir.at("store") };
  const own = (path: string): void => {
    if (account.uid !== process.getuid?.())
      execFileSync("chown", ["-R", `${account.uid}:${account.gid}`, path]);
  };
  cpSync(options.machine, dir.at("machine"), { recursive: true });
  own(dir.at("machine"));
  return {
    account,
    rootfs: options.rootfs,
    made: new Map(),
    copy(from, name) {
      const path = dir.at("contexts", name);
      mkdirSync(path, { recursive: true });
      if (existsSync(from)) cpSync(from, path, { recursive: true });
      own(dir.at("contexts"));
      return path;
    },
    async build(args, cwd) {
      const machine = ["--build-context", `machine=${dir.at("machine")}`];
      await tsbuildOk(["build", "--progress=plain", "--network", options.network, ...machine, ...args], {
        ...call,
        cwd,
      });
    },
    async run({ options: flags = [], command }, image) {
      const { code, stdout, stderr } = await tsbuild(["run", ...flags, image, ...command], call);
      return { code, output: stdout + stderr };
    },
    [Symbol.dispose]: () => dir[Symbol.dispose](),
  };
}

/** What went wrong; null: it was built, and does what it should. */
async function tryBuild(bench: Bench, name: string): Promise<string | null> {
  try {
    await make(bench, name);
  } catch (error) {
    return (error as Error).message;
  }
  for (const effect of (REAL_BUILDS[name] as RealBuild).effects) {
    const { code, output } = await bench.run(effect, imageOf(name));
    if (!effect.prints.test(output))
      return `${JSON.stringify(effect.command)} printed ${JSON.stringify(output)} (exit code ${code}), not ${effect.prints}`;
  }
  return null;
}

function imageOf(name: string): string {
  return `localhost/corpus/${name}`;
}

/** Makes a base or one of REAL_BUILDS, and before that what it is based on; once. */
function make(bench: Bench, name: string): Promise<void> {
  const running =
    bench.made.get(name) ?? (name in REAL_BUILDS ? makeBuild(bench, name) : makeBase(bench, name));
  bench.made.set(name, running);
  return running;
}

async function makeBase(bench: Bench, name: string): Promise<void> {
  const file = join(REAL, "bases", `${name}.Dockerfile`);
  if (!existsSync(file)) throw new Error(`there is no base ${name}`);
  if (name !== "debian") await make(bench, "debian");
  const context = bench.copy("", `base-${name}`);
  cpSync(file, join(context, "Dockerfile"));
  if (name === "debian") cpSync(bench.rootfs, join(context, "rootfs.tar"));
  const base = name === "debian" ? [] : contextFlags({ debian: "debian" });
  await bench.build(["-t", imageOf(name), ...base, "."], context);
}

async function makeBuild(bench: Bench, name: string): Promise<void> {
  const { bases, options = [], context: from = name } = REAL_BUILDS[name] as RealBuild;
  for (const base of new Set(Object.values(bases))) await make(bench, base);
  const context = bench.copy(join(REAL, "contexts", from), name);
  const dockerfile = join(context, "Dockerfile");
  if (!existsSync(dockerfile)) cpSync(join(CORPUS, from, "Dockerfile"), dockerfile);
  if (name === "scratch-files") cpSync(compressed(bench.rootfs), join(context, "rootfs.tar.xz"));
  await bench.build(["-t", imageOf(name), ...contextFlags(bases), ...options, "."], context);
}

/** The tar by xz, once. */
function compressed(rootfs: string): string {
  const file = `${rootfs}.xz`;
  if (!existsSync(file)) execFileSync("xz", ["-0", "--keep", "--threads=0", rootfs]);
  return file;
}

function contextFlags(bases: RealBuild["bases"]): string[] {
  return Object.entries(bases).flatMap(([image, base]) => [
    "--build-context",
    `${image}=docker-image://${imageOf(base)}`,
  ]);
}
