// Converts a Definition to and from its protocol form, pb.Definition, which clients send to a daemon.

import type { Definition, Input, Vertex, VertexNote } from "./definition.ts";
import { type Digest, digestOf } from "./digest.ts";
import { BuildError, type SourceRange } from "./error.ts";
import { decodeHead, decodeOp, encodeHead, encodeOp } from "./llb.ts";
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
  // The definition of a source info (field 3), the origin of the file, is not used here.
  infos: list(2, message({ filename: text(1), data: bytes(2), definition: bytes(3), language: text(4) })),
});

const DEFINITION = message({ def: blobs(1), metadata: map(2, sub(2, METADATA)), source: sub(3, SOURCE) });
type RawSource = Value<typeof SOURCE>;
type RawMetadata = Value<typeof METADATA>;

/** Protocol bytes of a definition. sources: text of the files that notes point into, for the other side's excerpts. */
export function encodeDefinition(
  definition: Definition,
  sources: ReadonlyMap<string, Uint8Array> = new Map(),
): Uint8Array {
  const { root } = definition;
  if (root === null) return encode(DEFINITION, {});
  // A vertex that came from foreign bytes may encode to other bytes here: digests are recomputed, inputs first.
  const renamed = new Map<Digest, Digest>();
  const follow = (input: Input): Input => ({ ...input, vertex: renamed.get(input.vertex) ?? input.vertex });
  const def: Uint8Array[] = [];
  const metadata = new Map<string, RawMetadata>();
  for (const vertex of definition.vertices.values()) {
    const data = encodeOp(vertex.op, vertex.platform, vertex.inputs.map(follow));
    const digest = digestOf(data);
    renamed.set(vertex.digest, digest);
    def.push(data);
    metadata.set(digest, metadataOf(definition.notes.get(vertex.digest)));
  }
  def.push(encodeHead(follow(root)));
  return encode(DEFINITION, { def, metadata, source: sourceOf(definition, renamed, sources) });
}

function metadataOf(note: VertexNote | undefined): RawMetadata {
  return {
    ignoreCache: note?.ignoreCache ?? false,
    description: new Map(note === undefined || note.name === "" ? [] : [[NAME_KEY, note.name]]),
    exportCache: null,
    caps: new Map(),
    progressGroup: note?.group ?? null,
    linuxResources: null,
  };
}

function sourceOf(
  definition: Definition,
  renamed: ReadonlyMap<Digest, Digest>,
  sources: ReadonlyMap<string, Uint8Array>,
): RawSource | null {
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
  const empty = new Uint8Array(0);
  return {
    locations: new Map(locations),
    infos: files.map((filename) => ({
      filename,
      data: sources.get(filename) ?? empty,
      definition: empty,
      language: "Dockerfile",
    })),
  };
}

function rangeToRaw({ start, end }: SourceRange): Value<typeof RANGE> {
  // Columns count from 0 in the protocol.
  return {
    start: { line: start.line, character: start.column - 1 },
    end: { line: end.line, character: end.column - 1 },
  };
}

/** Decodes protocol bytes. Throws USAGE or DIGEST_INVALID for invalid definitions, LIMIT_EXCEEDED for oversized ones. */
export function decodeDefinition(data: Uint8Array): Definition {
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
    loose.set(digest, { digest, ...decodeOp(bytes) });
  }
  const root = decodeHead(head);
  const vertices = sortVertices(loose, root);
  const notes = new Map<Digest, VertexNote>();
  for (const digest of vertices.keys()) {
    notes.set(digest, noteOf(digest, raw.metadata.get(digest) ?? null, raw.source));
  }
  return { vertices, notes, root };
}

/** Everything reachable from root, inputs before their users; the order of the bytes is not trusted. */
function sortVertices(loose: ReadonlyMap<Digest, Vertex>, root: Input): Map<Digest, Vertex> {
  const sorted = new Map<Digest, Vertex>();
  const stack: { readonly vertex: Vertex; next: number }[] = [];
  const enter = (digest: Digest): void => {
    if (sorted.has(digest)) return;
    const vertex = loose.get(digest);
    if (vertex === undefined)
      throw new BuildError("USAGE", `not a valid LLB definition: step ${digest} is missing`);
    stack.push({ vertex, next: 0 });
  };
  enter(root.vertex);
  // Digests cannot form a cycle: a vertex's bytes hold the digests of its inputs.
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const input = top.vertex.inputs[top.next++];
    if (input !== undefined) {
      enter(input.vertex);
    } else {
      sorted.set(top.vertex.digest, top.vertex);
      stack.pop();
    }
  }
  return sorted;
}

function noteOf(digest: Digest, metadata: RawMetadata | null, source: RawSource | null): VertexNote {
  const at: SourceRange[] = [];
  for (const location of source?.locations.get(digest)?.locations ?? []) {
    const file = source?.infos[location.sourceIndex]?.filename;
    if (file === undefined) continue;
    for (const { start, end } of location.ranges) {
      at.push({
        file,
        start: { line: start?.line ?? 0, column: (start?.character ?? 0) + 1 },
        end: { line: end?.line ?? 0, column: (end?.character ?? 0) + 1 },
      });
    }
  }
  return {
    name: metadata?.description.get(NAME_KEY) ?? "",
    ignoreCache: metadata?.ignoreCache ?? false,
    at,
    group: metadata?.progressGroup ?? null,
  };
}
