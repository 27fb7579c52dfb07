// A keeper with a small root file system (busybox and the launcher), for tests that run real steps.

import assert from "node:assert/strict";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { execFileSync } from "node:child_process";
import type { ExecControl } from "../../worker/keeper/contract.ts";
import { type Keeper, startKeeper } from "../../worker/keeper/keeper.ts";
import type { ExecJob, ExecOutcome } from "../../worker/keeper/messages.ts";
import type { NetworkHelper } from "../../worker/keeper/network-helper.ts";
import { findIdMaps, findProgram, type IdMaps } from "../../worker/keeper/userns.ts";
import { launcherElf } from "../../worker/launcher/elf.ts";
import { launcherArch } from "../../worker/launcher/install.ts";
import { findOciRuntime } from "../../worker/sandbox/oci-runtime.ts";
import { openProgram, type Program } from "../../worker/launcher/program.ts";
import { removeTree } from "../support/store.ts";

export const PATH: string = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin:/usr/bin:/bin`;

export interface StepResult extends ExecOutcome {
  readonly out: string;
  readonly err: string;
  /** The layer the step wrote. */
  readonly upper: string;
}
export interface StepOptions extends Partial<Omit<ExecJob, "rootfs" | "args">> {
  readonly signal?: AbortSignal;
  readonly onStart?: (control: ExecControl) => void;
  readonly onOutput?: (data: Uint8Array) => void;
  /** More layers above the base, oldest first. */
  readonly layers?: readonly string[];
  readonly readonlyRoot?: boolean;
}
export interface SandboxUnderTest extends AsyncDisposable {
  readonly keeper: Keeper;
  readonly maps: IdMaps;
  readonly store: string;
  /** Directory of the root file system's only layer. */
  readonly base: string;
  run(args: readonly string[], options?: StepOptions): Promise<StepResult>;
  /** A shell script. */
  sh(script: string, options?: StepOptions): Promise<StepResult>;
  /** Makes system calls inside a step; for each: 0, or the name-less errno it failed with. */
  calls(
    calls: readonly ((program: Program) => void)[],
    options?: StepOptions & { readonly command?: string },
  ): Promise<number[]>;
  /** An empty layer directory to be filled. */
  layer(): string;
}

/** Starts a keeper for the user this process runs as. Fails in words when the machine lacks what it takes. */
export async function openSandboxUnderTest(
  options: {
    readonly network?: NetworkHelper;
    readonly networkAhead?: boolean;
    readonly maps?: IdMaps;
    /** Name or path of an OCI runtime the steps run in; left out: the built-in sandbox. */
    readonly ociRuntime?: string;
    readonly successor?: () => Keeper;
  } = {},
): Promise<SandboxUnderTest> {
  const busybox = findProgram("busybox", PATH);
  assert.ok(busybox !== null, "these tests need a statically linked busybox: apt-get install busybox-static");
  const store = mkdtempSync(join(tmpdir(), "tsbuild-sandbox-"));
  const base = join(store, "layers", "base");
  for (const dir of ["bin", "etc", "tmp", "root", "proc", "sys", "dev"])
    mkdirSync(join(base, dir), { recursive: true });
  chmodSync(base, 0o755);
  chmodSync(join(base, "tmp"), 0o1777);
  copyFileSync(busybox, join(base, "bin/busybox"));
  chmodSync(join(base, "bin/busybox"), 0o755);
  for (const name of execFileSync(busybox, ["--list"], { encoding: "utf8" }).trim().split("\n")) {
    if (name !== "busybox") symlinkSync("busybox", join(base, "bin", name));
  }
  writeFileSync(join(base, "bin/calls"), launcherElf(launcherArch()), { mode: 0o755 });
  writeFileSync(join(base, "etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n");
  writeFileSync(join(base, "etc/group"), "root:x:0:\napp:x:1000:\nextra:x:2000:app\n");

  const user = userInfo();
  const maps = options.maps ?? findIdMaps({ uid: user.uid, gid: user.gid, name: user.username }, PATH);
  const keeper = startKeeper({
    storeDir: store,
    maps,
    path: PATH,
    env: { PATH },
    network: options.network ?? { kind: "none", why: "" },
    networkAhead: options.networkAhead ?? false,
    ociRuntime: options.ociRuntime === undefined ? null : await findOciRuntime(options.ociRuntime, PATH),
    ...(options.successor === undefined ? {} : { successor: options.successor }),
  });
  await keeper.ready({ signal: new AbortController().signal });
  let count = 0;

  const run: SandboxUnderTest["run"] = async (args, step = {}) => {
    count += 1;
    const active = join(store, "active", String(count));
    mkdirSync(join(active, "fs"), { recursive: true });
    mkdirSync(join(active, "work"));
    const { signal, onStart, onOutput, layers = [], readonlyRoot = false, ...job } = step;
    const said = { 1: [] as Uint8Array[], 2: [] as Uint8Array[] };
    const outcome = await keeper.exec(
      {
        rootfs: {
          dirs: [base, ...layers],
          upper: join(active, "fs"),
          work: join(active, "work"),
          readonly: readonlyRoot,
        },
        args,
        env: ["PATH=/bin"],
        cwd: "/",
        user: "",
        hostname: "buildkitsandbox",
        extraHosts: [],
        resolvConf: "",
        network: "none",
        security: "sandbox",
        mounts: [],
        rlimits: [],
        processes: null,
        tty: null,
        stdin: false,
        devices: [],
        ...job,
      },
      {
        signal: signal ?? new AbortController().signal,
        onOutput: (fd, data) => {
          said[fd].push(data);
          onOutput?.(data);
        },
        ...(onStart === undefined ? {} : { onStart }),
      },
    );
    return {
      ...outcome,
      out: Buffer.concat(said[1]).toString(),
      err: Buffer.concat(said[2]).toString(),
      upper: join(active, "fs"),
    };
  };
  return {
    keeper,
    maps,
    store,
    base,
    run,
    sh: (script, step) => run(["/bin/sh", "-c", script], step),
    async calls(calls, { command = "/bin/calls", ...step } = {}) {
      const program = openProgram(launcherArch(), 1);
      const results = new Uint8Array(calls.length * 8);
      calls.forEach((add, index) => add(storing(program, results, index * 8)));
      program.call("write", [1, results, results.length]);
      program.call("exit_group", [0]);
      const { bytes } = program.assemble();
      const chunks: Uint8Array[] = [];
      await run([command], {
        ...step,
        stdin: true,
        onStart(control) {
          control.stdin(bytes);
          control.stdin(null);
        },
        onOutput: (data) => chunks.push(data),
      });
      return decode(Buffer.concat(chunks), calls.length);
    },
    layer() {
      count += 1;
      const dir = join(store, "layers", `l${count}`);
      mkdirSync(dir, { recursive: true });
      return dir;
    },
    async [Symbol.asyncDispose]() {
      if (existsSync(store)) {
        // Files of subordinate owners and overlay's closed directories: only the keeper may remove them.
        const paths = readdirSync(store)
          .filter((name) => name !== "bin")
          .map((name) => join(store, name));
        await keeper.run({ kind: "remove", paths }, { signal: new AbortController().signal });
      }
      await keeper[Symbol.asyncDispose]();
      removeTree(store);
    },
  };
}

function storing(program: Program, results: Uint8Array, offset: number): Program {
  return {
    ...program,
    call: (name, args, options) =>
      program.call(name, args, { onError: "ignore", storeAt: { of: results, offset }, ...options }),
  };
}

function decode(bytes: Buffer, count: number): number[] {
  assert.equal(bytes.length, count * 8, "the calls were not made");
  return Array.from({ length: count }, (_, index) => {
    const value = bytes.readBigInt64LE(index * 8);
    return value < 0n ? Number(-value) : 0;
  });
}
