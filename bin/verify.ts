// verify: builds twice, the second time where all is different that should not matter, and compares. Or builds once, and compares with an image.

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { makeDirectories } from "../cache/outside.ts";
import { parseOutput } from "../exporters/output-grammar.ts";
import type { Emit } from "../solver/graph/event.ts";
import { formatPlatform, type Platform } from "../solver/graph/op.ts";
import type { Session } from "../solver/graph/session.ts";
import { copyContext } from "./context-copy.ts";
import type { Config } from "./config.ts";
import { buildRequest } from "./engine/defaults.ts";
import { followStages, type ComparedStage } from "./engine/compare/follow-stages.ts";
import type { Comparison, LayerDifference, SourceFile, Subject } from "./engine/compare/contract.ts";
import { copiedStages } from "./engine/compare/steps.ts";
import { EMPTY_LOCK, type Lock, mergeLocks } from "./engine/lock.ts";
import type { BuildRequest, SourceText } from "./engine/request.ts";
import type { Engine } from "./engine/contract.ts";
import { openLocalEngine } from "./local-store.ts";
import { copyLocalImages } from "./verify-images.ts";
import type { Condition, Varied } from "./verify-conditions.ts";

/** Stages that are compared to find where a difference begins. */
const STAGES_MAX = 30;
/** Clocks that count seconds differ after it. */
const CLOCK_MS = 1_100;

export interface VerifyOptions {
  readonly config: Config;
  readonly signal: AbortSignal;
  readonly emit: Emit;
  readonly onSource: (source: SourceText) => void;
  /** The second build begins: its steps are those of the first. */
  readonly onSecond: () => Promise<void>;
  /** Opens the session of a build with its main context there; null: it has none. */
  readonly session: (context: string | null) => Session;
  readonly varied: Varied;
  /** What a build of a request with a lock used; the last call has all of it. */
  readonly onLocked: (used: Lock) => void;
}

/** What verify found. */
export interface Verification {
  readonly same: boolean;
  /** An image was compared with, which was built earlier; null: both builds are of now. */
  readonly image: string | null;
  /** Of the first build, or the image; by platform. */
  readonly comparisons: readonly { readonly platform: string | null; readonly comparison: Comparison }[];
  /** Stages in which differences of the image begin. */
  readonly stages: readonly ComparedStage[];
  readonly conditions: readonly Condition[];
  readonly notVaried: readonly string[];
  readonly dockerfile: SourceFile;
}

/** One of the two builds, as it can be asked for other stages. */
interface Built {
  readonly engine: Engine;
  readonly request: BuildRequest;
  readonly dir: string;
}

/** Builds `asked` in this user's store, or takes `image` in place of that; builds it again in other conditions, and compares. `platforms`: of the
 *  image; null: as the request says. Throws what builds and comparisons throw. */
