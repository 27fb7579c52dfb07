// History of builds: a record from the begin of Control.Solve to its end, kept in the store, and told to who listens. All clients of a daemon see
// and change all of it, as in BuildKit.

import { create } from "@bufbuild/protobuf";
import type { ContentStore } from "../../cache/contract.ts";
import type { HistoryFiles } from "../../cache/history-files.ts";
import { formatPlatformAll } from "../../solver/graph/op.ts";
import type { Descriptor as OciDescriptor } from "../../solver/graph/request.ts";
import type { MakeProvenance } from "../engine/request.ts";
import { StatusSchema } from "../wire/messages/google/rpc/status_pb.ts";
import {
  type BuildHistoryEvent,
  BuildHistoryEventSchema,
  BuildHistoryEventType,
  type BuildHistoryRecord,
  BuildHistoryRecordSchema,
  type BuildHistoryRequest,
  BuildHistoryRequestSchema,
  BuildResultInfoSchema,
  DescriptorSchema,
  type SolveRequest,
  type StatusResponse,
  UpdateBuildHistoryRequestSchema,
  UpdateBuildHistoryResponseSchema,
} from "../wire/messages/moby/buildkit/v1/control_pb.ts";
import { type Call, type Handlers, streaming, unary } from "../wire/server.ts";
import { CODE, RpcError, statusBytes } from "../wire/status.ts";
import { clockHeader, millisecondsOf, timestamp } from "../wire/timestamp.ts";
import { documentsOf, logOf, provenanceOf, stepCounts } from "./history-blobs.ts";
import { withoutCredentials } from "../without-credentials.ts";
import { described } from "./history-privacy.ts";
import {
  attached,
  type Attached,
  DEFAULT_HISTORY_LIMITS,
  type HistoryLimits,
  openHistoryStore,
} from "./history-store.ts";
import type { StatusStream } from "./status-stream.ts";

/** How a build ended. */
export interface Ending {
  readonly response: Readonly<Record<string, string>>;
  /** What each exporter of the request has made; null: no image. */
  readonly exported: readonly (OciDescriptor | null)[];
  /** null: there are no results. */
  readonly provenance: MakeProvenance | null;
  readonly error: RpcError | null;
}

/** A build that is being recorded. */
export interface Recording {
  /** Stores the record; call it when the progress has ended, and before the client is answered. What is wrong with the disk is logged: it is no
   *  fault of the build. */
  complete(ending: Ending): Promise<void>;
}

export interface History extends AsyncDisposable {
  /** null for a build that is kept out of the history (SolveRequest.Internal). */
  begin(request: SolveRequest, status: StatusStream): Recording | null;
  /** The progress of a build that has ended. null: there is no such build. */
  logs(ref: string): Promise<AsyncGenerator<StatusResponse, void, undefined> | null>;
  readonly handlers: Handlers;
  /** Ends the streams of those who listen, when the last build has ended: the daemon is about to. Disposing it waits some seconds for the
   *  records of builds that are being stopped. */
  drain(): void;
}

export interface HistoryOptions {
  readonly files: HistoryFiles;
  /** Where documents of exported images are. */
  readonly content: ContentStore;
  readonly limits?: HistoryLimits;
  readonly log: (line: string) => void;
}

const SERVICE = "/moby.buildkit.v1.Control";
const ERROR_TYPE = "application/vnd.googeapis.google.rpc.status+proto"; // as BuildKit spells it
/** Events that wait for one who listens; with more the stream ends, so that nobody else waits and nothing piles up. */
const WAITING_MAX = 1_000;
/** Limits are enforced after a build, but not more often. */
const TIDY_EVERY_MS = 60_000;
const LIMIT_MAX = 100_000;
const LAST_RECORDS_MS = 5_000;

interface Active {
  readonly record: BuildHistoryRecord;
  readonly status: StatusStream;
}

interface Listener {
  readonly events: BuildHistoryEvent[];
  isLate: boolean;
  wake: () => void;
}

