import { type Store } from "../cache/store.ts";
import type { Registry } from "../cache/registry/client.ts";
import type { Session } from "../solver/graph/request.ts";
import type { Limits } from "../solver/solver.ts";
import type { Keeper } from "../worker/keeper/keeper.ts";
import type { Config, Engine } from "./config.ts";
/** What the parts of the engine share. */
export interface EngineParts {
    readonly config: Config;
    readonly store: Store;
    /** The one keeper, started by the first call. */
    readonly keeper: () => Keeper;
    readonly registry: (session: Session) => Promise<Registry>;
    readonly limits: () => Promise<Limits>;
}
/** Opens the engine on the store of `config`. Throws STORE_UNUSABLE. */
export declare function openEngine(config: Config): Promise<Engine>;
