// When layers are flushed to disk. A layer that was never synced is only unusable after a reboot: correct builds never need a sync;
// it preserves the cache over a power cut or a reboot. So it must not slow down a build: syncfs(2) writes all dirty data of the
// whole file system, of all processes, and cannot be interrupted.
//
// - At the end of a build, if so little is dirty that it takes less than END_SHARE of the build's time.
// - When the keeper of a later build has started, on a thread parallel to its steps, for layers the kernel has had time to write by
//   itself (vm.dirty_expire_centisecs is 30 s, its flusher wakes every 5 s), so that little is left to write.

import { readFileSync } from "node:fs";
import type { LayerId } from "../../solver/graph/request.ts";
import type { Keeper } from "../../worker/keeper/keeper.ts";
import type { Store } from "../../cache/contract.ts";

export interface StoreSync {
  /** The keeper runs: layers of earlier builds may be synced while steps run. */
  begin(keeper: Keeper): void;
  /** The build has ended. Resolves soon; synced layers are marked. */
  end(keeper: Keeper): Promise<void>;
}

const QUIET_MS = 45_000;
/** While steps run, unless layers have waited for LONG_MS: constant writing must not delay it forever. */
const BESIDE_MAX_BYTES = 64 << 20;
const LONG_MS = 30 * 60_000;
/** Share of the build's time, at the speed of a slow disk; a build of a second may leave 3 MB to write. */
const END_SHARE = 0.03;
const DISK_BYTES_PER_MS = 100_000;
const END_MIN_BYTES = 1 << 20;

/** Opens it for one engine; once `signal` is aborted nothing is synced any more. `dirtyBytes`: unwritten data of all file systems. */
export function openStoreSync(
  store: Store,
  signal: AbortSignal,
  nowMs: () => number = Date.now,
  dirtyBytes: () => number = dirtyOfMachine,
): StoreSync {
  const openedMs = nowMs();
  let beside: Promise<void> | null = null;

  async function sync(keeper: Keeper, ids: readonly LayerId[], isBrief: boolean): Promise<void> {
    await keeper.run({ kind: "sync", dir: store.dir, isBrief }, { signal });
    store.layers.markSynced(ids);
  }

  return {
    begin(keeper) {
      const ages = store.layers
        .unsynced()
        .map((id) => ({ id, ageMs: nowMs() - (store.layers.get(id)?.createdAtMs ?? 0) }));
      const quiet = ages.filter(({ ageMs }) => ageMs > QUIET_MS);
      const isLate = quiet.some(({ ageMs }) => ageMs > LONG_MS);
      if (quiet.length === 0 || (!isLate && dirtyBytes() > BESIDE_MAX_BYTES)) return;
      // A failed sync does not count: the layers stay unmarked.
      beside = sync(
        keeper,
        quiet.map(({ id }) => id),
        false,
      ).catch(() => {});
    },
    async end(keeper) {
      await beside;
      if (signal.aborted) return;
      const ids = store.layers.unsynced();
      if (ids.length === 0) return;
      const budget = Math.max(END_MIN_BYTES, (nowMs() - openedMs) * END_SHARE * DISK_BYTES_PER_MS);
      if (dirtyBytes() <= budget) await sync(keeper, ids, true).catch(() => {}); // as above
    },
  };
}

/** Dirty and being written, of all file systems. proc_meminfo(5) */
function dirtyOfMachine(): number {
  const text = readFileSync("/proc/meminfo", "latin1");
  const sum = [...text.matchAll(/^(?:Dirty|Writeback):\s+(\d+) kB$/gm)].reduce(
    (all, [, kb]) => all + Number(kb),
    0,
  );
  return sum * 1024;
}
