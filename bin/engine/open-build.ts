// Worker and solver of one build, with its registry, caches and gates.

import type { Registry } from "../../cache/registry/contract.ts";
import type { Definition, Input } from "../../solver/graph/definition.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import type { Session } from "../../solver/graph/session.ts";
import { openSolver } from "../../solver/solver.ts";
import { type LocalWorker, openWorker } from "../../worker/worker.ts";
import type { CacheFrom } from "./cache-location.ts";
import { resolvConfOf } from "./host-network.ts";
import type { EngineParts, OpenBuild } from "./parts.ts";
import type { BuildTerms, EngineBuildOptions } from "./request.ts";
import type { GovernedGraph, SourceGate } from "./source-gate.ts";

/** What the graphs have in common that are solved together. */
export interface SolvedWith {
  readonly session: Session;
  readonly cacheFrom: readonly CacheFrom[];
  readonly pull: boolean;
  readonly gate: SourceGate | null;
}

/** Worker and solver for the graphs of a session that import the same caches. */
export async function openBuild(
  parts: EngineParts,
  terms: BuildTerms,
  { session, cacheFrom, pull, gate }: SolvedWith,
  { emit, signal, keepsFailed = false }: EngineBuildOptions,
  govern: ((definition: Definition, roots: readonly Input[]) => Promise<GovernedGraph>) | null,
): Promise<OpenBuild> {
  const useRegistry = (): ReturnType<EngineParts["registry"]> => parts.registry(terms.session);
  const caches = cacheFrom.length + terms.cacheTo.length > 0 ? await import("./build-caches.ts") : null;
  const imports = (await caches?.openBuildImports(parts, cacheFrom, useRegistry, emit)) ?? null;
  if (imports !== null) parts.use(imports);
  const { signaturePolicy = null } = terms;
  const signatures = signaturePolicy === null ? null : await import("./signature-policy.ts");
  const worker = parts.use(
    openWorker({
      store: parts.store,
      keeper: parts.keeper,
      registry: useRegistry,
      transport: parts.transport,
      gitVariables: parts.gitVariables,
      entitlements: new Set(terms.allow),
      resolveMode: pull ? "pull" : "default",
      resolvConf: resolvConfOf(parts.config.dns ?? null),
      network: parts.config.network ?? "sandbox",
      defaultPlatform: hostPlatform(),
      limits: terms.limits,
      signal,
      keepsFailed,
      ...(signatures === null || signaturePolicy === null
        ? {}
        : { admitImage: signatures.openSignatureGate(signaturePolicy, useRegistry) }),
      conditions: parts.config.stepConditions ?? null,
      ...(caches === null || imports === null
        ? {}
        : {
            cacheClaims: (layer, call) => imports.claims(layer, call),
            restoreMount: caches.mountRestorer(parts, imports, useRegistry),
          }),
    }),
  );
  const { store, limits, hold } = parts;
  const solver = openSolver(
    {
      ...{ worker, store, limits, hold, nowMs: Date.now, terms: sharedBy(terms, keepsFailed) },
      ...(imports === null ? {} : { imports }),
      ...(govern === null ? {} : { govern }),
    },
    parts.sharing,
  );
  parts.use({ [Symbol.asyncDispose]: async () => solver.close() });
  const registry = (): Promise<Registry> => useRegistry().then((opened) => withClientBlobs(opened, worker));
  return { parts, terms, session, worker, solver, registry, imports, gate };
}

/** Exporters fetch layers that no step has needed yet: those of a client's layouts come from the client, not from a registry. */
function withClientBlobs(registry: Registry, { images }: LocalWorker): Registry {
  return {
    ...registry,
    elsewhere: (from, descriptor, options) =>
      images.blob({ from, descriptor }, options) ?? registry.elsewhere?.(from, descriptor, options) ?? null,
  };
}

/** What must be equal for concurrent builds to share a running step. */
function sharedBy({ ociRuntime, limits, allow }: BuildTerms, keepsFailed: boolean): string {
  return JSON.stringify([ociRuntime, limits, [...allow].sort(), keepsFailed]);
}
