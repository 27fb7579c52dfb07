// Converts an Op to and from LLB bytes, the build graph format of BuildKit. The digest of a vertex is the sha256 of its bytes,
// so this file defines the identity of every step. Field numbers: moby/buildkit solver/pb/ops.proto.

import type { Definition, Input, SourceFile, Vertex, VertexNote } from "./definition.ts";
import { type Digest, digestOf, parseDigest } from "./digest.ts";
import { BuildError, type SourceRange } from "./error.ts";
import { execField } from "./llb-exec.ts";
import { fileField } from "./llb-file.ts";
import type { ExecMount, FileAction, FileOp, Op, Platform } from "./op.ts";
import {
  bytes,
  decode,
  encode,
  int,
  ints,
  list,
  map,
  message,
  type Sparse,
  sub,
  text,
  texts,
  type Value,
  withEncoded,
} from "./wire.ts";

/** Bytes of one op; a bigger one is refused. BuildKit's gRPC messages end at 16 MiB. */
export const OP_MAX_BYTES: number = 16 << 20;
/** Inputs, mounts, actions or outputs of one op. */
export const OP_MAX_PARTS = 10_000;

const PLATFORM = message({
  architecture: text(1),
  os: text(2),
  variant: text(3),
  osVersion: text(4),
  osFeatures: texts(5),
});
const ONE_INPUT = message({ input: int(1) });

const OP = message({
  inputs: list(1, message({ digest: text(1), index: int(2) })),
  exec: execField,
  source: sub(3, message({ identifier: text(1), attrs: map(2, text(2)) })),
  file: fileField,
  build: sub(
    5,
    message({ builder: int(1), inputs: map(2, sub(2, ONE_INPUT)), def: bytes(3), attrs: map(4, text(2)) }),
  ),
  merge: sub(6, message({ inputs: list(1, ONE_INPUT) })),
  diff: sub(7, message({ lower: sub(1, ONE_INPUT), upper: sub(2, ONE_INPUT) })),
  passthrough: sub(8, message({ id: text(1), outputs: ints(2) })),
  platform: sub(10, PLATFORM),
  constraints: sub(11, message({ filter: texts(1) })),
});
type RawOp = Value<typeof OP>;

/** The decoded bytes of one op. */
export interface DecodedOp {
  readonly op: Op;
  readonly platform: Platform | null;
  readonly inputs: readonly Input[];
}

/** LLB bytes of an op, the same on every machine for the same arguments. */
export function encodeOp(op: Op, platform: Platform | null, inputs: readonly Input[]): Uint8Array {
  return encode(OP, opToRaw(op, platform, inputs));
}

function opToRaw(op: Op, platform: Platform | null, inputs: readonly Input[]): Sparse<RawOp> {
  const raw = bodyToRaw(op);
  raw.inputs = inputs.map((input) => ({ digest: input.vertex, index: input.output }));
  raw.platform = platform && {
    architecture: platform.architecture,
    os: platform.os,
    variant: platform.variant ?? "",
    osVersion: platform.osVersion ?? "",
  };
  raw.constraints = NO_CONSTRAINTS; // Go clients always set it
  return raw;
}
const NO_CONSTRAINTS = {};

/** The vertex of an op; its digest is that of the LLB bytes. */
export function makeVertex(op: Op, platform: Platform | null, inputs: readonly Input[]): Vertex {
  return { digest: withEncoded(OP, opToRaw(op, platform, inputs), digestOf), op, platform, inputs };
}

/** Decodes LLB bytes. Throws USAGE for unknown ops, LIMIT_EXCEEDED for oversized ones. */
export function decodeOp(data: Uint8Array): DecodedOp {
  const raw = readRaw(data);
  const op = bodyFromRaw(raw);
  checkIndices(op, raw.inputs.length);
  const { platform } = raw;
  return {
    op,
    platform: platform && {
      os: platform.os,
      architecture: platform.architecture,
      ...(platform.variant === "" ? {} : { variant: platform.variant }),
      ...(platform.osVersion === "" ? {} : { osVersion: platform.osVersion }),
    },
    inputs: raw.inputs.map(inputFromRaw),
  };
}

/** Bytes of the last entry of a definition: an op without a body whose only input is the result. */
export function encodeHead(root: Input): Uint8Array {
  return encode(OP, { inputs: [{ digest: root.vertex, index: root.output }] });
}

/** The result that a definition's last entry points to. Throws USAGE if it is not such an entry. */
export function decodeHead(data: Uint8Array): Input {
  const raw = readRaw(data);
  const [input] = raw.inputs;
  if (input === undefined || raw.inputs.length !== 1 || bodiesOf(raw).length > 0) {
    throw new BuildError("USAGE", "not a valid LLB definition: its last entry must name exactly one result");
  }
  return inputFromRaw(input);
}

