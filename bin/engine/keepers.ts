// The keepers of an engine: one per OCI runtime requested for steps, started by its first job and restarted when it dies.

import { BuildError } from "../../solver/graph/error.ts";
import type { Keeper } from "../../worker/keeper/keeper.ts";
import type { OciRuntime } from "../../worker/sandbox/oci-runtime.ts";
import { idMaps } from "./local-store.ts";
import { type EngineConfig, searchPath } from "./config.ts";
import type { Store } from "../../cache/contract.ts";

/** Variables of the user's environment passed to the keeper besides PATH, if set. */
const KEEPER_ENV = ["NODE_DEBUG", "TSBUILD_CODE_CACHE"];

export interface Keepers extends AsyncDisposable {
  /** Must be called and awaited before a keeper is requested. */
  load(): Promise<void>;
  /** The keeper whose steps run in `runtime` (null: the built-in sandbox). A dead one is replaced: its jobs fail, later ones
   *  are not affected. networkAhead as in startKeeper. */
  of(runtime: OciRuntime | null, networkAhead?: boolean): Keeper;
  /** A running one, with any runtime: for file jobs. null: none. */
  running(): Keeper | null;
}

/** Starts nothing yet. `onReady` is called for each keeper once it accepts jobs. Disposing ends them all. */
export function openKeepers(
  store: Store,
  config: EngineConfig,
  options: { readonly signal: AbortSignal; readonly onReady: (keeper: Keeper) => void },
): Keepers {
  const keepers = new Map<string, Keeper>();
  let start: typeof import("../../worker/keeper/keeper.ts").startKeeper | null = null;
  let isClosed = false;

  function begin(ociRuntime: OciRuntime | null, networkAhead: boolean): Keeper {
    if (start === null) throw new Error("a keeper is asked for before it is loaded");
    const path = config.env.PATH ?? "";
    const keeper = start({
      storeDir: store.dir,
      maps: idMaps(config),
      path: searchPath(config.env),
      ociRuntime,
      networkAhead,
      successor: () => of(ociRuntime),
      env: {
        PATH: path,
        ...Object.fromEntries(
          KEEPER_ENV.map((name) => [name, config.env[name] ?? ""]).filter(([, value]) => value !== ""),
        ),
      },
    });
    keeper.ready({ signal: options.signal }).then(
      () => options.onReady(keeper),
      () => {}, // told to whoever gives it a job
    );
    return keeper;
  }

  function of(runtime: OciRuntime | null, networkAhead = false): Keeper {
    if (isClosed) throw new BuildError("SANDBOX_UNAVAILABLE", "the engine is closed");
    const name = runtime === null ? "" : JSON.stringify(runtime);
    const known = keepers.get(name);
    if (known !== undefined && !known.hasEnded) return known;
    const keeper = begin(runtime, networkAhead);
    keepers.set(name, keeper);
    return keeper;
  }

  return {
    async load() {
      ({ startKeeper: start } = await import("../../worker/keeper/keeper.ts"));
    },
    of,
    running: () => [...keepers.values()].find((keeper) => !keeper.hasEnded) ?? null,
    async [Symbol.asyncDispose]() {
      isClosed = true;
      await Promise.all([...keepers.values()].map((keeper) => keeper[Symbol.asyncDispose]()));
    },
  };
}
