// What the references of a build stand for now, for `tsbuild update`. No step is run for its result.

import { ForeignFrontend } from "../frontend/frontend.ts";
import { BuildError } from "../solver/graph/error.ts";
import { type Lock, mergeLocks } from "./engine/lock.ts";
import type { BuildRequest, EngineBuildOptions } from "./engine/request.ts";
import { type Bridge, type BridgeResult, NO_WORDS } from "./engine/bridge-contract.ts";
import { parsePlatform } from "./flags-values.ts";
import type { LocalBuild } from "./local-build.ts";

/** Resolves the target of the request, or all that there are where it has none; frontends in images are asked for the last one alone. Platforms that
 *  `before` lists for an image stay listed. Throws BuildError with its place in the Dockerfile. */
export async function resolveLock(
  { engine, request, build }: LocalBuild,
  before: Lock,
  given: EngineBuildOptions,
): Promise<Lock> {
  let used: Lock = { images: new Map(), urls: new Map(), git: new Map() };
  const options: EngineBuildOptions = {
    ...given,
    onLocked: (found) => void (used = mergeLocks(used, found)),
  };
  try {
    await engine.drive(request, options, (bridge) => resolveStages(bridge, request));
  } catch (error) {
    if (!(error instanceof ForeignFrontend)) throw error;
    await build(options);
  }
  const missing = [...used.images].flatMap(([key, { platforms }]) =>
    [...(before.images.get(key)?.platforms.keys() ?? [])]
      .filter((platform) => !platforms.has(platform))
      .map((platform) => ({ key, platform })),
  );
  if (missing.length === 0 || request.lock === null) return used;
  const terms = { ...request, lock: { ...request.lock, entries: used } };
  await engine.drive(terms, options, async (bridge) => {
    for (const { key, platform } of missing) await resolvePlatform(bridge, key, platform);
    await bridge.export(NOTHING);
  });
  return used;
}

const NOTHING: BridgeResult = {
  ...{ images: [], multiPlatform: false, words: NO_WORDS, sourceDateEpoch: null },
  ...{ trace: null, onExported: null, call: null },
};

async function resolveStages(bridge: Bridge, request: BuildRequest): Promise<void> {
  const targets = request.target === null ? await targetsOf(bridge, request) : [request.target];
  for (const target of targets) {
    const outcome = await bridge.dockerfile({ ...request, target });
    if (outcome.kind === "result") await bridge.export(outcome.result);
  }
}

/** What --target can say, and nothing. */
async function targetsOf(bridge: Bridge, request: BuildRequest): Promise<readonly (string | null)[]> {
  const outcome = await bridge.dockerfile({ ...request, call: { ...request.call, name: "targets" } });
  if (outcome.kind !== "answer" || outcome.answer.kind !== "targets") throw new Error("no list of stages");
  return [
    null,
    ...outcome.answer.targets.filter((one) => !one.default && one.name !== "").map(({ name }) => name),
  ];
}

/** The manifest of another platform; an image that has it no more loses it. */
async function resolvePlatform(bridge: Bridge, key: string, platform: string): Promise<void> {
  const source = { kind: "source", identifier: `docker-image://${key}`, attrs: {} } as const;
  const question = {
    resolveMode: "",
    name: `[internal] load metadata for ${key} (${platform})`,
    gitObjects: false,
  };
  try {
    await bridge.resolveSource(source, { ...question, platform: parsePlatform(platform) });
  } catch (error) {
    if (!(error instanceof BuildError && error.code === "PLATFORM_UNSUPPORTED")) throw error;
  }
}
