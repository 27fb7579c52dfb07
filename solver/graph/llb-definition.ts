// Converts a Definition to and from its protocol form, pb.Definition, which clients send to a daemon.

import {
  type Definition,
  type Input,
  inputsFirst,
  type SourceFile,
  type StepResources,
  type Vertex,
  type VertexNote,
} from "./definition.ts";
import { type Digest, digestOf } from "./digest.ts";
import { BuildError, printable, type SourceRange } from "./error.ts";
import { decodeHead, decodeOp, encodeHead, encodeOp } from "./llb.ts";
import { STEP_CAPS } from "./llb-caps.ts";
import { checkOp, hasOutput } from "./llb-check.ts";
import { nameOfOp } from "./llb-names.ts";
import { normalizePlatform } from "./platform.ts";
import {
  blobs,
  bytes,
  decode,
  encode,
  flag,
  int,
  list,
  map,
  message,
  sub,
  text,
  type Value,
} from "./wire.ts";

/** Vertices of one definition; more are refused. */
export const DEFINITION_MAX_VERTICES = 100_000;
/** Bytes of one definition; more are refused. */
export const DEFINITION_MAX_BYTES: number = 64 << 20;

const OFFERED: ReadonlySet<string> = new Set(STEP_CAPS);
/** Source ranges of one step; more are left out: they are for people. */
const RANGES_MAX = 100;

/** Where BuildKit keeps the name of a vertex. */
const NAME_KEY = "llb.customname";

const POSITION = message({ line: int(1), character: int(2) });
const RANGE = message({ start: sub(1, POSITION), end: sub(2, POSITION) });
const LOCATIONS = message({ locations: list(1, message({ sourceIndex: int(1), ranges: list(2, RANGE) })) });

const LINUX_RESOURCES = message({
  memory: int(1),
  memorySwap: int(2),
  cpuShares: int(3),
  cpuPeriod: int(4),
  cpuQuota: int(5),
  cpusetCpus: text(6),
  cpusetMems: text(7),
});

const METADATA = message({
  ignoreCache: flag(1),
  description: map(2, text(2)),
  exportCache: sub(4, message({ value: flag(1) })),
  caps: map(5, flag(2)),
  progressGroup: sub(6, message({ id: text(1), name: text(2), weak: flag(3) })),
  linuxResources: sub(7, LINUX_RESOURCES),
});

const SOURCE = message({
  locations: map(1, sub(2, LOCATIONS)),
  infos: list(2, message({ filename: text(1), data: bytes(2), definition: bytes(3), language: text(4) })),
});

const DEFINITION = message({ def: blobs(1), metadata: map(2, sub(2, METADATA)), source: sub(3, SOURCE) });
type RawSource = Value<typeof SOURCE>;
type RawMetadata = Value<typeof METADATA>;

/** Protocol bytes of a definition. */
export function encodeDefinition(definition: Definition): Uint8Array {
  const { root } = definition;
  if (root === null) return encode(DEFINITION, {});
  // An op may have been changed since its vertex was made: digests are recomputed, inputs first.
  const renamed = new Map<Digest, Digest>();
  const follow = (input: Input): Input => ({ ...input, vertex: renamed.get(input.vertex) ?? input.vertex });
  const def: Uint8Array[] = [];
  const metadata = new Map<string, RawMetadata>();
  for (const vertex of definition.vertices.values()) {
    // What came from foreign bytes leaves as those, unless what is below it has another digest now.
    const isAsReceived = vertex.inputs.every((input) => !renamed.has(input.vertex));
    const data =
      (isAsReceived ? vertex.encoded : undefined) ??
      encodeOp(vertex.op, vertex.platform, vertex.inputs.map(follow));
    const digest = digestOf(data);
    if (digest !== vertex.digest) renamed.set(vertex.digest, digest);
    def.push(data);
    metadata.set(digest, metadataOf(definition.notes.get(vertex.digest)));
  }
  def.push(encodeHead(follow(root)));
  return encode(DEFINITION, { def, metadata, source: sourceOf(definition, renamed) });
}

function metadataOf(note: VertexNote | undefined): RawMetadata {
  return {
    ignoreCache: note?.ignoreCache ?? false,
    description: new Map(note === undefined || note.name === "" ? [] : [[NAME_KEY, note.name]]),
    exportCache: note?.exportCache === undefined ? null : { value: note.exportCache },
    caps: new Map(),
    progressGroup: note?.group ?? null,
    linuxResources: note?.resources === undefined ? null : resourcesToRaw(note.resources),
  };
}

