// Headline figures of tsbuild compared with buildah on this machine: the same inputs, runs interleaved (A B A B ...), medians and ratios.
//
//   npm run bench                    all workloads, 5 rounds
//   npm run bench -- context 3       workloads whose name contains "context", 3 rounds
//
// Both start with their own store in a temporary directory. buildah runs with `--layers` (its cache), its overlay driver and
// `--isolation chroot`, its fastest; tsbuild with default flags.

import { execFileSync } from "node:child_process";
import { appendFileSync, chmodSync, copyFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { cpus, release } from "node:os";
import { dirname, join } from "node:path";
import { median, programPath, project, workDirectory } from "./support.mjs";

const args = process.argv.slice(2);
const only = args.find((arg) => !/^\d+$/.test(arg)) ?? "";
const count = Number(args.find((arg) => /^\d+$/.test(arg)) ?? 5);

const buildah = programPath("buildah", "buildah");
const busybox = programPath("busybox", "busybox-static");

const work = workDirectory();

/** name → { build(context, tag), archive(context, tag, file) } as command lines. */
const builders = {
  tsbuild: {
    build: (context, tag) => [process.execPath, join(project, "dist/bin/tsbuild.cjs"), "build", "-q", "-t", tag, context],
    archive: (context, tag, file) => [
      ...[process.execPath, join(project, "dist/bin/tsbuild.cjs"), "build", "-q", "-t", tag],
      ...["-o", `type=oci,dest=${file}`, context],
    ],
    store: "tsbuild-store",
  },
  buildah: {
    build: (context, tag) => [buildah, ...buildahStore(), "bud", "-q", "--layers", "--isolation", "chroot", "-t", tag, context],
    archive: (context, tag, file) => [
      "sh",
      "-c",
      'tag=$1 file=$2; shift 2; "$@" bud -q --layers --isolation chroot -t "$tag" "$CONTEXT" && rm -f "$file" && "$@" push -q "$tag" "oci-archive:$file"',
      ...["sh", tag, file, buildah, ...buildahStore()],
    ],
    store: "buildah-store",
  },
};

function buildahStore() {
  return ["--root", join(work, "buildah-store"), "--runroot", join(work, "buildah-run"), "--storage-driver", "overlay"];
}

function run(command, context) {
  const started = performance.now();
  execFileSync(command[0], command.slice(1), {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, TSBUILD_ROOT: join(work, "tsbuild-store"), CONTEXT: context },
  });
  return performance.now() - started;
}

function context(name, files) {
  const dir = join(work, name);
  mkdirSync(dir, { recursive: true });
  for (const [file, data] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, file)), { recursive: true });
    writeFileSync(join(dir, file), data);
  }
  return dir;
}

function makeBase() {
  const dir = context("base", { Dockerfile: "FROM scratch\nCOPY rootfs/ /\nENV PATH=/bin\n", "rootfs/etc/passwd": "root:x:0:0::/:/bin/sh\n" });
  mkdirSync(join(dir, "rootfs/bin"));
  mkdirSync(join(dir, "rootfs/tmp"));
  copyFileSync(busybox, join(dir, "rootfs/bin/busybox"));
  chmodSync(join(dir, "rootfs/bin/busybox"), 0o755);
  for (const name of ["sh", "true", "cat", "echo", "ls", "mkdir", "cp"]) symlinkSync("busybox", join(dir, "rootfs/bin", name));
  for (const builder of Object.values(builders)) run(builder.build(dir, "localhost/bench-base"), dir);
}

const STAGES = `FROM localhost/bench-base AS build
WORKDIR /src
COPY . .
RUN cat main.txt > /out
FROM localhost/bench-base
COPY --from=build /out /out
CMD ["cat", "/out"]
`;

function manyFiles() {
  const files = { Dockerfile: "FROM localhost/bench-base\nCOPY . /files\n" };
  for (let n = 0; n < 5000; n++) files[`d${n % 100}/f${n}`] = randomBytes(600).toString("base64");
  for (let n = 0; n < 8; n++) files[`big${n}`] = randomBytes(8 << 20);
  return context("files", files);
}

/** Each: set up once, then for each round and builder `before` (untimed) and the timed command. */
const workloads = [
  {
    name: "two stages, all cached",
    prepare: () => {
      const dir = context("cached", { Dockerfile: STAGES, "main.txt": "hello\n" });
      for (const builder of Object.values(builders)) run(builder.build(dir, "cached"), dir);
      return dir;
    },
  },
  {
    name: "one changed file and what follows it",
    prepare: () => context("changed", { Dockerfile: STAGES, "main.txt": "hello\n" }),
    before: (dir) => writeFileSync(join(dir, "main.txt"), randomBytes(8).toString("hex")),
  },
  {
    name: "one more RUN true",
    prepare: () => {
      const dir = context("more", { Dockerfile: "FROM localhost/bench-base\nRUN true\n" });
      for (const builder of Object.values(builders)) run(builder.build(dir, "more"), dir);
      return dir;
    },
    before: (dir) => appendFileSync(join(dir, "Dockerfile"), "RUN true\n"),
  },
  {
    name: "context of 5,000 files and 64 MB, nothing cached",
    prepare: manyFiles,
    // a changed base line makes the copy new for both; the stat cache of tsbuild stays, as in real use
    before: (dir) => writeFileSync(join(dir, "Dockerfile"), `FROM localhost/bench-base\nCOPY . /files${randomBytes(4).toString("hex")}\n`),
  },
  {
    name: "context of 5,000 files and 64 MB, unchanged",
    prepare: () => {
      const dir = manyFiles();
      for (const builder of Object.values(builders)) run(builder.build(dir, "files"), dir);
      return dir;
    },
  },
  {
    name: "100 MB layer to an OCI archive (gzip)",
    prepare: () => context("layer", {}),
    before: (dir) => {
      const text = randomBytes(1 << 20).toString("base64"); // compresses a little, as layers do
      for (let n = 0; n < 75; n++) writeFileSync(join(dir, `part${n}`), text.slice(n * 1000) + text.slice(0, n * 1000));
      writeFileSync(join(dir, "Dockerfile"), `FROM localhost/bench-base\nCOPY part* /${randomBytes(4).toString("hex")}/\n`);
    },
    archive: true,
  },
];

console.log(`${cpus().length} x ${cpus()[0]?.model ?? "CPU"}, Linux ${release()}, Node ${process.version}, ${execFileSync(buildah, ["--version"], { encoding: "utf8" }).trim()}`);
console.log(`${count} rounds, interleaved; medians in seconds\n`);
makeBase();
console.log(`${"".padEnd(52)}${"tsbuild".padStart(9)}${"buildah".padStart(9)}  ratio`);
for (const { name, prepare, before, archive } of workloads.filter((workload) => workload.name.includes(only))) {
  const dir = prepare();
  const times = { tsbuild: [], buildah: [] };
  for (let round = 0; round < count; round++) {
    before?.(dir);
    for (const [builder, commands] of Object.entries(builders)) {
      const file = join(work, `${builder}.tar`);
      rmSync(file, { force: true });
      const command = archive ? commands.archive(dir, "bench", file) : commands.build(dir, "bench");
      times[builder].push(run(command, dir) / 1000);
    }
  }
  const [ours, theirs] = [median(times.tsbuild), median(times.buildah)];
  console.log(`${name.padEnd(52)}${ours.toFixed(3).padStart(9)}${theirs.toFixed(3).padStart(9)}  ${(theirs / ours).toFixed(1)}`);
}
