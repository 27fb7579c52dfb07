// Wires store, worker, solver, frontend and exporters into an Engine; owns all limits on parallel work.
// Everything heavy is opened when it is first needed: a fully cached build never starts the keeper.

import { availableParallelism, userInfo } from "node:os";
import type { Measure } from "../cache/collect.ts";
import { openStore, type Store } from "../cache/store.ts";
import type { Registry } from "../cache/registry/client.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Credentials, Session } from "../solver/graph/request.ts";
import type { Limits } from "../solver/solver.ts";
import type { Keeper } from "../worker/keeper/keeper.ts";
import type { OciRuntime } from "../worker/sandbox/oci-runtime.ts";
import type { ProbeOptions } from "../worker/probe.ts";
import { type Config, type Engine, searchPath } from "./config.ts";
import { type ObjectCaches, openObjectCaches } from "./object-caches.ts";
import { openStoreSync } from "./store-sync.ts";

/** What the keeper is told of the user's environment besides PATH, where it is set. */
const KEEPER_ENV = ["NODE_DEBUG", "TSBUILD_WRITE_CODE_CACHE"];

/** What the parts of the engine share. */
export interface EngineParts {
  readonly config: Config;
  readonly store: Store;
  /** The one keeper, started by the first call; networkAhead as in startKeeper. */
  readonly keeper: (networkAhead?: boolean) => Keeper;
  /** What steps with the default network get: an own namespace where a helper connects it, else the host's. */
  readonly defaultNetwork: () => "sandbox" | "host";
  readonly registry: (session: Session) => Promise<Registry>;
  /** Build caches that are in no registry. */
  readonly objects: ObjectCaches;
  readonly limits: () => Promise<Limits>;
}

