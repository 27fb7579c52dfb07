// Opens the store of an engine.

import type { OpenStore } from "../../cache/store.ts";
import { findIdMaps, type IdMaps } from "../../worker/keeper/userns.ts";
import type { StoreOpening } from "./request.ts";
import { type EngineConfig, searchPath } from "./config.ts";

/** Opens the store; it knows which of its layers are of use with the ids of this user. Throws STORE_UNUSABLE. */
export async function openLocalStore(config: EngineConfig, opening: StoreOpening): Promise<OpenStore> {
  const { openStore } = await import("../../cache/store.ts");
  const { repair = false, tidying = false, onMended } = opening;
  const hasOneId = idMaps(config).kind === "single";
  const store = await openStore(config.root, { hasOneId, repair, tidying });
  for (const what of store.mended) onMended?.(what);
  return store;
}

/** The ids a keeper of this user has. */
export function idMaps({ user, env }: EngineConfig): IdMaps {
  return findIdMaps(user, searchPath(env));
}