function resourcesToRaw(resources: StepResources): NonNullable<RawMetadata["linuxResources"]> {
  return {
    memory: resources.memoryBytes ?? 0,
    memorySwap: resources.memorySwapBytes ?? 0,
    cpuShares: resources.cpuShares ?? 0,
    cpuPeriod: resources.cpuPeriodUs ?? 0,
    cpuQuota: resources.cpuQuotaUs ?? 0,
    cpusetCpus: resources.cpusetCpus ?? "",
    cpusetMems: resources.cpusetMems ?? "",
  };
}

function sourceOf(definition: Definition, renamed: ReadonlyMap<Digest, Digest>): RawSource | null {
  const files: string[] = [];
  const locations: [string, NonNullable<Value<typeof LOCATIONS>>][] = [];
  for (const [digest, note] of definition.notes) {
    if (note.at.length === 0) continue;
    for (const { file } of note.at) if (!files.includes(file)) files.push(file);
    locations.push([
      renamed.get(digest) ?? digest,
      {
        locations: note.at.map((range) => ({
          sourceIndex: files.indexOf(range.file),
          ranges: [rangeToRaw(range)],
        })),
      },
    ]);
  }
  if (files.length === 0) return null;
  const bare: SourceFile = { data: EMPTY, definition: EMPTY, language: "Dockerfile" };
  return {
    locations: new Map(locations),
    infos: files.map((filename) => ({ filename, ...(definition.sources?.get(filename) ?? bare) })),
  };
}

const EMPTY = new Uint8Array(0);

function rangeToRaw({ start, end }: SourceRange): Value<typeof RANGE> {
  // Columns count from 0 in the protocol.
  return {
    start: { line: start.line, character: start.column - 1 },
    end: { line: end.line, character: end.column - 1 },
  };
}

export interface DecodeOptions {
  /** Capabilities that steps may depend on; omitted: those that are offered. */
  readonly caps?: ReadonlySet<string>;
}

/** Decodes protocol bytes. The digest of a vertex is that of its bytes as they came. Throws USAGE or DIGEST_INVALID for invalid
 *  definitions and for steps that depend on a capability which is not offered, LIMIT_EXCEEDED for oversized ones. */
export function decodeDefinition(data: Uint8Array, { caps = OFFERED }: DecodeOptions = {}): Definition {
  if (data.length > DEFINITION_MAX_BYTES) {
    throw new BuildError(
      "LIMIT_EXCEEDED",
      `a definition of ${data.length} bytes is over ${DEFINITION_MAX_BYTES}`,
    );
  }
  const raw = decode(DEFINITION, data, "LLB definition");
  if (raw.def.length > DEFINITION_MAX_VERTICES) {
    throw new BuildError(
      "LIMIT_EXCEEDED",
      `a definition of ${raw.def.length} steps is over ${DEFINITION_MAX_VERTICES}`,
    );
  }
  const head = raw.def.at(-1);
  if (head === undefined) return { vertices: new Map(), notes: new Map(), root: null };
  const loose = new Map<Digest, Vertex>();
  for (const bytes of raw.def.slice(0, -1)) {
    const digest = digestOf(bytes);
    const { platform, ...rest } = decodeOp(bytes);
    loose.set(digest, { digest, platform: platformOf(platform), ...rest, encoded: bytes });
  }
  const root = decodeHead(head);
  const vertices = sortVertices(loose, root);
  const notes = new Map<Digest, VertexNote>();
  for (const vertex of vertices.values()) {
    checkOp(vertex.op);
    for (const input of vertex.inputs) checkOutput(vertices, input);
    const metadata = raw.metadata.get(vertex.digest) ?? null;
    checkCaps(metadata, caps);
    const names = vertex.inputs.map((input) => notes.get(input.vertex)?.name ?? "");
    notes.set(vertex.digest, noteOf(vertex, names, metadata, raw.source));
  }
  checkOutput(vertices, root);
  const sources = filesOf(raw.source);
  return { vertices, notes, root, ...(sources.size === 0 ? {} : { sources }) };
}

/** In the form that compares equal; one that says nothing is none. */
function platformOf(platform: Vertex["platform"]): Vertex["platform"] {
  if (platform === null || (platform.os === "" && platform.architecture === "")) return null;
  return normalizePlatform(platform);
}