export async function verifyBuild(
  engine: Engine,
  asked: BuildRequest,
  image: Subject | null,
  given: VerifyOptions,
): Promise<Verification> {
  const { config, signal, varied } = given;
  const scratch = mkdtempSync(join(engine.store.tempDir(), "verify-"));
  const root = join(scratch, "store");
  try {
    let lock = EMPTY_LOCK;
    const onLocked = (used: Lock): void => given.onLocked((lock = mergeLocks(lock, used)));
    const options = { ...given, onLocked };
    const dockerfile = await dockerfileOf(engine, asked, options);
    let first: Built = { engine, request: asked, dir: join(scratch, "first") };
    if (image === null) {
      await buildInto(first, null, options);
      await sleep(CLOCK_MS, undefined, { signal });
    }
    // What the first build has resolved holds for the second one.
    const terms = asked.lock && { ...asked.lock, entries: mergeLocks(asked.lock.entries, lock) };
    first = { ...first, request: { ...asked, lock: terms } };
    const notVaried = [...varied.notVaried];
    const context = await contextCopy(asked, scratch, options, notVaried);
    mkdirSync(root, { mode: 0o700 });
    const second = {
      ...config,
      root,
      env: { ...config.env, ...varied.env },
      maxParallelism: 1,
      stepConditions: varied.steps,
    };
    await options.onSecond();
    const before = varied.umask === null ? null : process.umask(varied.umask);
    try {
      await using other = await openLocalEngine(second, { signal });
      const request = { ...asked, ...context, lock: terms };
      await copyLocalImages(engine, other, {
        ...{ asked, text: dockerfile.text, archive: join(scratch, "images.tar") },
        options: { signal, emit: options.emit, session: asked.session },
      });
      const rebuilt: Built = { engine: other, request, dir: join(scratch, "second") };
      await buildInto(rebuilt, null, options);
      const compared = await compareAll(
        { engine, first: image ?? first, second: rebuilt, dockerfile },
        options,
      );
      const isSame = (name: string): boolean => notVaried.some((text) => text.startsWith(`${name}:`));
      const conditions = varied.conditions.filter(({ name }) => !isSame(name));
      return { ...compared, image: image?.shown ?? null, conditions, notVaried, dockerfile };
    } finally {
      if (before !== null) process.umask(before);
    }
  } finally {
    // Layers of the other store have files of other ids.
    await engine
      .removeDirectories([scratch], { signal: new AbortController().signal, emit: () => {} })
      .catch(() => {});
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** The Dockerfile, without running a step. */
async function dockerfileOf(
  engine: Engine,
  asked: BuildRequest,
  options: VerifyOptions,
): Promise<SourceFile> {
  const call = { name: "targets", format: "json", ignoreStatus: false } as const;
  const { answer } = await engine.build(buildRequest({ ...asked, call }), {
    signal: options.signal,
    emit: options.emit,
    onSource: options.onSource,
  });
  if (answer?.kind !== "targets") throw new Error("no answer");
  return { name: answer.source.file, text: answer.source.text, target: asked.target };
}

/** The request's parts that lie in a copy of the context. */
async function contextCopy(
  asked: BuildRequest,
  scratch: string,
  { varied, session, signal }: VerifyOptions,
  notVaried: string[],
): Promise<Pick<BuildRequest, "context" | "session">> {
  const { context } = asked;
  if (context.kind !== "directory") {
    if (varied.copiesContext) notVaried.push("context-path: the context is no directory of this machine");
    return { context, session: asked.session };
  }
  if (!varied.copiesContext) return { context, session: asked.session };
  const path = join(scratch, "another", "path", "that-is-deeper", "context");
  if (await copyContext(context.path, path, { signal }))
    return { context: { kind: "directory", path }, session: session(path) };
  notVaried.push("context-path: the context holds sockets, devices or FIFOs, which are not copied");
  rmSync(path, { recursive: true, force: true });
  return { context, session: asked.session };
}

/** Builds a stage (null: the one that was asked for) into an OCI layout, and returns its path. */
async function buildInto(
  { engine, request, dir }: Built,
  stage: string | null,
  options: VerifyOptions,
): Promise<string> {
  const path = join(dir, stage === null ? "image" : `stage-${Buffer.from(stage).toString("hex")}`);
  makeDirectories(path);
  const output = parseOutput(`type=oci,tar=false,compression=uncompressed,${JSON.stringify(`dest=${path}`)}`);
  const built = buildRequest({ ...request, outputs: [output], ...(stage === null ? {} : { target: stage }) });
  const { signal, emit, onSource, onLocked } = options;
  await engine.build(built, { signal, emit, onSource, onLocked });
  return path;
}

interface Pair {
  /** Of this user's store, in which an image may be. */
  readonly engine: Engine;
  /** The first build, or an image. */
  readonly first: Built | Subject;
  readonly second: Built;
  readonly dockerfile: SourceFile;
}

type Compared = Pick<Verification, "same" | "comparisons" | "stages">;

async function compareAll(pair: Pair, options: VerifyOptions): Promise<Compared> {
  const { platforms } = pair.second.request;
  const wanted: readonly (Platform | null)[] = platforms.length < 2 ? [null] : platforms;
  const stages = new Map<string, ComparedStage>();
  const comparisons: { platform: string | null; comparison: Comparison }[] = [];
  for (const platform of wanted) {
    const comparison = await traced(pair, null, platform, stages, options);
    comparisons.push({ platform: platform === null ? null : formatPlatform(platform), comparison });
  }
  return {
    same: comparisons.every(({ comparison }) => comparison.same),
    comparisons,
    stages: [...stages.values()].filter(({ comparison }) => !comparison.same),
  };
}

/** Compares a stage (null: the image), and before it the stages that layers which differ are copied from. */
async function traced(
  pair: Pair,
  stage: string | null,
  platform: Platform | null,
  stages: Map<string, ComparedStage>,
  options: VerifyOptions,
): Promise<Comparison> {
  const { first, second, dockerfile } = pair;
  const source = { ...dockerfile, target: stage ?? dockerfile.target };
  const layoutOf = (built: Built): Promise<string> =>
    stage === null ? Promise.resolve(join(built.dir, "image")) : buildInto(built, stage, options);
  const a: Subject = "engine" in first ? layout("first build", await layoutOf(first)) : first;
  const b = layout("second build", await layoutOf(second));
  const transfer = { signal: options.signal, emit: options.emit, session: second.request.session };
  const days = stage === null ? daysOf(Date.now(), options.varied) : [];
  const request = { a, b, platform, source, known: options.varied.known, days };
  const comparison = await pair.engine.compare(request, transfer);
  // An image brings no stages: what is not in it cannot be compared.
  if (!("engine" in first)) return comparison;
  const named = new Map<LayerDifference, readonly string[]>();
  for (const layer of comparison.layers)
    if (layer.step !== null) named.set(layer, await copiedStages(layer.step, source));
  for (const name of new Set([...named.values()].flat())) {
    if (stages.has(name) || stages.size >= STAGES_MAX) continue;
    const found = await traced(pair, name, platform, stages, options);
    stages.set(name, { name, comparison: withStage(found, name) });
  }
  return followStages(comparison, (layer) =>
    (named.get(layer) ?? []).flatMap((name) => stages.get(name) ?? []),
  );
}

/** Steps of a stage say so. */
function withStage(comparison: Comparison, name: string): Comparison {
  const layers = comparison.layers.map((layer) => ({
    ...layer,
    step: layer.step === null ? null : { ...layer.step, stage: layer.step.stage ?? name },
  }));
  return { ...comparison, layers };
}

function layout(shown: string, path: string): Subject {
  return { kind: "layout", shown, path, name: null };
}

const DAY_MS = 86_400_000;

/** Now, and now in the zone of the second build. */
function daysOf(nowMs: number, { known }: Varied): readonly number[] {
  const ahead = known.flatMap(({ aheadSeconds = 0 }) => (aheadSeconds === 0 ? [] : [aheadSeconds * 1000]));
  return [...new Set([0, ...ahead].map((ms) => Math.floor((nowMs + ms) / DAY_MS) * DAY_MS))];
}
