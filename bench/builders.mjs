// The builders that are compared: tsbuild, an older checkout of it, and the peers this machine has. Each has commands by output:
//
//   none      the result stays in the builder's cache
//   image     stored under a name in the builder
//   oci, zstd an OCI archive with layers in that compression (gzip)
//   push      sent to a registry
//
// and `fresh()`, which gives it an empty store that the next command finds. Stores that were used are deleted when all is over: on many file
// systems creating files is slow right after a mass delete, and that would be measured.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { openGroup, within } from "./measure.mjs";
import { searchPath } from "./support.mjs";

const STARTED_MS = 20_000;

/** Path of a program, or null. */
export function find(name) {
  const found = spawnSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8", env: { PATH: searchPath } });
  return found.status === 0 ? found.stdout.trim() : null;
}

/** The environment of all commands. Extra authorities cost Node 30 ms a start and are of no use here. */
function environment(more = {}) {
  const { NODE_EXTRA_CA_CERTS: _, ...rest } = process.env;
  return { ...rest, PATH: searchPath, ...more };
}

/** `checkout`: where it was built. `user`: whose name it runs under; null: the caller. */
export function tsbuild(name, checkout, { stores, user }) {
  let store = "";
  let count = 0;
  const command = (flags, { context, tag }) => [
    ...[process.execPath, join(checkout, "dist/bin/tsbuild.cjs"), "build", "--root", store],
    ...["--network=host", "--progress=plain", ...(tag === null ? [] : ["-t", tag]), ...flags, context],
  ];
  return {
    name,
    user,
    env: environment(),
    fresh() {
      store = join(stores, `${name}-${count++}`);
      mkdirSync(store);
      if (user !== null) spawnSync("chown", [user, store]);
    },
    commands: {
      none: (job) => command(["-o", "type=cacheonly"], { ...job, tag: null }),
      image: (job) => command([], job),
      oci: (job) => command(["-o", `type=oci,dest=${job.file}`], job),
      zstd: (job) => command(["-o", `type=oci,dest=${job.file},compression=zstd`], job),
      push: (job) => command(["--push"], job),
    },
    close: async () => {},
  };
}

/** buildah with its cache, the overlay driver and `--isolation chroot`, its fastest. */
export function buildah({ stores }) {
  const program = find("buildah");
  if (program === null) return null;
  let store = "";
  let count = 0;
  const base = () => [program, "--root", join(store, "root"), "--runroot", join(store, "run"), "--storage-driver", "overlay"];
  const build = ({ context, tag }) => [
    ...[...base(), "bud", "--layers", "--jobs", "8", "--isolation", "chroot", "--network", "host", "--tls-verify=false"],
    ...["-t", tag, context],
  ];
  const then = (job, push) => ["sh", "-c", `${quoted(build(job))} && ${quoted([...base(), "push", ...push])}`];
  return {
    name: "buildah",
    user: null,
    env: environment(),
    fresh() {
      store = join(stores, `buildah-${count++}`);
      mkdirSync(store);
    },
    commands: {
      none: build,
      image: build,
      oci: (job) => then(job, [job.tag, `oci-archive:${job.file}`]),
      zstd: (job) => then(job, ["--compression-format", "zstd", job.tag, `oci-archive:${job.file}`]),
      push: (job) => then(job, ["--tls-verify=false", job.tag, `docker://${job.tag}`]),
    },
    close: async () => {},
  };
}

/** buildkitd with buildctl. */
export function buildkit({ stores }) {
  const [daemon, client, runc] = [find("buildkitd"), find("buildctl"), find("runc") ?? find("crun")];
  if (daemon === null || client === null || runc === null || process.getuid?.() !== 0) return null;
  const build = (socket, { context }, output) => [
    ...[client, "--addr", `unix://${socket}`, "build", "--progress=plain", "--frontend", "dockerfile.v0"],
    ...["--local", `context=${context}`, "--local", `dockerfile=${context}`, ...output],
  ];
  return ofDaemon("buildkit", stores, {
    start: (state, socket) => [
      ...[daemon, "--addr", `unix://${socket}`, "--root", join(state, "root"), "--config", join(state, "none.toml")],
      ...["--oci-worker-binary", runc, "--oci-worker-gc=false", "--otel-socket-path", join(state, "otel.sock")],
    ],
    ready: (socket) => [client, "--addr", `unix://${socket}`, "debug", "workers"],
    commands: (socket) => ({
      none: (job) => build(socket, job, []),
      image: (job) => build(socket, job, ["--output", `type=image,name=${job.tag}`]),
      oci: (job) => build(socket, job, ["--output", `type=oci,dest=${job.file}`]),
      zstd: (job) => build(socket, job, ["--output", `type=oci,dest=${job.file},compression=zstd,force-compression=true`]),
      push: (job) => build(socket, job, ["--output", `type=image,name=${job.tag},push=true,registry.insecure=true`]),
    }),
  });
}

/** The BuildKit in dockerd, by docker's client. It writes no OCI archives. */
export function docker({ stores }) {
  const [daemon, client] = [find("dockerd"), find("docker")];
  if (daemon === null || client === null || process.getuid?.() !== 0) return null;
  const build = (socket, { context, tag }) => [client, "-H", `unix://${socket}`, "build", "--network=host", "-t", tag, context];
  return ofDaemon("docker", stores, {
    env: { DOCKER_BUILDKIT: "1", BUILDKIT_PROGRESS: "plain" },
    start: (state, socket) => [
      ...[daemon, "--iptables=false", "--bridge=none", "--data-root", join(state, "root"), "--exec-root", join(state, "exec")],
      ...["-H", `unix://${socket}`, "-p", join(state, "pid")],
    ],
    ready: (socket) => [client, "-H", `unix://${socket}`, "version"],
    commands: (socket) => ({
      none: (job) => build(socket, job),
      image: (job) => build(socket, job),
      push: (job) => ["sh", "-c", `${quoted(build(socket, job))} && ${quoted([client, "-H", `unix://${socket}`, "push", job.tag])}`],
    }),
  });
}

function ofDaemon(name, stores, { start, ready, commands, env = {} }) {
  const all = environment(env);
  let child = null;
  let count = 0;
  const builder = {
    name,
    user: null,
    env: all,
    daemon: undefined,
    commands: {},
    /** A daemon of its own, warm: that is how it is used. */
    async fresh() {
      await this.close();
      const state = join(stores, `${name}-${count++}`);
      mkdirSync(state);
      writeFileSync(join(state, "none.toml"), "");
      const socket = join(state, "socket");
      builder.commands = commands(socket);
      builder.daemon = openGroup(name);
      const log = openSync(join(state, "log"), "w");
      const [command, ...args] = within(builder.daemon, start(state, socket));
      child = spawn(command, args, { env: all, stdio: ["ignore", log, log] });
      const [probe, ...how] = ready(socket);
      for (let waited = 0; ; waited += 50) {
        if (existsSync(socket) && spawnSync(probe, how, { env: all, stdio: "ignore" }).status === 0) return;
        if (waited > STARTED_MS || child.exitCode !== null) throw new Error(`${name} does not start: see ${state}/log`);
        await sleep(50);
      }
    },
    async close() {
      if (child === null) return;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      await ended;
      child = null;
      builder.daemon.close();
    },
  };
  return builder;
}

function quoted(argv) {
  return argv.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
}
