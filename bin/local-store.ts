// Store and engine of a command. Repairs made when the store was opened are reported on standard error.

import type { OpenStore } from "../cache/store.ts";
import type { Config } from "./config.ts";
import type { Engine } from "./engine/contract.ts";
import type { StoreOpening } from "./engine/request.ts";

/** Opens the store alone, does the work, closes it. The work is looking or removing: it is done on a full disk as well. */
export async function withStore<T>(config: Config, work: (store: OpenStore) => Promise<T> | T): Promise<T> {
  const { openLocalStore } = await import("./engine/local-store.ts");
  await using store = await openLocalStore(config, { tidying: true, onMended: warn(config) });
  return await work(store);
}

/** Opens an engine; `signal` is that of the command. Throws STORE_UNUSABLE. */
export async function openLocalEngine(
  config: Config,
  options: { readonly signal: AbortSignal } & StoreOpening,
): Promise<Engine> {
  const { openEngine } = await import("./engine/engine.ts");
  return await openEngine(config, { onMended: warn(config), ...options });
}

function warn({ root }: Config): (what: string) => void {
  return (what) => void process.stderr.write(`WARNING: the store ${root}: ${what}\n`);
}
