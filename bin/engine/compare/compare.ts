// Compares two images or trees: configs, layers and files, and says which step brought each difference in.

import { BuildError } from "../../../solver/graph/error.ts";
import { transferWorker } from "../pull.ts";
import type { EngineParts } from "../parts.ts";
import type { EngineTransferOptions } from "../request.ts";
import { alignLayers } from "./align.ts";
import type { CauseClass } from "./classes.ts";
import { causeOfCommand } from "./supposed.ts";
import { datedFiles } from "./dated.ts";
import { isBusyboxTar } from "./busybox.ts";
import { compareConfigs } from "./config.ts";
import type { Platform } from "../../../solver/graph/op.ts";
import type {
  BuiltImageFrom,
  CompareRequest,
  Comparison,
  FileTree,
  Member,
  ImageSide,
  LayerDifference,
  Side,
  SourceFile,
  Step,
  Subject,
} from "./contract.ts";
import { openFlatTree } from "./flat-tree.ts";
import { openSide } from "./sides.ts";
import type { SideDeps } from "./stored-layer.ts";
import { stepsOf } from "./steps.ts";
import { compareTrees, type SeenBytes } from "./trees.ts";

/** Throws what opening a side and reading layers throw. */
export async function compareSubjects(
  parts: EngineParts,
  request: CompareRequest,
  options: EngineTransferOptions,
): Promise<Comparison> {
  await using worker = transferWorker(parts, options);
  await using lease = parts.store.lease();
  const deps: SideDeps = { parts, worker, lease, options, platform: request.platform };
  const a = await openSide(request.a, deps);
  const b = await openSide(request.b, deps);
  return await compareSides(a, b, request, options);
}

/** What an image's provenance says; null: it has none, or it is no image. Throws what opening a side throws. */
export async function provenanceOf(
  parts: EngineParts,
  subject: Subject,
  platform: Platform | null,
  options: EngineTransferOptions,
): Promise<BuiltImageFrom | null> {
  await using worker = transferWorker(parts, options);
  await using lease = parts.store.lease();
  const side = await openSide(subject, { parts, worker, lease, options, platform });
  if (side.kind !== "image") return null;
  const built = (await side.provenance?.()) ?? null;
  return built === null ? null : { ...built, platform: side.platform };
}

interface CompareOptions {
  readonly signal: AbortSignal;
}

async function compareSides(
  a: Side,
  b: Side,
  request: Pick<CompareRequest, "known" | "source" | "days">,
  options: CompareOptions,
): Promise<Comparison> {
  const ends = { a: endOf(a), b: endOf(b) };
  if (a.kind === "image" && b.kind === "image")
    return { ...ends, ...(await compareImages(a, b, request, options)) };
  const layers = await compareWhole(a, b, request, options);
  const notes =
    a.kind === b.kind ? [] : ["one is an image and the other a tree of files: only files are compared"];
  return { ...ends, same: layers.length === 0, config: [], layers, notes, dated: [] };
}

function endOf(side: Side): Comparison["a"] {
  return {
    shown: side.shown,
    kind: side.kind,
    digest: side.kind === "image" ? (side.digest ?? side.configDigest) : null,
  };
}

type Found = Pick<Comparison, "same" | "config" | "layers" | "notes" | "dated">;

async function compareImages(
  a: ImageSide,
  b: ImageSide,
  request: Pick<CompareRequest, "known" | "source" | "days">,
  options: CompareOptions,
): Promise<Found> {
  const notes: string[] = [];
  const config = compareConfigs(a.config, b.config);
  const source = request.source ?? (await sourceOf(b)) ?? (await sourceOf(a));
  const [stepsA, stepsB] = [
    await stepsOf(a.config.history, a.layers.length, source),
    await stepsOf(b.config.history, b.layers.length, source),
  ];
  const keys = (side: ImageSide, steps: readonly (Step | null)[]) =>
    side.layers.map(({ diffId }, at) => ({ diffId, command: steps[at]?.command ?? "" }));
  const pairs = alignLayers(keys(a, stepsA), keys(b, stepsB));
  if (pairs.some((pair) => pair.a === null) && pairs.some((pair) => pair.b === null)) {
    // Layers were cut differently: what counts is what they come to.
    const layers = await compareWhole(a, b, { ...request, source }, options);
    notes.push(
      `the images have other layers (${a.layers.length} and ${b.layers.length}): what they hold is compared as a whole`,
    );
    return { same: false, config, layers, notes, dated: [] };
  }
  const layers: LayerDifference[] = [];
  const seen = openSeen();
  for (const pair of pairs) {
    const [layerA, layerB] = [
      pair.a === null ? null : a.layers[pair.a],
      pair.b === null ? null : b.layers[pair.b],
    ];
    const step =
      (pair.b === null ? null : stepsB[pair.b]) ?? (pair.a === null ? null : stepsA[pair.a]) ?? null;
    if (layerA?.diffId === layerB?.diffId && layerA?.diffId !== undefined) {
      if (layerA.digest !== layerB?.digest && layerA.digest !== null && layerB?.digest !== null)
        notes.push(
          `layer ${(pair.b ?? 0) + 1} is the same tar, compressed differently: ${layerA.digest} and ${layerB?.digest}`,
        );
      continue;
    }
    const at = { a: pair.a === null ? null : pair.a + 1, b: pair.b === null ? null : pair.b + 1, step };
    using treeA = (await layerA?.open(options)) ?? emptyTree();
    using treeB = (await layerB?.open(options)) ?? emptyTree();
    const command = step?.command ?? "";
    const found = await compareTrees(treeA, treeB, {
      ...request,
      ...options,
      command,
      ownership: true,
      seen: seen.at(step),
    });
    const causes =
      found.files.length === 0 && found.causes.length === 0
        ? [
            {
              class: "unknown" as const,
              detail: "the files are equal, and the headers of the tar are written differently",
            },
          ]
        : found.causes;
    // Up to the layer itself: a step may install what it runs.
    const isBusybox =
      /\btar\s/.test(command) &&
      pair.b !== null &&
      (await isBusyboxTar(b.layers.slice(0, pair.b + 1), options));
    const tar = isBusybox ? ({ tar: "busybox" } as const) : {};
    layers.push({ ...at, ...tar, files: found.files, more: found.more, causes });
  }
  const differing = new Set(layers.flatMap(({ files }) => files.map(({ path }) => path)));
  const dated = (await datedFiles(b.layers, stepsB, request.days ?? [], options)).filter(
    ({ path }) => !differing.has(path),
  );
  return { same: config.length === 0 && layers.length === 0, config, layers, notes, dated };
}

