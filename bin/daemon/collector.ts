// Removes cache after builds, as the rules of the configuration say (gcpolicy).

import { diskBytes } from "../../cache/ceiling.ts";
import { prune, usage } from "../../cache/collect.ts";
import type { Engine } from "../engine/contract.ts";
import { type GcPolicy, type Space, spaceBytes } from "./config-values.ts";
import type { Log } from "./log.ts";

/** Time after a build in which others may end as well, and the least between two removals, each of which looks at the whole store. */
const AFTER_BUILD_MS = 1_000;
const EVERY_MS = 60_000;

export interface Collector extends AsyncDisposable {
  /** A build has ended. */
  buildEnded(): void;
}

/** `policies`: the rules of the moment; empty: nothing is removed here. */
export function openCollector(
  engine: Engine,
  { policies, log }: { readonly policies: () => readonly GcPolicy[]; readonly log: Log },
): Collector {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | null = null;
  let last = Number.NEGATIVE_INFINITY;
  let current: Promise<void> = Promise.resolve();

  const collect = async (): Promise<void> => {
    timer = null;
    last = performance.now();
    try {
      for (const policy of policies()) {
        const freed = await applyPolicy(engine, policy, controller.signal);
        if (freed > 0) log.info(`removed ${freed} bytes of cache by the rules of the configuration`);
      }
    } catch (error) {
      if (!controller.signal.aborted) log.error(`cannot remove cache: ${(error as Error).message}`);
    }
  };
  return {
    buildEnded() {
      if (timer !== null || policies().length === 0 || controller.signal.aborted) return;
      const waitMs = Math.max(AFTER_BUILD_MS, last + EVERY_MS - performance.now());
      timer = setTimeout(() => {
        current = current.then(collect);
      }, waitMs);
    },
    async [Symbol.asyncDispose]() {
      if (timer !== null) clearTimeout(timer);
      controller.abort();
      await current;
    },
  };
}

/** Bytes that were freed. */
async function applyPolicy(engine: Engine, policy: GcPolicy, signal: AbortSignal): Promise<number> {
  const { store, measure } = engine;
  const total = (await usage(store, measure)).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const keepBytes = keptBytes(policy, total, diskBytes(store.dir));
  if (keepBytes !== null && total <= keepBytes) return 0;
  let freed = 0;
  // Filters of a rule are alternatives; those of one prune hold together.
  for (const filters of policy.filters.length === 0 ? [[]] : policy.filters.map((one) => [one])) {
    const outcome = await prune(store, {
      all: policy.all,
      keepBytes,
      olderThanMs: policy.keepDurationMs > 0 ? policy.keepDurationMs : null,
      filters,
      measure,
      signal,
    });
    await engine.removeDirectories(outcome.directories, { signal, emit: () => {} });
    freed += outcome.freedBytes;
  }
  return freed;
}

/** Down to how many bytes a rule removes, of `total` that the store has; null: all it may take. buildkitd.toml: maxUsedSpace, what
 *  minFreeSpace asks for, but never below reservedSpace. */
export function keptBytes(
  { reserved, maxUsed, minFree }: Pick<GcPolicy, "reserved" | "maxUsed" | "minFree">,
  total: number,
  disk: { readonly total: number; readonly used: number },
): number | null {
  if (reserved === null && maxUsed === null && minFree === null) return null;
  const bytes = (space: Space | null): number | null =>
    space === null ? null : spaceBytes(space, disk.total);
  const missing = Math.max(0, (bytes(minFree) ?? 0) - (disk.total - disk.used));
  const most = bytes(maxUsed) ?? (minFree === null ? 0 : total);
  return Math.max(Math.min(most, missing > 0 ? total - missing : most), bytes(reserved) ?? 0);
}
