// Records of builds as they are kept: BuildHistoryRecord in protobuf, with the blobs that it names, in the store's history files.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { HistoryBlob, HistoryFiles } from "../../cache/history-files.ts";
import { type Digest, digestOf, isDigest } from "../../solver/graph/digest.ts";
import {
  type BuildHistoryRecord,
  BuildHistoryRecordSchema,
  type Descriptor,
  DescriptorSchema,
  type StatusResponse,
  StatusResponseSchema,
} from "../wire/messages/moby/buildkit/v1/control_pb.ts";
import { millisecondsOf } from "../wire/timestamp.ts";

/** How much history is kept. A build goes when there are more than `maxEntries` newer ones and it ended longer than `maxAgeMs` ago, as in
 *  BuildKit. Pinned ones stay and are not counted. */
export interface HistoryLimits {
  readonly maxAgeMs: number;
  readonly maxEntries: number;
}

export const DEFAULT_HISTORY_LIMITS: HistoryLimits = { maxAgeMs: 48 * 3_600_000, maxEntries: 50 };

/** Whatever their age, older builds go beyond these, so that a busy daemon does not fill its disk. */
const ENTRIES_MAX = 5_000;
const TOTAL_MAX_BYTES = 512 << 20;

/** A blob in memory, to be named in a record. */
export interface Attached {
  readonly descriptor: Descriptor;
  readonly data: Uint8Array;
}

export interface HistoryStore {
  /** On disk when it resolves, instead of a record of that Ref. */
  save(record: BuildHistoryRecord, blobs: readonly Uint8Array[]): Promise<void>;
  get(ref: string): BuildHistoryRecord | null;
  /** In no order. */
  list(): AsyncGenerator<BuildHistoryRecord, void, undefined>;
  /** null: there is none. */
  change(
    ref: string,
    change: (record: BuildHistoryRecord) => void,
    options: { readonly signal: AbortSignal },
  ): Promise<BuildHistoryRecord | null>;
  remove(ref: string, options: { readonly signal: AbortSignal }): Promise<boolean>;
  /** Messages of the logs of a build. null: they are not there. */
  logs(record: BuildHistoryRecord): Promise<AsyncGenerator<StatusResponse, void, undefined> | null>;
  /** Removes what is beyond the limits; the Refs of what went. */
  tidy(
    limits: HistoryLimits,
    options: { readonly nowMs: number; readonly signal: AbortSignal },
  ): Promise<readonly string[]>;
}

export function openHistoryStore(files: HistoryFiles): HistoryStore {
  return {
    save: (record, blobs) => files.put(record.Ref, toBinary(BuildHistoryRecordSchema, record), blobs),
    get(ref) {
      const bytes = files.get(ref);
      return bytes === null ? null : decoded(bytes);
    },
    async *list() {
      for await (const { record } of files.list()) {
        const found = decoded(record);
        if (found !== null) yield found;
      }
    },
    async change(ref, change, wait) {
      let changed: BuildHistoryRecord | null = null;
      await files.change(
        ref,
        (bytes) => {
          changed = decoded(bytes);
          if (changed === null) return bytes;
          change(changed);
          return toBinary(BuildHistoryRecordSchema, changed);
        },
        wait,
      );
      return changed;
    },
    remove: (ref, wait) => files.remove(ref, wait),
    async logs({ logs }) {
      if (logs === undefined || !isDigest(logs.digest)) return null;
      const blob = await files.blob(logs.digest);
      return blob === null ? null : messagesIn(blob);
    },
    async tidy({ maxAgeMs, maxEntries }, { nowMs, signal }) {
      const all: { readonly ref: string; readonly endedMs: number; readonly sizeBytes: number }[] = [];
      let pinnedBytes = 0;
      for await (const { record, sizeBytes } of files.list()) {
        const found = decoded(record);
        if (found === null) continue;
        if (found.pinned) pinnedBytes += sizeBytes;
        else {
          const ended = found.CompletedAt === undefined ? 0 : millisecondsOf(found.CompletedAt);
          all.push({ ref: found.Ref, endedMs: ended, sizeBytes });
        }
      }
      all.sort((a, b) => b.endedMs - a.endedMs);
      const gone: string[] = [];
      let bytes = pinnedBytes;
      for (const [at, { ref, endedMs, sizeBytes }] of all.entries()) {
        bytes += sizeBytes;
        const isOld = at >= maxEntries && endedMs < nowMs - maxAgeMs;
        if (!isOld && at < ENTRIES_MAX && bytes <= TOTAL_MAX_BYTES) continue;
        if (await files.remove(ref, { signal })) gone.push(ref);
        bytes -= sizeBytes;
      }
      return gone;
    },
  };
}

/** null: of another version, or none of ours. */
function decoded(bytes: Uint8Array): BuildHistoryRecord | null {
  try {
    return fromBinary(BuildHistoryRecordSchema, bytes);
  } catch {
    return null;
  }
}

/** A blob with its descriptor. */
export function attached(
  data: Uint8Array,
  mediaType: string,
  annotations: Readonly<Record<string, string>> = {},
): Attached {
  const digest: Digest = digestOf(data);
  return {
    data,
    descriptor: create(DescriptorSchema, { mediaType, digest, size: BigInt(data.length), annotations }),
  };
}

/** Messages of a log: 4 bytes of length, little-endian, and the message. */
export function framedLog(messages: readonly Uint8Array[]): Uint8Array {
  const log = Buffer.allocUnsafe(messages.reduce((sum, { length }) => sum + length + 4, 0));
  let at = 0;
  for (const message of messages) {
    at = log.writeUInt32LE(message.length, at);
    log.set(message, at);
    at += message.length;
  }
  return log;
}

async function* messagesIn(blob: HistoryBlob): AsyncGenerator<StatusResponse, void, undefined> {
  using log = blob;
  for (let at = 0; at < log.size; ) {
    const length = Buffer.from(log.read(at, 4));
    if (length.length < 4) return;
    const message = log.read(at + 4, length.readUInt32LE());
    yield fromBinary(StatusResponseSchema, message);
    at += 4 + message.length;
  }
}
