// What goes into the history with a record: the logs of a build, and the documents of the images that it exported.

import { create, toBinary } from "@bufbuild/protobuf";
import { setImmediate as turn } from "node:timers/promises";
import type { ContentStore } from "../../cache/contract.ts";
import type { MakeProvenance } from "../engine/request.ts";
import type { Platform } from "../../solver/graph/op.ts";
import { isDigest } from "../../solver/graph/digest.ts";
import type { Descriptor as OciDescriptor } from "../../solver/graph/request.ts";
import { type StatusResponse, StatusResponseSchema } from "../wire/messages/moby/buildkit/v1/control_pb.ts";
import { withoutCredentials } from "../without-credentials.ts";
import { attached, type Attached, framedLog } from "./history-store.ts";

/** Of the messages of a build's log. The logs among them have less (status-stream.ts); this is for very many short ones, and for graphs of
 *  very many steps. */
const LOG_MAX_BYTES = 16 << 20;
/** 8 ms: a long log is no reason for other builds to stand still. */
const MESSAGES_PER_TURN = 1_000;
const CLIPPED = Buffer.from("[output clipped: the history keeps the last part of this build's logs]\n");

/** Steps as they are counted in a record. */
export interface StepCounts {
  readonly numTotalSteps: number;
  readonly numCompletedSteps: number;
  readonly numCachedSteps: number;
  readonly numWarnings: number;
}

export function stepCounts(parts: readonly StatusResponse[]): StepCounts {
  const total = new Set<string>();
  const completed = new Set<string>();
  const cached = new Set<string>();
  let numWarnings = 0;
  for (const { vertexes, warnings } of parts) {
    numWarnings += warnings.length;
    for (const vertex of vertexes) {
      total.add(vertex.digest);
      if (vertex.completed !== undefined) completed.add(vertex.digest);
      if (vertex.cached) cached.add(vertex.digest);
    }
  }
  return {
    numTotalSteps: total.size,
    numCompletedSteps: completed.size,
    numCachedSteps: cached.size,
    numWarnings,
  };
}

/** The progress of a build as a blob. What does not fit is left out: first the oldest logs, which is said, then the oldest transfers. */
export async function logOf(parts: readonly StatusResponse[]): Promise<Attached> {
  const messages: Uint8Array[] = [];
  let bytes = 0;
  for (const part of parts) {
    const message = toBinary(StatusResponseSchema, withoutUrls(part));
    messages.push(message);
    bytes += message.length + 4;
    if (messages.length % MESSAGES_PER_TURN === 0) await turn();
  }
  let isSaid = false;
  for (const kind of ["logs", "statuses", "vertexes"] as const) {
    for (const [at, part] of parts.entries()) {
      if (bytes <= LOG_MAX_BYTES) break;
      const message = messages[at] as Uint8Array;
      const [first] = part.logs;
      if (part[kind].length === 0 || message.length === 0) continue;
      const instead =
        kind === "logs" && first !== undefined && !isSaid
          ? toBinary(
              StatusResponseSchema,
              create(StatusResponseSchema, { logs: [{ ...first, msg: CLIPPED }] }),
            )
          : new Uint8Array();
      isSaid ||= kind === "logs";
      bytes += instead.length - message.length;
      messages[at] = instead;
    }
  }
  return attached(
    framedLog(messages.filter(({ length }) => length > 0)),
    "application/vnd.buildkit.status.v0",
  );
}

/** Names and errors of steps may have URLs as a Dockerfile writes them. */
function withoutUrls(part: StatusResponse): StatusResponse {
  if (part.vertexes.length === 0) return part;
  return create(StatusResponseSchema, {
    ...part,
    vertexes: part.vertexes.map((vertex) => ({
      ...vertex,
      name: withoutCredentials(vertex.name),
      error: withoutCredentials(vertex.error),
    })),
  });
}

const DOCUMENT_MAX_BYTES = 4 << 20;
const DOCUMENTS_MAX_BYTES = 16 << 20;
const ATTESTATION = "application/vnd.in-toto+json";

interface Document {
  readonly manifests?: unknown;
  readonly config?: unknown;
  readonly layers?: unknown;
}

/** Provenance as BuildKit keeps it: the predicates alone, with all details as long as those are no more than a few MiB. */
export async function provenanceOf(
  make: MakeProvenance,
): Promise<readonly { readonly platform: Platform | null; readonly attached: Attached }[]> {
  const whole = await make("max");
  const isLarge = whole.some(({ predicate }) => predicate.length > DOCUMENT_MAX_BYTES);
  return (isLarge ? await make("min") : whole).map(({ platform, predicateType, predicate }) => ({
    platform,
    attached: attached(Buffer.from(openPredicate(predicate)), ATTESTATION, {
      "in-toto.io/predicate-type": predicateType,
    }),
  }));
}

/** Without credentials in any of its texts, nor in the files in it, which are in base64. */
function openPredicate(json: string): string {
  const open: unknown = JSON.parse(json, (name, value: unknown) => {
    if (typeof value !== "string") return value;
    if (name !== "data") return withoutCredentials(value);
    const text = Buffer.from(value, "base64").toString("latin1");
    return Buffer.from(withoutCredentials(text), "latin1").toString("base64");
  });
  return JSON.stringify(open, null, 2);
}

/** The index or manifest, and all that it leads to but layers of file systems. Empty: it is not in the store (any more). */
export function documentsOf(content: ContentStore, root: OciDescriptor): readonly Uint8Array[] {
  const found: Uint8Array[] = [];
  const seen = new Set<string>();
  let bytes = 0;
  const visit = (descriptor: unknown, isWanted: (mediaType: string) => boolean): void => {
    const { digest, mediaType } = (descriptor ?? {}) as { digest?: unknown; mediaType?: unknown };
    if (typeof digest !== "string" || typeof mediaType !== "string" || !isDigest(digest)) return;
    const size = content.size(digest);
    if (seen.has(digest) || !isWanted(mediaType) || size === null) return;
    seen.add(digest);
    if (size > DOCUMENT_MAX_BYTES || bytes + size > DOCUMENTS_MAX_BYTES) return;
    const data = content.read(digest, DOCUMENT_MAX_BYTES);
    bytes += data.length;
    found.push(data);
    if (!/\.(?:index|manifest|list)\.v\d\+json$/.test(mediaType)) return;
    const { manifests, config, layers } = JSON.parse(Buffer.from(data).toString()) as Document;
    visit(config, () => true);
    if (Array.isArray(manifests)) for (const one of manifests) visit(one, () => true);
    if (Array.isArray(layers)) for (const one of layers) visit(one, (type) => type === ATTESTATION);
  };
  visit(root, () => true);
  return found;
}
