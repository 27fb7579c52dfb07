// The store alone, for commands that need neither keeper nor solver.

import type { OpenStore } from "../cache/store.ts";
import type { Config } from "./config.ts";

/** Opens the store, does the work, closes it. */
export async function withStore<T>(config: Config, work: (store: OpenStore) => Promise<T> | T): Promise<T> {
  const { openStore } = await import("../cache/store.ts");
  await using store = await openStore(config.root);
  return await work(store);
}
