// Starts stages: resolves base images, converts their ONBUILD triggers to steps, and sets the initial state.

import { BuildError } from "../solver/graph/error.ts";
import type { Platform } from "../solver/graph/op.ts";
import { cleanPath } from "../solver/graph/patterns.ts";
import { cloneImage, ensurePath } from "./image-config.ts";
import { parseTrigger } from "./parse.ts";
import { type Base, checkImageName, resolveBase } from "./sources.ts";
import { type Conversion, type StageState, spend, stepName } from "./stage-state.ts";
import { reachableFrom, type Stage, type StageTable } from "./stages.ts";
import { toBackslashes, windowsPath } from "./windows-paths.ts";

/** What copying an entry counts for in `spend`. */
const HISTORY_ENTRY_LENGTH = 8;
const VARIABLE_LENGTH = 32;
/** Rounds of looking for triggers: each may name images that have triggers of their own. */
const TRIGGER_ROUNDS_MAX = 100;

/** Finds the bases of all stages that are needed, at once; triggers in them may make more stages needed. */
export async function resolveBases(
  conversion: Conversion,
  table: StageTable,
  targets: readonly Stage[],
): Promise<ReadonlyMap<Stage, Base>> {
  for (const stage of table.stages) checkImageName(stage);
  const bases = new Map<Stage, Base>();
  const triggered = new Set<Stage>();
  for (let round = 0; round < TRIGGER_ROUNDS_MAX; round++) {
    const needed = reachableFrom(targets);
    const reached = table.stages.filter((stage) => needed.has(stage));
    const missing = reached.filter((stage) => stage.base === null && !bases.has(stage));
    const found = await settleAll(
      missing.map(async (stage) => [stage, await resolveBase(conversion, stage)] as const),
    );
    for (const [stage, base] of found) bases.set(stage, base);
    let hasNew = false;
    for (const stage of reached) {
      if (!stage.isListed || stage.isReplaced || triggered.has(stage)) continue;
      triggered.add(stage);
      hasNew = addTriggers(table, stage, bases.get(stage) ?? null) || hasNew;
    }
    if (!hasNew) return bases;
  }
  throw new BuildError(
    "LIMIT_EXCEEDED",
    `ONBUILD triggers are nested more than ${TRIGGER_ROUNDS_MAX} images deep`,
    { at: targets[0]?.at ?? null },
  );
}

/** All results in order; the first failure (in order) is thrown after every promise has settled. */
export async function settleAll<T>(work: readonly Promise<T>[]): Promise<readonly T[]> {
  const settled = await Promise.allSettled(work);
  return settled.map((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
}

function addTriggers(table: StageTable, stage: Stage, base: Base | null): boolean {
  const texts = [
    ...(base?.image.config.OnBuild ?? []),
    ...(stage.base?.steps ?? []).flatMap(({ instruction }) =>
      instruction.kind === "onbuild" ? [instruction.expression] : [],
    ),
  ];
  if (texts.length === 0) return false;
  return table.addTriggers(
    stage,
    texts.map((text) => parseTrigger(text, stage.at)),
  );
}

/** The state a stage starts with, from its base image or the stage below; it is in `conversion.states` from now on. */
export function startStage(
  conversion: Conversion,
  stage: Stage,
  base: Base | null,
  totalSteps: number,
): StageState {
  const parent = stage.base === null || base !== null ? null : (conversion.states.get(stage.base) ?? null);
  const image = parent !== null ? cloneImage(parent.image) : cloneImage((base as Base).image);
  const { noCache, noCacheFilter } = conversion.options;
  const state: StageState = {
    stage,
    platform: parent?.platform ?? (base as Base).platform,
    image,
    baseHistory: parent?.baseHistory ?? image.history.length,
    outline: { args: new Map(), usedArgs: new Set(stage.usedArgs), secrets: new Map(), ssh: new Map() },
    ignoreCache:
      noCache ||
      noCacheFilter.some((name) => stage.name !== null && name.toLowerCase() === stage.name.toLowerCase()),
    fs: parent?.fs ?? null,
    env: new Map(parent?.env ?? []),
    stepEnv: null,
    envPlaces: new Map(),
    user: image.config.User ?? "",
    buildArgs: new Map(parent?.buildArgs ?? []),
    builderArgs: new Map(parent?.builderArgs ?? []),
    isWorkdirSet: parent?.isWorkdirSet ?? false,
    isCmdSet: false,
    totalSteps,
    shownSteps: 0,
  };
  conversion.states.set(stage, state);
  // A stage starts with copies of what the one below has collected.
  spend(conversion, image.history.length * HISTORY_ENTRY_LENGTH + state.env.size * VARIABLE_LENGTH);
  // Triggers of the base are steps of this stage now; this stage starts a list of its own.
  delete image.config.OnBuild;
  ensurePath(image, state.platform);
  for (const [place, entry] of (image.config.Env ?? []).entries()) {
    const [name = "", value = ""] = entry.split(/=(.*)/s);
    state.env.set(name, value);
    if (!state.envPlaces.has(name)) state.envPlaces.set(name, place);
  }
  if (image.config.WorkingDir)
    image.config.WorkingDir = workdirIn(null, image.config.WorkingDir, state.platform);
  if (base !== null) state.fs = base.source((text) => stepName(conversion, state, text));
  return state;
}

/** Absolute paths stay as written, relative ones are joined and cleaned, as BuildKit has it; as it goes into the config. */
export function workdirIn(current: string | null, path: string, { os }: Platform): string {
  const parent = current || "/";
  if (os === "windows") return toBackslashes(windowsPath(parent.replaceAll("\\", "/"), path, false));
  if (path === "") return parent;
  return path.startsWith("/") ? path : cleanPath(`/${parent}/${path}`);
}
