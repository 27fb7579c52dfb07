// Tests what builds can do on this machine: starts a keeper, and runs steps in it whose command is our own launcher.
// No image, shell or external network is needed.

import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cleanUpSignal } from "../solver/graph/scope.ts";
import { type Keeper, startKeeper } from "./keeper/keeper.ts";
import type { ExecJob, OtherNetwork } from "./keeper/messages.ts";
import type { NetworkHelper } from "./keeper/network-helper.ts";
import { findProgram, type IdMaps } from "./keeper/userns.ts";
import { type LauncherArch, launcherElf } from "./launcher/elf.ts";
import { launcherArch } from "./launcher/install.ts";
import { openProgram } from "./launcher/program.ts";
import { findOciRuntime, type OciRuntime } from "./sandbox/oci-runtime.ts";
import type { Store } from "../cache/contract.ts";

/** How one try ended: null when it worked, else why not. */
export type Tried = { readonly worked: true } | { readonly worked: false; readonly why: string };

export type NetworkTried = { readonly kind: "helper" } | OtherNetwork;

class AnotherNetwork extends Error {
  override readonly name = "AnotherNetwork";
  readonly found: OtherNetwork;
  constructor(found: OtherNetwork) {
    super(found.why);
    this.found = found;
  }
}

export interface MachineTried {
  /** Namespaces with the ids this user should have. */
  readonly keeper: Tried;
  /** Namespaces with one id only, where those with more failed; null: not tried. */
  readonly singleKeeper: Tried | null;
  /** A step on stacked layers, as every RUN is. The others are null where there was no keeper. */
  readonly step: Tried | null;
  /** A step without overlayfs, where the one with it failed. */
  readonly stepWithoutOverlay: Tried | null;
  /** Was a system-call filter on? */
  readonly filter: Tried | null;
  /** A step of another user than root, where there are other ids. */
  readonly otherUser: Tried | null;
  /** A step in a network of its own. */
  readonly network: NetworkTried | null;
  /** A program of the other architecture we have a launcher for, where it may run. */
  readonly emulator: Tried | null;
}

export interface TryOptions {
  readonly store: Store;
  readonly maps: IdMaps;
  readonly path: string;
  readonly network: NetworkHelper;
  /** May programs of the other launcher's architecture run here? */
  readonly emulator: boolean;
  readonly signal: AbortSignal;
}

const PR_GET_SECCOMP = 21;
/** Exit code of the tried program when no filter is on; 0 when there is one. */
const NO_FILTER = 3;

const WORKED: Tried = { worked: true };
const failed = (error: unknown): Extract<Tried, { worked: false }> => ({
  worked: false,
  why: error instanceof Error ? error.message : String(error),
});

/** Tries it all; a second or less. Throws only when aborted. */
export async function tryMachine(options: TryOptions): Promise<MachineTried> {
  const nothing = {
    singleKeeper: null,
    step: null,
    stepWithoutOverlay: null,
    filter: null,
    otherUser: null,
    network: null,
    emulator: null,
  };
  const { keeper: first, tried } = await tryKeeper(options, options.maps);
  if (first !== null) {
    await using keeper = first;
    return { ...nothing, keeper: tried, ...(await trySteps(keeper, options)) };
  }
  if (options.maps.kind !== "subids") return { ...nothing, keeper: tried };
  const [own] = options.maps.uids;
  const [group] = options.maps.gids;
  const single: IdMaps = {
    kind: "single",
    uids: own === undefined ? [] : [own],
    gids: group === undefined ? [] : [group],
    why: "",
  };
  const second = await tryKeeper(options, single);
  if (second.keeper === null) return { ...nothing, keeper: tried, singleKeeper: second.tried };
  await using keeper = second.keeper;
  return { ...nothing, keeper: tried, singleKeeper: second.tried, ...(await trySteps(keeper, options)) };
}

async function tryKeeper(
  options: TryOptions,
  maps: IdMaps,
  ociRuntime: OciRuntime | null = null,
): Promise<{ keeper: Keeper | null; tried: Tried }> {
  let keeper: Keeper | null = null;
  try {
    keeper = startKeeper({
      storeDir: options.store.dir,
      maps,
      path: options.path,
      env: { PATH: options.path },
      network: options.network,
      ociRuntime,
    });
    await keeper.ready({ signal: options.signal });
    return { keeper, tried: WORKED };
  } catch (error) {
    await keeper?.[Symbol.asyncDispose]();
    options.signal.throwIfAborted();
    return { keeper: null, tried: failed(error) };
  }
}

/** Runs the launcher as a step's command; returns its exit code. Throws when it did not do what was wanted. */
type TryStep = (change: Partial<ExecJob> & { readonly layers?: readonly string[] }) => Promise<number>;

/** Gives `work` steps of this keeper. Nothing of them is left in the store. */
async function withSteps<T>(
  keeper: Keeper,
  options: TryOptions,
  work: (step: TryStep) => Promise<T>,
): Promise<T> {
  try {
    return await withLayers(keeper, options, work);
  } finally {
    // overlayfs closes its work directory to everybody but the keeper.
    const paths = options.store.layers.discarded();
    if (paths.length > 0)
      await keeper.run({ kind: "remove", paths }, { signal: cleanUpSignal(options.signal) });
  }
}