function readRaw(data: Uint8Array): RawOp {
  if (data.length > OP_MAX_BYTES) {
    throw new BuildError(
      "LIMIT_EXCEEDED",
      `a build step of ${data.length} bytes is over the limit of ${OP_MAX_BYTES}`,
    );
  }
  const raw = decode(OP, data, "LLB op");
  for (const parts of [
    raw.inputs,
    raw.exec?.mounts,
    raw.file?.actions,
    raw.merge?.inputs,
    raw.passthrough?.outputs,
  ]) {
    if (parts !== undefined && parts.length > OP_MAX_PARTS) {
      throw new BuildError(
        "LIMIT_EXCEEDED",
        `a build step with ${parts.length} parts is over the limit of ${OP_MAX_PARTS}`,
      );
    }
  }
  return raw;
}

function inputFromRaw(raw: { readonly digest: string; readonly index: number }): Input {
  checkIndex(raw.index, OP_MAX_PARTS);
  return { vertex: parseDigest(raw.digest), output: raw.index };
}

/** No input: the protocol's -1, which is scratch. */
const NONE = -1;

function bodyToRaw(op: Op): { -readonly [K in keyof Sparse<RawOp>]: Sparse<RawOp>[K] } {
  switch (op.kind) {
    case "source":
      return { source: { identifier: op.identifier, attrs: new Map(Object.entries(op.attrs)) } };
    case "exec":
      return { exec: op };
    case "file":
      return { file: op };
    case "merge":
      return { merge: { inputs: op.inputs.map((input) => ({ input: input ?? NONE })) } };
    case "diff":
      return { diff: { lower: { input: op.lower ?? NONE }, upper: { input: op.upper ?? NONE } } };
    case "build":
      return {
        build: {
          builder: op.builder,
          inputs: new Map(Object.entries(op.inputs).map(([name, input]) => [name, { input }])),
          attrs: new Map(Object.entries(op.attrs)),
        },
      };
    case "passthrough":
      return { passthrough: op };
  }
}

function bodiesOf(raw: RawOp): readonly unknown[] {
  const { exec, source, file, build, merge, diff, passthrough } = raw;
  return [exec, source, file, build, merge, diff, passthrough].filter((body) => body !== null);
}

function bodyFromRaw(raw: RawOp): Op {
  const { exec, source, file, build, merge, diff, passthrough } = raw;
  if (bodiesOf(raw).length !== 1) {
    throw new BuildError("USAGE", "not a valid LLB op: it needs exactly one kind of operation");
  }
  if (exec !== null) return exec;
  if (file !== null) return file;
  if (source !== null)
    return { kind: "source", identifier: source.identifier, attrs: Object.fromEntries(source.attrs) };
  if (merge !== null) return { kind: "merge", inputs: merge.inputs.map(({ input }) => orNull(input)) };
  if (passthrough !== null) return { kind: "passthrough", ...passthrough };
  if (build !== null) {
    if (build.def.length > 0)
      throw new BuildError("USAGE", "not a valid LLB op: a build step takes its definition from an input");
    return {
      kind: "build",
      builder: build.builder,
      inputs: Object.fromEntries([...build.inputs].map(([name, one]) => [name, one?.input ?? 0])),
      attrs: Object.fromEntries(build.attrs),
    };
  }
  if (diff === null || diff.lower === null || diff.upper === null)
    throw new BuildError("USAGE", "not a valid LLB op: a diff needs a lower and an upper input");
  return { kind: "diff", lower: orNull(diff.lower.input), upper: orNull(diff.upper.input) };
}

function orNull(value: number): number | null {
  return value === NONE ? null : value;
}

/** Checks all indexes, so that later code need not check again. */
function checkIndices(op: Op, inputs: number): void {
  switch (op.kind) {
    case "merge":
      for (const input of op.inputs) checkIndex(input, inputs);
      return;
    case "diff":
      checkIndex(op.lower, inputs);
      checkIndex(op.upper, inputs);
      return;
    case "exec":
      for (const mount of op.mounts) checkMount(mount, inputs);
      return;
    case "file":
      checkActions(op, inputs);
      return;
    case "passthrough":
      for (const input of op.outputs) checkIndex(input, inputs);
      return;
    case "build":
      for (const input of Object.values(op.inputs)) checkIndex(input, inputs);
      return;
    case "source":
      return;
  }
}

function checkMount(mount: ExecMount, inputs: number): void {
  if (mount.kind === "bind" || mount.kind === "cache") checkIndex(mount.input, inputs);
  if (mount.kind === "bind") checkIndex(mount.output, OP_MAX_PARTS);
}