export function openHistory({
  files,
  content,
  limits = DEFAULT_HISTORY_LIMITS,
  log,
}: HistoryOptions): History {
  const store = openHistoryStore(files);
  const active = new Map<string, Active>();
  const listeners = new Set<Listener>();
  const ended = new AbortController();
  let isDraining = false;
  let tidiedMs = Number.NEGATIVE_INFINITY;
  let tidying: Promise<void> = Promise.resolve();

  function publish(type: BuildHistoryEventType, record: BuildHistoryRecord): void {
    const event = create(BuildHistoryEventSchema, { type, record });
    for (const listener of listeners) {
      if (listener.events.length >= WAITING_MAX) listener.isLate = true;
      else listener.events.push(event);
      listener.wake();
    }
  }

  function tidy(): void {
    const nowMs = Date.now();
    if (nowMs - tidiedMs < TIDY_EVERY_MS) return;
    tidiedMs = nowMs;
    tidying = tidying
      .then(async () => {
        for (const ref of await store.tidy(limits, { nowMs, signal: ended.signal }))
          publish(BuildHistoryEventType.DELETED, create(BuildHistoryRecordSchema, { Ref: ref }));
      })
      .catch((error: unknown) => {
        if (!ended.signal.aborted) log(`cannot tidy the build history: ${messageOf(error)}`);
      });
  }
  tidy();

  function begin(request: SolveRequest, status: StatusStream): Recording | null {
    if (request.Internal) return null;
    const { attributes, exporters } = described(request.FrontendAttrs, request.Exporters);
    const record = create(BuildHistoryRecordSchema, {
      ...{ Ref: request.Ref, Frontend: request.Frontend, FrontendAttrs: attributes },
      Exporters: [...exporters],
      CreatedAt: timestamp(Date.now()),
    });
    const own: Active = { record, status };
    active.set(request.Ref, own);
    publish(BuildHistoryEventType.STARTED, record);
    return {
      async complete(ending) {
        try {
          const { completed, blobs } = await completedRecord(record, status, ending, content);
          await store.save(completed, blobs);
          publish(BuildHistoryEventType.COMPLETE, completed);
        } catch (error) {
          log(`cannot store the history of the build ${JSON.stringify(request.Ref)}: ${messageOf(error)}`);
          publish(BuildHistoryEventType.DELETED, create(BuildHistoryRecordSchema, { Ref: request.Ref }));
        } finally {
          if (active.get(request.Ref) === own) active.delete(request.Ref);
          if (isDraining && active.size === 0) ended.abort();
        }
        tidy();
      },
    };
  }

  async function stored(request: BuildHistoryRequest): Promise<readonly BuildHistoryRecord[]> {
    if (request.Ref !== "") {
      const one = store.get(request.Ref);
      return one === null || active.has(request.Ref) ? [] : [one];
    }
    const all: BuildHistoryRecord[] = [];
    for await (const record of store.list()) if (!active.has(record.Ref)) all.push(record);
    return all;
  }

  async function listen(
    request: BuildHistoryRequest,
    send: (event: BuildHistoryEvent) => Promise<void>,
    call: Call,
  ): Promise<void> {
    if (request.Limit < 0 || request.Limit > LIMIT_MAX)
      throw new RpcError(CODE.INVALID_ARGUMENT, `invalid limit ${request.Limit}`);
    const { historyFilter } = await import("./history-filter.ts");
    const matches = await historyFilter(request.Filter, Date.now());
    const isOf = (record: BuildHistoryRecord | undefined): boolean =>
      request.Ref === "" || record?.Ref === request.Ref;
    call.begin(clockHeader());
    const listener: Listener = { events: [], isLate: false, wake: () => {} };
    if (!request.EarlyExit) listeners.add(listener);
    try {
      for (const { record, status } of [...active.values()]) {
        if (!isOf(record)) continue;
        const now = create(BuildHistoryRecordSchema, { ...record, ...stepCounts(status.kept()) });
        await send(create(BuildHistoryEventSchema, { type: BuildHistoryEventType.STARTED, record: now }));
      }
      if (!request.ActiveOnly) {
        const records = (await stored(request)).filter(matches).sort(newestFirst);
        for (const record of request.Limit > 0 ? records.slice(0, request.Limit) : records)
          await send(create(BuildHistoryEventSchema, { type: BuildHistoryEventType.COMPLETE, record }));
      }
      if (!request.EarlyExit) await follow(listener, isOf, send, call.signal);
    } finally {
      listeners.delete(listener);
    }
  }

  /** What happens from now on, until the client goes or the daemon ends. */
  async function follow(
    listener: Listener,
    isOf: (record: BuildHistoryRecord | undefined) => boolean,
    send: (event: BuildHistoryEvent) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const wake = (): void => listener.wake();
    signal.addEventListener("abort", wake);
    ended.signal.addEventListener("abort", wake);
    try {
      for (;;) {
        const event = listener.events.shift();
        if (event !== undefined) {
          if (isOf(event.record)) await send(event);
          continue;
        }
        if (listener.isLate)
          throw new RpcError(CODE.RESOURCE_EXHAUSTED, "more events of builds than were read: listen again");
        if (signal.aborted || ended.signal.aborted) return;
        await new Promise<void>((resolve) => {
          listener.wake = resolve;
        });
      }
    } finally {
      signal.removeEventListener("abort", wake);
      ended.signal.removeEventListener("abort", wake);
    }
  }

  async function update(
    { Ref, Pinned, Delete, Finalize }: { Ref: string; Pinned: boolean; Delete: boolean; Finalize: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    if (Delete) {
      if (!(await store.remove(Ref, { signal }))) throw unknown(Ref);
      publish(BuildHistoryEventType.DELETED, create(BuildHistoryRecordSchema, { Ref }));
      return;
    }
    // A record is complete when it is stored: there is nothing to wait for.
    if (Finalize) return;
    const changed = await store.change(
      Ref,
      (record) => {
        record.pinned = Pinned;
        record.Generation++;
      },
      { signal },
    );
    if (changed === null) throw unknown(Ref);
    publish(BuildHistoryEventType.COMPLETE, changed);
  }

  function drain(): void {
    isDraining = true;
    if (active.size === 0) ended.abort();
  }

  return {
    begin,
    async logs(ref) {
      const record = active.has(ref) ? null : store.get(ref);
      return record === null ? null : await store.logs(record);
    },
    handlers: new Map([
      [
        `${SERVICE}/ListenBuildHistory`,
        streaming(BuildHistoryRequestSchema, BuildHistoryEventSchema, listen),
      ],
      [
        `${SERVICE}/UpdateBuildHistory`,
        unary(UpdateBuildHistoryRequestSchema, UpdateBuildHistoryResponseSchema, async (request, call) => {
          await update(request, call.signal);
          return create(UpdateBuildHistoryResponseSchema);
        }),
      ],
    ]),
    drain,
    async [Symbol.asyncDispose]() {
      drain();
      const timer = setTimeout(() => ended.abort(), LAST_RECORDS_MS);
      if (!ended.signal.aborted)
        await new Promise<void>((resolve) => {
          ended.signal.addEventListener("abort", () => resolve(), { once: true });
        });
      clearTimeout(timer);
      await tidying;
    },
  };
}

async function completedRecord(
  begun: BuildHistoryRecord,
  status: StatusStream,
  { response, exported, provenance, error }: Ending,
  content: ContentStore,
): Promise<{ readonly completed: BuildHistoryRecord; readonly blobs: readonly Uint8Array[] }> {
  const parts = status.kept();
  const log = await logOf(parts);
  const failure = error === null ? null : errorOf(error);
  const blobs = new Map([[log.descriptor.digest, log.data]]);
  if (failure !== null) blobs.set(failure.attached.descriptor.digest, failure.attached.data);
  const results = Object.fromEntries(
    exported.flatMap((descriptor, index) => {
      const documents = descriptor === null ? [] : documentsOf(content, descriptor);
      if (descriptor === null || documents.length === 0) return [];
      for (const data of documents) blobs.set(attached(data, "").descriptor.digest, data);
      const { mediaType, digest, size, annotations = {} } = descriptor;
      return [[index, create(DescriptorSchema, { mediaType, digest, size: BigInt(size), annotations })]];
    }),
  );
  const [first] = Object.values(results);
  const said = provenance === null ? [] : await provenanceOf(provenance);
  for (const { attached: one } of said) blobs.set(one.descriptor.digest, one.data);
  const ofAll = said.flatMap(({ platform, attached: one }) => (platform === null ? [one.descriptor] : []));
  const ofEach = said.flatMap(({ platform, attached: one }) =>
    platform === null
      ? []
      : [[formatPlatformAll(platform), create(BuildResultInfoSchema, { Attestations: [one.descriptor] })]],
  );
  const completed = create(BuildHistoryRecordSchema, {
    ...begun,
    ...stepCounts(parts),
    CompletedAt: timestamp(Date.now()),
    logs: log.descriptor,
    ExporterResponse: { ...response },
    ...(failure === null ? {} : { error: failure.status, externalError: failure.attached.descriptor }),
    ...(first === undefined && ofAll.length === 0
      ? {}
      : {
          Result: create(BuildResultInfoSchema, {
            ...(first === undefined ? {} : { ResultDeprecated: first }),
            ...{ Results: results, Attestations: ofAll },
          }),
        }),
    Results: Object.fromEntries(ofEach),
  });
  return { completed, blobs: [...blobs.values()] };
}

/** Without details in the record, with them in a blob. */
function errorOf(error: RpcError): {
  readonly status: BuildHistoryRecord["error"];
  readonly attached: Attached;
} {
  const { code, details } = error;
  const message = withoutCredentials(error.message);
  return {
    status: create(StatusSchema, { code, message }),
    attached: attached(statusBytes(new RpcError(code, message, details)), ERROR_TYPE),
  };
}

function newestFirst(a: BuildHistoryRecord, b: BuildHistoryRecord): number {
  const createdMs = ({ CreatedAt }: BuildHistoryRecord): number =>
    CreatedAt === undefined ? 0 : millisecondsOf(CreatedAt);
  return createdMs(b) - createdMs(a);
}

function unknown(ref: string): RpcError {
  return new RpcError(CODE.NOT_FOUND, `no build ${ref.slice(0, 256)} in the history`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
