// The image that drivers start in place of BuildKit's: examples/worker-image, built by tsbuild itself from files of this machine.

import assert from "node:assert/strict";
import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { buildxProgram } from "../support/buildx.ts";
import { BASE, sh } from "../support/daemon.ts";
import { needs } from "../support/needs.ts";
import { itAsMachineRoot } from "../support/privileges.ts";
import { projectDir } from "../support/project.ts";

const run = promisify(execFile);

/** What buildx's docker-container driver gives the image as its command. */
const ARGS = ["--config", "/etc/buildkit/buildkitd.toml", "--allow-insecure-entitlement=network.host"];

describe("the worker image", function () {
  this.timeout(120_000);
  let shop: Workshop;
  before(async () => {
    shop = await openWorkshop();
    const env = { ...process.env, TSBUILD_ROOT: shop.root };
    const script = join(projectDir, "examples/worker-image/build.sh");
    await run(script, ["--machine-base", "worker", "-q"], { env });
  });
  after(() => shop[Symbol.dispose]());

  it("has the daemon as its entry point, a buildctl that finds it, and directories for configuration and state", async () => {
    const { Config } =
      (
        JSON.parse((await shop.ok(["inspect", "worker"])).stdout) as { Config: Record<string, unknown> }[]
      )[0] ?? {};
    assert.deepEqual(Config?.["Entrypoint"], ["buildkitd"]);
    assert.deepEqual(Config?.["Volumes"], { "/var/lib/buildkit": {} });
    const script = [
      "set -e; echo 'debug = true' > /etc/buildkit/buildkitd.toml",
      `buildkitd ${ARGS.join(" ")} & daemon=$!`,
      "buildctl --wait --timeout 20 debug workers > /dev/null; echo answers $?",
      "buildctl debug info; ls /var/lib/buildkit/version",
      "kill $daemon; wait $daemon; echo ended $?; buildkitd --version | wc -w",
      'buildctl debug workers 2> /dev/null || echo "nobody: $?"',
    ];
    const { stdout } = await shop.ok([
      "run",
      "--rm",
      "--entrypoint",
      "sh",
      "worker",
      "-c",
      script.join("\n"),
    ]);
    assert.match(
      stdout,
      /^answers 0\nBuildKit:\ttsbuild v\S+\n\/var\/lib\/buildkit\/version\nended 0\n *4\nnobody: 1\n$/,
    );
  });

  // Privileged, as drivers start it: the machine's root alone can give that.
  itAsMachineRoot(
    "builds in a privileged container, for a client that reaches it by dial-stdio",
    async () => {
      const [layout, bundle, state] = ["layout", "bundle", "state"].map((name) => shop.at(name)) as [
        string,
        string,
        string,
      ];
      const from = shop.context("from", { Dockerfile: "FROM worker\n" });
      await shop.ok(["build", "-q", "-t", "x:1", "-o", `type=oci,tar=false,dest=${layout}`, from]);
      execFileSync(needs("umoci"), ["unpack", "--image", `${layout}:1`, bundle], { stdio: "pipe" });
      mkdirSync(state);
      makePrivileged(bundle, state);
      // The driver puts its configuration there before the start.
      writeFileSync(join(bundle, "rootfs/etc/buildkit/buildkitd.toml"), "debug = true\n");
      const runc = needs("runc");
      const name = `tsbuild-test-${process.pid}`;
      const runcRoot = shop.at("runc");
      const container = spawn(runc, ["--root", runcRoot, "run", "--bundle", bundle, name], {
        stdio: ["ignore", "ignore", "pipe"],
      });
      let log = "";
      container.stderr.setEncoding("utf8").on("data", (text: string) => (log += text));
      const ended = once(container, "close");
      try {
        for (let tries = 0; tries < 200 && !/listens on/.test(log) && container.exitCode === null; tries++)
          await delay(50);
        await run(runc, ["--root", runcRoot, "exec", name, "buildctl", "debug", "workers"]);
        const home = shop.context("home", {
          ssh: `#!/bin/sh\nwhile [ "$1" != buildctl ]; do shift; done\nexec ${runc} --root ${runcRoot} exec ${name} "$@"\n`,
        });
        chmodSync(join(home, "ssh"), 0o755);
        const env = { PATH: `${home}:${process.env.PATH}`, HOME: home, DOCKER_CONFIG: home };
        const buildx = (...args: string[]) => shop.run(args, { command: [buildxProgram()], env });
        assert.equal(
          (await buildx("create", "--name", "in", "--driver", "remote", "ssh://in@container")).code,
          0,
        );
        const dir = shop.context("built", { Dockerfile: `${BASE}${sh("echo from the inside > /made")}` });
        execFileSync("cp", [needs("busybox"), dir]);
        const out = shop.at("out");
        const { code, stderr } = await buildx("--builder", "in", "build", "--progress=plain", "-o", out, dir);
        assert.equal(code, 0, stderr);
        assert.equal(readFileSync(join(out, "made"), "utf8"), "from the inside\n");
        assert.ok(existsSync(join(state, "version")), "state is in the volume");
      } finally {
        execFileSync(runc, ["--root", runcRoot, "kill", name, "TERM"]);
        assert.deepEqual(await ended, [0, null], log);
        assert.match(log, /buildkitd ends/);
      }
    },
  );
});

/** Capabilities by their numbers, capabilities(7). */
const CAPABILITIES =
  `CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
  NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE
  SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP`.split(/\s+/);

/** Changes the bundle to what `docker run --privileged` makes of an image: all rights, nothing masked, the volume, the driver's command. */
function makePrivileged(bundle: string, state: string): void {
  const path = join(bundle, "config.json");
  const config = JSON.parse(readFileSync(path, "utf8")) as {
    process: Record<string, unknown>;
    root: { readonly: boolean };
    mounts: { destination: string; type: string; source: string; options?: string[] }[];
    linux: { namespaces: { type: string }[] } & Record<string, unknown>;
  };
  const bounding = BigInt(
    `0x${/CapBnd:\s+(\w+)/.exec(readFileSync("/proc/self/status", "latin1"))?.[1] ?? "0"}`,
  );
  const all = CAPABILITIES.filter((_, index) => (bounding >> BigInt(index)) & 1n).map(
    (name) => `CAP_${name}`,
  );
  Object.assign(config.process, {
    ...{ terminal: false, noNewPrivileges: false, args: ["buildkitd", ...ARGS] },
    capabilities: { bounding: all, effective: all, permitted: all },
  });
  config.root.readonly = false;
  for (const key of ["seccomp", "maskedPaths", "readonlyPaths", "resources", "cgroupsPath"])
    delete config.linux[key];
  // The machine's network: what a step's network is made of is not what is looked at.
  config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "network");
  config.mounts = config.mounts
    .filter(({ type, destination }) => type !== "cgroup" && destination !== "/var/lib/buildkit")
    .map((mount) =>
      mount.type === "sysfs"
        ? { ...mount, options: mount.options?.filter((one) => one !== "ro") ?? [] }
        : mount,
    );
  config.mounts.push({
    destination: "/var/lib/buildkit",
    type: "bind",
    source: state,
    options: ["rbind", "rw"],
  });
  writeFileSync(path, JSON.stringify(config));
}