function checkActions(op: FileOp, inputs: number): void {
  op.actions.forEach((action: FileAction, i) => {
    const available = inputs + i; // an action may use the results of those before it
    checkIndex(action.base, available);
    checkIndex(action.output, OP_MAX_PARTS);
    if (action.kind === "copy") checkIndex(action.from, available);
    if (action.kind === "rm") return;
    for (const owner of [action.owner?.user, action.owner?.group]) {
      if (owner?.kind === "name") checkIndex(owner.input, available);
    }
  });
}

function checkIndex(value: number | null, count: number): void {
  if (value === null || (value >= 0 && value < count)) return;
  throw new BuildError("USAGE", `not a valid LLB op: index ${value} of ${count}`);
}

/** Collects vertices while a graph is built, inputs first. */
export interface GraphBuilder {
  /** Adds a vertex (once, if added again) and returns its first output. */
  add(op: Op, platform: Platform | null, inputs: readonly Input[], note: VertexNote): Input;
  /** Says what a file is that notes point into. */
  file(name: string, file: SourceFile): void;
  /** Adds another graph, and returns its root. Its notes point into no file that is another one of the same name here. */
  include(definition: Definition): Input | null;
  /** Everything reachable from `root`, and nothing else; null is scratch. */
  definition(root: Input | null): Definition;
}

export function openGraph(): GraphBuilder {
  let vertices = new Map<Digest, Vertex>();
  let notes = new Map<Digest, VertexNote>();
  const files = new Map<string, SourceFile>();
  let isShared = false; // with a definition of all there was
  const places = new Map<Digest, Map<string, SourceRange>>(); // of vertices that were added more than once
  const own = (): void => {
    if (!isShared) return;
    vertices = new Map(vertices);
    notes = new Map(notes);
    isShared = false;
  };
  return {
    add: (op, platform, inputs, note) => {
      own();
      const vertex = makeVertex(op, platform, inputs);
      const { digest } = vertex;
      const known = notes.get(digest);
      if (known === undefined) {
        vertices.set(digest, vertex);
        notes.set(digest, note);
      } else {
        // A step written twice is one vertex, displayed under its first name, with all its positions.
        const at = places.get(digest) ?? new Map(known.at.map((range) => [JSON.stringify(range), range]));
        places.set(digest, at);
        for (const range of note.at) at.set(JSON.stringify(range), range);
        if (note.ignoreCache && !known.ignoreCache) notes.set(digest, { ...known, ignoreCache: true });
      }
      return { vertex: digest, output: 0 };
    },
    file: (name, file) => {
      files.set(name, file);
    },
    include: (definition) => {
      own();
      const others = new Set<string>();
      for (const [name, file] of definition.sources ?? []) {
        const known = files.get(name);
        if (known === undefined) files.set(name, file);
        else if (Buffer.compare(known.data, file.data) !== 0) others.add(name);
      }
      for (const [digest, vertex] of definition.vertices) vertices.set(digest, vertex);
      for (const [digest, note] of definition.notes) {
        if (notes.has(digest)) continue;
        notes.set(
          digest,
          others.size === 0 ? note : { ...note, at: note.at.filter(({ file }) => !others.has(file)) },
        );
      }
      return definition.root;
    },
    definition: (root) => {
      for (const [digest, at] of places) {
        const note = notes.get(digest);
        if (note !== undefined) notes.set(digest, { ...note, at: [...at.values()] });
      }
      const wanted = reachableFrom(vertices, root);
      const isWhole = wanted.size === vertices.size;
      isShared ||= isWhole;
      const sources = files.size === 0 ? {} : { sources: new Map(files) };
      if (isWhole) return { vertices, notes, root, ...sources };
      return { vertices: only(vertices, wanted), notes: only(notes, wanted), root, ...sources };
    },
  };
}

function reachableFrom(vertices: ReadonlyMap<Digest, Vertex>, root: Input | null): ReadonlySet<Digest> {
  const wanted = new Set<Digest>();
  const waiting = root === null ? [] : [root.vertex];
  for (let digest = waiting.pop(); digest !== undefined; digest = waiting.pop()) {
    if (wanted.has(digest)) continue;
    wanted.add(digest);
    for (const input of vertices.get(digest)?.inputs ?? []) waiting.push(input.vertex);
  }
  return wanted;
}

function only<T>(all: ReadonlyMap<Digest, T>, wanted: ReadonlySet<Digest>): ReadonlyMap<Digest, T> {
  const some = new Map(all);
  for (const digest of all.keys()) if (!wanted.has(digest)) some.delete(digest);
  return some;
}
