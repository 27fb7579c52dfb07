// What all calls of the gateway have in common: the build they belong to, and errors in BuildKit's messages.

import type { Bridge } from "../engine/bridge-contract.ts";
import type { Call } from "../wire/server.ts";
import type { Build } from "./builds.ts";
import { statusOf } from "./errors.ts";
import { failureDetails } from "./failed-step.ts";

/** Finds the build that a gateway call belongs to. */
export type BuildOf = (call: Call) => Promise<Build>;

/** Work on the bridge of the call's build. Throws RpcError. */
export type OnBridge = <T>(call: Call, work: (bridge: Bridge, build: Build) => Promise<T>) => Promise<T>;

export function openBridgeCalls(buildOf: BuildOf): OnBridge {
  return async (call, work) => {
    const build = await buildOf(call);
    const bridge = await build.bridge;
    try {
      return await work(bridge, build);
    } catch (error) {
      throw statusOf(error, build, failureDetails(bridge, build, error));
    }
  };
}
