// Connects store, worker, solver, frontend and exporters to an Engine; owns all limits on parallelism.
// Everything expensive is opened when first needed: a fully cached build never starts the keeper.

import { availableParallelism } from "node:os";
import type { Measure } from "../../cache/collect.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Credentials, Session } from "../../solver/graph/session.ts";
import { cleanUpSignal, heldByUsers, Scope } from "../../solver/graph/scope.ts";
import { type Limits, openSharing } from "../../solver/solver.ts";
import type { ProbeOptions } from "../../worker/probe.ts";
import type { OciRuntime } from "../../worker/sandbox/oci-runtime.ts";
import { openKeepers } from "./keepers.ts";
import { openLocalStore } from "./local-store.ts";
import { openObjectCaches } from "./object-caches.ts";
import type { EngineParts } from "./parts.ts";
import {
  type Bridge,
  type BuildReport,
  type BuildTerms,
  EMPTY_REPORT,
  type Engine,
  type EngineBuildOptions,
  type EngineConfig,
  searchPath,
  type StoreOpening,
} from "./request.ts";
import { openStoreSync } from "./store-sync.ts";
import type { Registry } from "../../cache/registry/contract.ts";

/** Opens the engine on the store of `config`; `signal` is that of all its requests, whose end does not wait for what can be left out once
 *  it is aborted. Throws STORE_UNUSABLE. */
