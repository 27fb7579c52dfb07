import type { OpenStore } from "../cache/store.ts";
import type { Config } from "./config.ts";
/** Opens the store, does the work, closes it. */
export declare function withStore<T>(config: Config, work: (store: OpenStore) => Promise<T> | T): Promise<T>;
