// What this machine can build for.

import { hostPlatform } from "../../solver/graph/platform.ts";
import type { Platform } from "../../solver/graph/op.ts";
import { runnablePlatforms } from "../../worker/emulation.ts";

/** The platforms whose steps can run here, its own first: emulators may be registered and removed at any time. */
export function hostPlatforms(): Platform[] {
  return runnablePlatforms(hostPlatform());
}