/** The Dockerfile that provenance has. */
async function sourceOf({ provenance }: ImageSide): Promise<SourceFile | null> {
  const built = provenance === null ? null : await provenance().catch(unlessAborted);
  return built?.dockerfile ? { ...built.dockerfile, target: built.args["target"] ?? null } : null;
}

/** Provenance only names lines: an image is compared without as well. */
function unlessAborted(error: unknown): null {
  if (error instanceof BuildError) return null;
  throw error;
}

/** What a step's command makes by itself. */
const MAKES: ReadonlySet<CauseClass> = new Set([
  "date-text",
  "random",
  "host-name",
  "user-name",
  "build-path",
]);

/** The step in which each pair of contents was first seen to differ. */
function openSeen(): { at(step: Step | null): SeenBytes } {
  const pathSteps = new Map<string, Step>();
  const contentSteps = new Map<string, Step>();
  return {
    at: (step) => (path, digests) => {
      // Two steps that ask the clock in one second write the same bytes, and neither copies the other.
      const isOwn = MAKES.has(causeOfCommand(step?.command ?? "")?.class ?? "unknown");
      const copied = isOwn || digests === "" ? undefined : contentSteps.get(digests);
      const earlier = copied ?? pathSteps.get(path);
      if (earlier !== undefined && earlier !== step) return earlier;
      if (step !== null) {
        pathSteps.set(path, step);
        if (digests !== "") contentSteps.set(digests, step);
      }
      return null;
    },
  };
}

function emptyTree() {
  return { members: new Map<string, never>(), [Symbol.dispose]() {} };
}

/** All files as a container sees them; differences by the layer that brought the file. */
async function compareWhole(
  a: Side,
  b: Side,
  { known, source }: Pick<CompareRequest, "known" | "source" | "days">,
  options: CompareOptions,
): Promise<readonly LayerDifference[]> {
  await using treeA = await openWhole(a, options);
  await using treeB = await openWhole(b, options);
  // Owners and times of a directory are this user's and today's.
  const ownership = a.kind === b.kind;
  const image = b.kind === "image" ? b : a.kind === "image" ? a : null;
  const steps = image === null ? [] : await stepsOf(image.config.history, image.layers.length, source);
  const found = await compareTrees(treeA.tree, treeB.tree, {
    known,
    ...options,
    command: "",
    ownership,
    seen: () => null,
  });
  if (found.files.length === 0) return [];
  const groups = new Map<number | null, LayerDifference["files"][number][]>();
  for (const file of found.files) {
    const name = Buffer.from(file.path, "utf8").toString("latin1");
    const layer =
      (b.kind === "image" ? treeB.layerOf(name) : null) ?? (a.kind === "image" ? treeA.layerOf(name) : null);
    groups.set(layer, [...(groups.get(layer) ?? []), file]);
  }
  return [...groups].map(([layer, files], at) => {
    const number = layer === null ? null : layer + 1;
    return {
      a: b.kind === "image" ? null : number,
      b: b.kind === "image" ? number : null,
      step: layer === null ? null : (steps[layer] ?? null),
      files,
      more: at === 0 ? found.more : 0,
      causes: [],
    };
  });
}

async function openWhole(side: Side, options: CompareOptions) {
  if (side.kind === "image") {
    const tree = await openFlatTree(side.layers, options);
    return {
      tree: withoutLinks(tree),
      layerOf: tree.layerOf,
      [Symbol.asyncDispose]: () => tree[Symbol.asyncDispose](),
    };
  }
  const tree = await side.open(options);
  const sorted = new Map([...tree.members].toSorted(([one], [other]) => (one < other ? -1 : 1)));
  return {
    tree: withoutLinks({ members: sorted, [Symbol.dispose]() {} }),
    layerOf: () => null,
    async [Symbol.asyncDispose]() {
      tree[Symbol.dispose]();
    },
  };
}

/** Hard links as the files they are: which of several names is the link is a matter of who packed them. */
function withoutLinks({ members }: FileTree): FileTree {
  const resolved = new Map<string, Member>();
  for (const [name, member] of members) {
    const target = member.type === "link" ? members.get(member.link) : undefined;
    resolved.set(name, target ?? member);
  }
  return { members: resolved, [Symbol.dispose]() {} };
}
