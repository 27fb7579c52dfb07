// Errors of builds as clients of BuildKit know them: google.rpc.Status with details in JSON.

import type { SourceText } from "../engine/request.ts";
import type { Definition, SourceFile } from "../../solver/graph/definition.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import { BuildError, type SourceRange, withProposal } from "../../solver/graph/error.ts";
import { encodeDefinition } from "../../solver/graph/llb-definition.ts";
import { CODE, type Detail, RpcError } from "../wire/status.ts";
import { stepsOf } from "./definitions.ts";
import { denialDetails } from "./policy-session.ts";

export const ERRDEFS = "github.com/moby/buildkit/errdefs";

/** The files that errors of a build can point into. */
export interface ErrorSources {
  /** The Dockerfile that was read last; null: none yet. */
  readonly source: SourceText | null;
  /** The graphs of its results, whose steps say where they came from. */
  readonly graphs: readonly Definition[];
}

const NO_SOURCES: ErrorSources = { source: null, graphs: [] };

/** The status of a failure. A failed build is UNKNOWN, which clients print without a prefix; INTERNAL is kept for faults of the daemon.
 *  `more`: further details of a failed build. */
export function statusOf(
  error: unknown,
  sources: ErrorSources = NO_SOURCES,
  more: readonly Detail[] = [],
): RpcError {
  if (error instanceof RpcError) return error;
  if (error instanceof Error && error.name === "AbortError")
    return new RpcError(CODE.CANCELLED, "context canceled");
  if (!(error instanceof BuildError))
    return new RpcError(CODE.INTERNAL, error instanceof Error ? error.message : String(error), [], error);
  const details = placesOf(error, sources);
  if (error.vertex !== null) details.push(detail("Vertex", { digest: error.vertex }));
  details.push(...denialDetails(error), ...more);
  return new RpcError(CODE.UNKNOWN, messageOf(error), details, error);
}

/** The error as one text for people. */
function messageOf(error: BuildError): string {
  const { hint, vertex } = error;
  const proposed = withProposal(error);
  const isProposal = proposed !== error.message;
  // Clients look for this sentence: it has the ids of a result, where ours says only what people know.
  const message = proposed.replace(
    /^failed to calculate checksum of ref: /,
    `failed to compute cache key: failed to calculate checksum of ref ${vertex?.slice("sha256:".length) ?? "context"}: `,
  );
  return hint === null || isProposal ? message : `${message}\n${hint}`;
}

/** A detail of BuildKit's errors, by the name of its type. */
export function detail(name: string, value: object): Detail {
  return { typeUrl: `${ERRDEFS}.${name}+json`, value: Buffer.from(JSON.stringify(value)) };
}

/** Where the error is: what the graph says of its step, or else what the error says itself. */
function placesOf(error: BuildError, { source, graphs }: ErrorSources): Detail[] {
  const own = source === null ? null : fileOf(source);
  const step = error.vertex as Digest | null;
  for (const graph of step === null ? [] : graphs) {
    const at = graph.notes.get(step as Digest)?.at ?? [];
    const details = locationsOf(at).flatMap((ranges) => {
      const [{ file: name }] = ranges;
      const file = graph.sources?.get(name);
      if (file === undefined) return [];
      // What this process made says nothing of where its Dockerfile is from.
      const isOwn = own !== null && name === source?.file && Buffer.compare(own.data, file.data) === 0;
      return [place(name, isOwn ? own : file, ranges)];
    });
    if (details.length > 0) return details;
  }
  if (error.at === null || own === null || error.at.file !== source?.file) return [];
  return [place(error.at.file, own, [error.at])];
}

type Ranges = readonly [SourceRange, ...SourceRange[]];

/** Ranges that follow each other in one file are one location. The last comes first: clients show them in the order of the details, and
 *  BuildKit's are those of an error that was wrapped once for each location. */
function locationsOf(at: readonly SourceRange[]): readonly Ranges[] {
  const locations: [SourceRange, ...SourceRange[]][] = [];
  for (const range of at) {
    const last = locations.at(-1);
    if (last !== undefined && last[0].file === range.file) last.push(range);
    else locations.push([range]);
  }
  return locations.reverse().slice(0, LOCATIONS_MAX);
}

function fileOf({ text, origin }: SourceText): SourceFile {
  return {
    data: Buffer.from(text),
    language: "Dockerfile",
    definition: origin === undefined ? new Uint8Array(0) : encodeDefinition(origin),
  };
}

/** Details are headers, which must be small. */
const ORIGIN_MAX_BYTES = 4096;
const RANGES_MAX = 100;
const LOCATIONS_MAX = 10;

function place(filename: string, file: SourceFile, at: readonly SourceRange[]): Detail {
  const ranges = at.flatMap(rangesOf).slice(0, RANGES_MAX);
  const { definition } = file;
  const isSmall = definition.length > 0 && definition.length <= ORIGIN_MAX_BYTES;
  return detail("Source", {
    info: {
      filename,
      data: excerptOf(
        file.data,
        ranges.map(({ start }) => start.line),
      ).toString("base64"),
      ...(isSmall ? { definition: { def: stepsOf(definition).map((step) => base64(step)) } } : {}),
      language: file.language,
    },
    ranges,
  });
}

function base64(data: Uint8Array): string {
  return Buffer.from(data).toString("base64");
}

/** pb.Position: characters count from 0, which is left out in JSON. */
interface RawPosition {
  readonly line: number;
  readonly character?: number;
}

/** The lines of a range; each is a range for BuildKit. */
function rangesOf({ start, end }: SourceRange): { readonly start: RawPosition; readonly end: RawPosition }[] {
  const isBehind = end.column === 1 && end.line > start.line; // it ends before the first character of that line
  const count = (isBehind ? end.line - 1 : end.line) - start.line + 1;
  return Array.from({ length: Math.min(count, RANGES_MAX) }, (_, index) => {
    const line = start.line + index;
    return {
      start: { line, ...(index === 0 && start.column > 1 ? { character: start.column - 1 } : {}) },
      end: { line, ...(line === end.line && end.column > 1 ? { character: end.column - 1 } : {}) },
    };
  });
}

const LINES_AROUND = 5;
const WHOLE_MAX_BYTES = 2048;

/** A small file as it is; of others, lines far from the ranges are empty. */
function excerptOf(data: Uint8Array, ranges: readonly number[]): Buffer {
  if (data.length <= WHOLE_MAX_BYTES) return Buffer.from(data);
  const first = Math.min(...ranges) - LINES_AROUND;
  const last = Math.max(...ranges) + LINES_AROUND;
  const lines = Buffer.from(data).toString().split("\n");
  return Buffer.from(lines.map((line, at) => (at + 1 >= first && at + 1 <= last ? line : "")).join("\n"));
}