/** Opens the engine on the store of `config`. Throws STORE_UNUSABLE. */
export async function openEngine(config: Config): Promise<Engine> {
  const store = await openStore(config.root);
  const sync = openStoreSync(store);
  let keeper: Keeper | null = null;
  let startKeeper:
    | ((options: Parameters<typeof import("../worker/keeper/keeper.ts").startKeeper>[0]) => Keeper)
    | null = null;
  const helperPath = searchPath(config.env);
  let network: "sandbox" | "host" | null = null;
  let findNetworkHelper: typeof import("../worker/keeper/network-helper.ts").findNetworkHelper | null = null;
  let findIdMaps: typeof import("../worker/keeper/userns.ts").findIdMaps | null = null;
  const registries: Registry[] = [];
  const objects = openObjectCaches(config.env);
  let limits: Promise<Limits> | null = null;
  let ociRuntime: OciRuntime | null = null;

  const parts: EngineParts = {
    config,
    store,
    objects,
    keeper(networkAhead = false) {
      if (keeper !== null) return keeper;
      if (startKeeper === null || findIdMaps === null)
        throw new Error("the keeper is asked for before it is loaded");
      const path = config.env.PATH ?? "";
      keeper = startKeeper({
        storeDir: store.dir,
        maps: findIdMaps(caller(), helperPath),
        path: helperPath,
        ociRuntime,
        networkAhead,
        env: {
          PATH: path,
          ...Object.fromEntries(
            KEEPER_ENV.map((name) => [name, config.env[name] ?? ""]).filter(([, value]) => value !== ""),
          ),
        },
      });
      const started = keeper;
      started.ready().then(
        () => sync.begin(started),
        () => {}, // told to whoever gives it a job
      );
      return keeper;
    },
    defaultNetwork() {
      if (findNetworkHelper === null) throw new Error("the network helper is asked for before it is loaded");
      network ??= findNetworkHelper(helperPath).kind === "none" ? "host" : "sandbox";
      return network;
    },
    async registry(session) {
      const [{ openRegistry }, { proxyFromEnvironment }, { hostCertificates }] = await Promise.all([
        import("../cache/registry/client.ts"),
        import("../cache/registry/proxy.ts"),
        import("../cache/registry/certificates.ts"),
      ]);
      const registry = openRegistry({
        credentials: (host): Promise<Credentials | null> => session.credentials(host),
        proxyFor: proxyFromEnvironment(config.env),
        certificates: hostCertificates(["/etc/docker/certs.d", "/etc/containers/certs.d"]),
        elsewhere: objects.elsewhere,
      });
      registries.push(registry);
      return registry;
    },
    limits() {
      limits ??= makeLimits();
      return limits;
    },
  };
  const loadKeeper = async (): Promise<void> => {
    ({ startKeeper } = await import("../worker/keeper/keeper.ts"));
    ({ findIdMaps } = await import("../worker/keeper/userns.ts"));
    ({ findNetworkHelper } = await import("../worker/keeper/network-helper.ts"));
  };

  /** Before the keeper is started: a runtime that is not there is told before any step runs. */
  const useRuntime = async (name: string | null): Promise<void> => {
    if (name === null) return;
    const { findOciRuntime } = await import("../worker/sandbox/oci-runtime.ts");
    ociRuntime = await findOciRuntime(name, helperPath);
  };

  const removeDirectories = async (paths: readonly string[]): Promise<void> => {
    if (paths.length === 0) return;
    await loadKeeper();
    await parts.keeper().run({ kind: "remove", paths });
  };

  const measure: Measure = async (paths) => {
    await loadKeeper();
    await parts.keeper().ready();
    const one = (dir: string): Promise<number | null> =>
      parts
        .keeper()
        .run({ kind: "measure", background: false, dir, earlier: [] })
        .then(
          ({ sizeBytes }) => sizeBytes,
          () => null, // a step that runs changes its cache mounts under our hands
        );
    return await Promise.all(paths.map(one));
  };

  const probed = (signal: AbortSignal): ProbeOptions => ({ store, user: caller(), path: helperPath, signal });
  /** A sandbox that did not start is explained by what this machine lacks. */
  const throwExplained =
    (signal: AbortSignal) =>
    async (error: unknown): Promise<never> => {
      if (!(error instanceof BuildError) || error.code !== "SANDBOX_UNAVAILABLE" || signal.aborted)
        throw error;
      const { withCause } = await import("../worker/probe.ts");
      throw await withCause(error, probed(signal));
    };

  return {
    store,
    async build(request, options) {
      const [{ runBuild }] = await Promise.all([
        import("./engine-build.ts"),
        loadKeeper(),
        useRuntime(request.ociRuntime),
      ]);
      const report = await runBuild(parts, request, options).catch(throwExplained(options.signal));
      if (keeper === null) return report; // nothing ran, so nothing is new
      if (config.verbose) {
        const { knownMachine } = await import("../worker/probe.ts");
        for (const { title, consequence, fix } of await knownMachine(probed(options.signal)))
          if (consequence !== null)
            options.emit({
              kind: "note",
              message: `${title}: ${consequence}${fix === null ? "" : ` fix: ${fix}`}`,
            });
      }
      const { keepToLimit } = await import("./storage-limit.ts");
      await keepToLimit(store, options.maxStorage ?? config.env.TSBUILD_MAX_STORAGE, {
        signal: options.signal,
        remove: (paths) => removeDirectories(paths),
        measure,
        note: (message) => options.emit({ kind: "note", message }),
      });
      return report;
    },
    async run(request, options) {
      const [{ runImage }] = await Promise.all([
        import("./engine-run.ts"),
        loadKeeper(),
        useRuntime(request.ociRuntime),
      ]);
      return runImage(parts, request, options).catch(throwExplained(options.signal));
    },
    async pull(reference, platform, options) {
      const { pullImage } = await import("./engine-transfer.ts");
      return pullImage(parts, reference, platform, options);
    },
    async push(reference, options) {
      const [{ pushImage }] = await Promise.all([import("./engine-transfer.ts"), loadKeeper()]);
      return pushImage(parts, reference, options);
    },
    async check({ repair, signal }) {
      const [{ checkStore }] = await Promise.all([import("../cache/check.ts"), loadKeeper()]);
      const { layerTools } = await import("./layer-tools.ts");
      return checkStore(store, { repair, signal, tools: layerTools(parts.keeper) });
    },
    async exportMounts(at, ids, { signal, session }) {
      const [{ exportMountsTo }] = await Promise.all([import("./engine-mounts.ts"), loadKeeper()]);
      return exportMountsTo(parts, at, ids, { signal, registry: () => parts.registry(session) });
    },
    async importMounts(at, ids, { signal, session }) {
      const [{ importMountsFrom }] = await Promise.all([import("./engine-mounts.ts"), loadKeeper()]);
      return importMountsFrom(parts, at, ids, { signal, registry: () => parts.registry(session) });
    },
    measure,
    removeDirectories: (paths) => removeDirectories(paths),
    async [Symbol.asyncDispose]() {
      // What disposed layers left because other owners' files are in it; cheap for who has the right ids.
      const discarded = store.layers.discarded();
      if (discarded.length > 0 && keeper !== null) {
        await keeper.run({ kind: "remove", paths: discarded }).catch(() => {
          // Swept when the store is opened the next time.
        });
      }
      if (keeper !== null) await sync.end(keeper);
      for (const registry of registries) registry.close();
      objects[Symbol.dispose]();
      await keeper?.[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
    },
  };
}

function caller(): { uid: number; gid: number; name: string } {
  const { uid, gid, username } = userInfo();
  return { uid, gid, name: username };
}

/** Steps that run, file steps and fetches at one time. */
async function makeLimits(): Promise<Limits> {
  const { default: PQueue } = await import("p-queue");
  const cores = availableParallelism();
  return {
    // Commands mostly wait for networks and disks. BuildKit starts them all; so many are enough for any real build.
    exec: new PQueue({ concurrency: Math.max(16, cores * 4) }),
    file: new PQueue({ concurrency: Math.max(2, cores) }),
    source: new PQueue({ concurrency: 8 }),
  };
}