async function withLayers<T>(
  keeper: Keeper,
  options: TryOptions,
  work: (step: TryStep) => Promise<T>,
): Promise<T> {
  const { store, signal } = options;
  // Two layers: one alone would be a plain bind mount.
  await using lower = store.layers.prepare();
  await using second = store.layers.prepare();
  const arch = launcherArch();
  const other: LauncherArch = arch === "x64" ? "arm64" : "x64";
  for (const [name, machine] of [
    ["try", arch],
    ["try-other", other],
  ] as const) {
    writeFileSync(join(lower.upper, name), launcherElf(machine));
    chmodSync(join(lower.upper, name), 0o755); // whatever the umask is
  }
  chmodSync(lower.upper, 0o755);
  return await work(async (change) => {
    await using active = store.layers.prepare();
    const { layers = [lower.upper, second.upper], ...job } = change;
    if (layers.length === 0) {
      writeFileSync(join(active.upper, "try"), launcherElf(arch));
      chmodSync(join(active.upper, "try"), 0o755);
    }
    const { code, otherNetwork } = await keeper.exec(
      { ...PLAIN, rootfs: { dirs: layers, upper: active.upper, work: active.work, readonly: false }, ...job },
      {
        signal,
        onOutput: () => {},
        onStart(control) {
          control.stdin(program(job.args === PLAIN_OTHER ? other : arch));
          control.stdin(null);
        },
      },
    );
    if (otherNetwork !== undefined) throw new AnotherNetwork(otherNetwork);
    if (code !== 0 && code !== NO_FILTER)
      throw new Error(`the test program ended with ${code ?? "a signal"}`);
    return code;
  });
}

async function trySteps(
  keeper: Keeper,
  options: TryOptions,
): Promise<Omit<MachineTried, "keeper" | "singleKeeper">> {
  return withSteps(keeper, options, (step) => tryEach(step, keeper, options));
}

async function tryEach(
  step: TryStep,
  keeper: Keeper,
  options: TryOptions,
): Promise<Omit<MachineTried, "keeper" | "singleKeeper">> {
  const { signal } = options;
  const attempt = async (change: Parameters<TryStep>[0]): Promise<Tried> => {
    try {
      await step(change);
      return WORKED;
    } catch (error) {
      signal.throwIfAborted();
      return failed(error);
    }
  };

  const attemptNetwork = async (): Promise<NetworkTried> => {
    try {
      await step({ network: "sandbox" });
      return { kind: "helper" };
    } catch (error) {
      signal.throwIfAborted();
      return error instanceof AnotherNetwork ? error.found : { kind: "host", why: failed(error).why };
    }
  };

  let filter: Tried | null = null;
  let whole: Tried;
  try {
    const code = await step({});
    whole = WORKED;
    filter = code === 0 ? WORKED : { worked: false, why: "the step ran without a filter" };
  } catch (error) {
    signal.throwIfAborted();
    whole = failed(error);
  }
  if (!whole.worked) {
    return {
      step: whole,
      stepWithoutOverlay: await attempt({ layers: [] }),
      filter,
      otherUser: null,
      network: null,
      emulator: null,
    };
  }
  return {
    step: whole,
    stepWithoutOverlay: null,
    filter,
    otherUser: keeper.ids.kind === "single" ? null : await attempt({ user: "1:1" }),
    network: await attemptNetwork(),
    emulator: options.emulator ? await attempt({ args: PLAIN_OTHER }) : null,
  };
}

/** OCI runtimes by name, each with a step run in it. `names` that are not in PATH are left out. */
export async function tryRuntimes(
  names: readonly string[],
  options: TryOptions,
): Promise<readonly { readonly name: string; readonly tried: Tried }[]> {
  const results: { name: string; tried: Tried }[] = [];
  for (const name of names) {
    if (findProgram(name, options.path) === null) continue;
    try {
      const runtime = await findOciRuntime(name, options.path);
      const { keeper: started, tried } = await tryKeeper(options, options.maps, runtime);
      if (started === null) {
        results.push({ name, tried });
        continue;
      }
      await using keeper = started;
      await withSteps(keeper, options, (step) => step({}));
      results.push({ name, tried: WORKED });
    } catch (error) {
      options.signal.throwIfAborted();
      results.push({ name, tried: failed(error) });
    }
  }
  return results;
}

const PLAIN_OTHER: readonly string[] = ["/try-other"];
const PLAIN: Omit<ExecJob, "rootfs"> = {
  args: ["/try"],
  env: [],
  cwd: "/",
  user: "",
  hostname: "doctor",
  extraHosts: [],
  resolvConf: "",
  network: "none",
  security: "sandbox",
  mounts: [],
  rlimits: [],
  processes: null,
  tty: null,
  stdin: true,
  devices: [],
};

/** Ends with 0 under a system-call filter, with NO_FILTER without one. */
function program(arch: LauncherArch): Uint8Array {
  const calls = openProgram(arch, 1);
  const open = calls.label();
  calls.call("prctl", [PR_GET_SECCOMP, 0, 0, 0, 0], { onZero: open, onError: open });
  calls.call("exit_group", [0]);
  calls.here(open);
  calls.call("exit_group", [NO_FILTER]);
  return calls.assemble().bytes;
}