function checkOutput(vertices: ReadonlyMap<Digest, Vertex>, { vertex, output }: Input): void {
  const op = vertices.get(vertex)?.op;
  if (op === undefined || hasOutput(op, output)) return;
  throw new BuildError(
    "USAGE",
    `not a valid LLB definition: a step of the kind ${op.kind} has no output ${output}`,
  );
}

/** A step that depends on what this builder does not know would be built as something else. */
function checkCaps(metadata: RawMetadata | null, caps: ReadonlySet<string>): void {
  for (const name of metadata?.caps.keys() ?? []) {
    if (caps.has(name)) continue;
    throw new BuildError("USAGE", `unknown API capability ${printable(name, 100)}`, {
      hint: "a step of the definition depends on it, and this builder does not have it",
    });
  }
}

/** The files there is a text of; of several under one name the first. */
function filesOf(source: RawSource | null): ReadonlyMap<string, SourceFile> {
  const files = new Map<string, SourceFile>();
  for (const { filename, ...file } of source?.infos ?? [])
    if (file.data.length > 0 && !files.has(filename)) files.set(filename, file);
  return files;
}

/** Everything reachable from root; the order of the bytes is not trusted. */
function sortVertices(loose: ReadonlyMap<Digest, Vertex>, root: Input): Map<Digest, Vertex> {
  return inputsFirst(
    loose,
    root,
    (digest) => new BuildError("USAGE", `not a valid LLB definition: step ${digest} is missing`),
  );
}

function noteOf(
  { digest, op }: Vertex,
  inputs: readonly string[],
  metadata: RawMetadata | null,
  source: RawSource | null,
): VertexNote {
  const resources = op.kind === "exec" ? resourcesOf(metadata?.linuxResources ?? null) : null;
  const exportCache = metadata?.exportCache ?? null;
  return {
    name: metadata?.description.get(NAME_KEY) ?? nameOfOp(op, inputs),
    ignoreCache: metadata?.ignoreCache ?? false,
    at: rangesOf(digest, source),
    group: metadata?.progressGroup ?? null,
    ...(resources === null ? {} : { resources }),
    ...(exportCache === null ? {} : { exportCache: exportCache.value }),
  };
}

/** Ranges that can be ones; others mislead and are left out. */
function rangesOf(digest: Digest, source: RawSource | null): SourceRange[] {
  const at: SourceRange[] = [];
  for (const location of source?.locations.get(digest)?.locations ?? []) {
    const file = source?.infos[location.sourceIndex]?.filename;
    if (file === undefined) continue;
    for (const { start, end } of location.ranges) {
      if (at.length === RANGES_MAX) return at;
      if (start === null || start.line < 1 || start.character < 0) continue;
      const last = end !== null && end.line >= start.line && end.character >= 0 ? end : start;
      at.push({
        file,
        start: { line: start.line, column: start.character + 1 },
        end: { line: last.line, column: last.character + 1 },
      });
    }
  }
  return at;
}

/** Zero stands for "not set", as in the runtime's configuration. Throws USAGE for what is no limit. */
function resourcesOf(raw: RawMetadata["linuxResources"]): StepResources | null {
  if (raw === null) return null;
  const { memory, memorySwap, cpuShares, cpuPeriod, cpuQuota, cpusetCpus, cpusetMems } = raw;
  for (const value of [memory, cpuShares, cpuPeriod])
    if (value < 0)
      throw new BuildError("USAGE", `not a valid LLB definition: ${value} is no limit of a step`);
  for (const list of [cpusetCpus, cpusetMems]) {
    if (!/^[0-9,-]*$/.test(list))
      throw new BuildError(
        "USAGE",
        `not a valid LLB definition: ${JSON.stringify(printable(list))} is no list of CPUs`,
      );
  }
  if (memorySwap > 0 && memorySwap < memory)
    throw new BuildError(
      "USAGE",
      "not a valid LLB definition: memory and swap of a step are less than its memory",
    );
  const resources = {
    memoryBytes: memory === 0 ? null : memory,
    memorySwapBytes: memorySwap === 0 || memory === 0 ? null : Math.max(-1, memorySwap),
    cpuShares: cpuShares === 0 ? null : cpuShares,
    cpuPeriodUs: cpuPeriod === 0 ? null : cpuPeriod,
    cpuQuotaUs: cpuQuota <= 0 ? null : cpuQuota, // negative: any, as the kernel has it
    cpusetCpus: cpusetCpus === "" ? null : cpusetCpus,
    cpusetMems: cpusetMems === "" ? null : cpusetMems,
  };
  return Object.values(resources).every((value) => value === null) ? null : resources;
}