export async function openEngine(
  config: EngineConfig,
  { signal: engineSignal, ...opening }: { readonly signal: AbortSignal } & StoreOpening,
): Promise<Engine> {
  const store = await openLocalStore(config, opening);
  const sync = openStoreSync(store, engineSignal);
  const keepers = openKeepers(store, config, {
    signal: engineSignal,
    onReady: (keeper) => sync.begin(keeper),
  });
  const helperPath = searchPath(config.env);
  const sharing = openSharing();
  /** Requests that are running, or whose work others wait for. */
  const open = new Set<Promise<void>>();
  let clearing: Promise<void> | null = null;
  let limits: Promise<Limits> | null = null;
  let gitVariables: ReturnType<EngineParts["gitVariables"]> | null = null;

  /** What a request opens is closed when it has ended and nobody waits for work it started. */
  async function serving<T>(
    ociRuntime: OciRuntime | null,
    work: (parts: EngineParts) => Promise<T>,
  ): Promise<T> {
    const scope = new Scope(null);
    const { hold, gone } = heldByUsers(scope);
    await using _ = hold();
    const over = gone.catch(() => {}).then(clear); // told to who ended it
    open.add(over);
    void over.then(() => open.delete(over));
    const objects = openObjectCaches(config);
    const registries = new Map<Session, Promise<Registry>>();
    scope.use({
      async [Symbol.asyncDispose]() {
        for (const opened of await Promise.allSettled(registries.values()))
          if (opened.status === "fulfilled") opened.value.close();
        objects[Symbol.dispose]();
      },
    });
    return await work({
      ...{ config, store, objects, sharing, hold },
      keeper: (networkAhead) => keepers.of(ociRuntime, networkAhead),
      registry(session) {
        const known = registries.get(session);
        if (known !== undefined) return known;
        const opened = openRegistry(session, objects.elsewhere);
        registries.set(session, opened);
        return opened;
      },
      async transport() {
        const { openUserTransport } = await import("./registry-client.ts");
        return await openUserTransport(config.env);
      },
      gitVariables: () => (gitVariables ??= makeGitVariables()),
      limits: () => (limits ??= makeLimits(config.maxParallelism ?? null)),
      use: (resource) => scope.use(resource),
    });
  }

  /** Deletes what steps have left that only the keeper may delete: an engine may live for months. Disposing it waits for this, and does the rest.
   *  One at a time; what is left meanwhile waits for the end of the next request. */
  function clear(): void {
    const keeper = keepers.running();
    const paths = clearing === null && keeper !== null ? store.layers.leftovers() : [];
    if (keeper === null || paths.length === 0) return;
    clearing = keeper
      .run({ kind: "remove", paths }, { signal: cleanUpSignal(engineSignal) })
      .catch(() => null) // they are still leftovers
      .then(() => {
        clearing = null;
      });
  }

  async function makeGitVariables(): ReturnType<EngineParts["gitVariables"]> {
    const { gitVariables: variablesOf } = await import("./registry-client.ts");
    return await variablesOf(config.env, store.tempDir());
  }

  async function openRegistry(
    session: Session,
    elsewhere: EngineParts["objects"]["elsewhere"],
  ): Promise<Registry> {
    const { openRegistryClient } = await import("./registry-client.ts");
    const credentials = (host: string): Promise<Credentials | null> => session.credentials(host);
    const { token: tokens } = session;
    return await openRegistryClient(config, {
      ...{ credentials, elsewhere },
      ...(tokens === undefined ? {} : { tokens }),
    });
  }

  /** Before a keeper is started: a missing runtime is reported before any step runs. */
  async function runtimeOf({
    ociRuntime,
  }: {
    readonly ociRuntime: string | null;
  }): Promise<OciRuntime | null> {
    if (ociRuntime === null) return null;
    const { findOciRuntime } = await import("../../worker/sandbox/oci-runtime.ts");
    return await findOciRuntime(ociRuntime, helperPath);
  }

  const fileKeeper = () => keepers.running() ?? keepers.of(null);

  const removeDirectories = async (
    paths: readonly string[],
    { signal }: { readonly signal: AbortSignal },
  ): Promise<void> => {
    if (paths.length === 0) return;
    await keepers.load();
    await fileKeeper().run({ kind: "remove", paths }, { signal });
  };

  const measure: Measure = async (paths) => {
    await keepers.load();
    const signal = engineSignal;
    const one = (dir: string): Promise<number | null> =>
      fileKeeper()
        .run({ kind: "measure", background: false, dir, earlier: [] }, { signal })
        .then(
          ({ sizeBytes }) => sizeBytes,
          (error: unknown) => {
            if (signal.aborted || isUnavailable(error)) throw error;
            return null; // a running step changes its cache mounts meanwhile
          },
        );
    return await Promise.all(paths.map(one));
  };

  const probed = (signal: AbortSignal): ProbeOptions => ({
    store,
    user: config.user,
    path: helperPath,
    signal,
  });
  /** Explains a sandbox that did not start by what is missing on this machine. */
  const throwExplained =
    (signal: AbortSignal) =>
    async (error: unknown): Promise<never> => {
      if (!isUnavailable(error) || signal.aborted) throw error;
      const { withCause } = await import("../../worker/probe.ts");
      throw await withCause(error, probed(signal));
    };

  /** Disposing the engine waits for it. */
  function waitedFor<T>(work: Promise<T>): Promise<T> {
    const over = work.then(
      () => {},
      () => {},
    );
    open.add(over);
    void over.then(() => open.delete(over));
    return work;
  }

  async function driveAndTidy<T>(
    terms: BuildTerms,
    options: EngineBuildOptions,
    work: (bridge: Bridge) => Promise<T>,
  ): Promise<T> {
    const [{ openBridge }, runtime] = await Promise.all([
      import("./bridge.ts"),
      runtimeOf(terms),
      keepers.load(),
    ]);
    const report = await serving(runtime, (parts) => work(openBridge(parts, terms, options))).catch(
      throwExplained(options.signal),
    );
    if (keepers.running() === null) return report; // nothing ran, so nothing is new
    if (config.verbose) {
      const { knownMachine } = await import("../../worker/probe.ts");
      for (const { title, consequence, fix } of await knownMachine(probed(options.signal)))
        if (consequence !== null)
          options.emit({
            kind: "note",
            message: `${title}: ${consequence}${fix === null ? "" : ` fix: ${fix}`}`,
          });
    }
    const { keepToLimit } = await import("./storage-limit.ts");
    await keepToLimit(store, options.maxStorage ?? config.maxStorage ?? null, {
      signal: options.signal,
      remove: (paths) => removeDirectories(paths, options),
      measure,
      note: (message) => options.emit({ kind: "note", message }),
    });
    return report;
  }

  return {
    store,
    async build(request, options) {
      const work = async (bridge: Bridge): Promise<BuildReport> => {
        const outcome = await bridge.dockerfile(request);
        return outcome.kind === "answer"
          ? { ...EMPTY_REPORT, answer: outcome.answer }
          : await bridge.export(outcome.result);
      };
      return await waitedFor(driveAndTidy(request, options, work));
    },
    drive: (terms, options, work) => waitedFor(driveAndTidy(terms, options, work)),
    async run(request, options) {
      const [{ runImage }, runtime] = await Promise.all([
        import("./run.ts"),
        runtimeOf(request),
        keepers.load(),
      ]);
      return serving(runtime, (parts) => runImage(parts, request, options)).catch(
        throwExplained(options.signal),
      );
    },
    async pull(reference, platform, options) {
      const { pullImage } = await import("./pull.ts");
      return serving(null, (parts) => pullImage(parts, reference, platform, options));
    },
    async push(reference, platform, options) {
      const [{ pushImage }] = await Promise.all([import("./push.ts"), keepers.load()]);
      return serving(null, (parts) => pushImage(parts, reference, platform, options));
    },
    async save(request, options) {
      const [{ saveImages }] = await Promise.all([import("./save.ts"), keepers.load()]);
      return serving(null, (parts) => saveImages(parts, request, options));
    },
    async scan(reference, platform, options) {
      const [{ scanImage }] = await Promise.all([import("./sbom.ts"), keepers.load()]);
      return serving(null, (parts) => scanImage(parts, reference, platform, options)).catch(
        throwExplained(options.signal),
      );
    },
    async images(title, options, work) {
      const [{ useImageTools }] = await Promise.all([import("./images/tools.ts"), keepers.load()]);
      return serving(null, (parts) => useImageTools(parts, title, options, work)).catch(
        throwExplained(options.signal),
      );
    },
    async compare(request, options) {
      const [{ compareSubjects }] = await Promise.all([import("./compare/compare.ts"), keepers.load()]);
      return serving(null, (parts) => compareSubjects(parts, request, options)).catch(
        throwExplained(options.signal),
      );
    },
    async builtFrom(subject, platform, options) {
      const { provenanceOf } = await import("./compare/compare.ts");
      return serving(null, (parts) => provenanceOf(parts, subject, platform, options));
    },
    async check({ repair, signal, onWait }) {
      const [{ checkStore }] = await Promise.all([import("../../cache/check.ts"), keepers.load()]);
      const { layerTools } = await import("./layer-tools.ts");
      return checkStore(store, {
        repair,
        signal,
        tools: layerTools(fileKeeper, signal),
        ...(onWait === undefined ? {} : { onWait }),
      });
    },
    async exportMounts(at, ids, { signal, session }) {
      const [{ exportMountsTo }] = await Promise.all([import("./cache-mounts.ts"), keepers.load()]);
      return serving(null, (parts) =>
        exportMountsTo(parts, at, ids, { signal, registry: () => parts.registry(session) }),
      );
    },
    async importMounts(at, ids, { signal, session }) {
      const [{ importMountsFrom }] = await Promise.all([import("./cache-mounts.ts"), keepers.load()]);
      return serving(null, (parts) =>
        importMountsFrom(parts, at, ids, { signal, registry: () => parts.registry(session) }),
      );
    },
    measure,
    removeDirectories,
    async [Symbol.asyncDispose]() {
      await clearing;
      // Leftovers of disposed layers with files of other owners; cheap with the right ids.
      const discarded = store.layers.discarded();
      const signal = cleanUpSignal(engineSignal);
      const keeper = keepers.running();
      if (discarded.length > 0 && keeper !== null) {
        await keeper.run({ kind: "remove", paths: discarded }, { signal }).catch(() => {
          // Removed when the store is opened the next time.
        });
      }
      if (keeper !== null) await sync.end(keeper);
      const fault = await store.settle().then(
        () => null,
        (error: unknown) => ({ error }),
      );
      // The disk is too full for the records: layers without one are removed.
      const lost = fault === null ? [] : store.layers.discarded();
      if (lost.length > 0) await removeDirectories(lost, { signal }).catch(() => {}); // as above
      await keepers[Symbol.asyncDispose]();
      await Promise.all(open); // ends with the keepers
      await store[Symbol.asyncDispose]();
      if (fault !== null) throw fault.error;
    },
  };
}

function isUnavailable(error: unknown): error is BuildError {
  return error instanceof BuildError && error.code === "SANDBOX_UNAVAILABLE";
}

/** Limits of parallel steps, file steps and fetches. `most`: at one time of either kind of step; null: any number. */
async function makeLimits(most: number | null): Promise<Limits> {
  const { default: PQueue } = await import("p-queue");
  const cores = availableParallelism();
  const atMost = (count: number): number => Math.min(count, most ?? count);
  return {
    // Commands mostly wait for networks and disks. BuildKit has no limit; this many are enough for any real build.
    exec: new PQueue({ concurrency: most ?? Math.max(16, cores * 4) }),
    file: new PQueue({ concurrency: atMost(Math.max(2, cores)) }),
    source: new PQueue({ concurrency: 8 }),
  };
}
