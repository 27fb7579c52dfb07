// Builds that a client drives through the gateway, as a Go program with BuildKit's client library does: graphs in, results out, one of them
// returned.

import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { ClientHttp2Session } from "node:http2";
import { callUnary } from "../../bin/wire/client.ts";
import {
  SolveRequestSchema as ControlSolve,
  SolveResponseSchema as ControlSolved,
  type SolveResponse,
} from "../../bin/wire/messages/moby/buildkit/v1/control_pb.ts";
import {
  EvaluateRequestSchema,
  EvaluateResponseSchema,
  ReadDirRequestSchema,
  ReadDirResponseSchema,
  ReadFileRequestSchema,
  ReadFileResponseSchema,
  type Ref,
  type ResultSchema,
  ResolveSourceMetaRequestSchema,
  type ResolveSourceMetaResponse,
  ResolveSourceMetaResponseSchema,
  ReturnRequestSchema,
  ReturnResponseSchema,
  SolveRequestSchema,
  SolveResponseSchema,
  StatFileRequestSchema,
  StatFileResponseSchema,
} from "../../bin/wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import { type Definition as DefinitionMessage, DefinitionSchema } from "../../bin/wire/messages/pb/ops_pb.ts";
import type { Stat } from "../../bin/wire/messages/fsutil/types/stat_pb.ts";
import type { Definition, Input } from "../../solver/graph/definition.ts";
import { encodeDefinition } from "../../solver/graph/llb-definition.ts";
import { openGraph } from "../../solver/graph/llb.ts";
import type { FileAction } from "../../solver/graph/op.ts";

const BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge";
const CONTROL = "/moby.buildkit.v1.Control";

/** The gateway of one build. */
export interface DrivenBridge {
  solve(definition: Definition): Promise<Ref>;
  meta(identifier: string): Promise<ResolveSourceMetaResponse>;
  evaluate(ref: string): Promise<unknown>;
  read(ref: string, path: string, range?: { Offset: bigint; Length: bigint }): Promise<string>;
  list(ref: string, path: string, pattern?: string): Promise<readonly Stat[]>;
  stat(ref: string, path: string): Promise<Stat>;
  give(result: ResultInit): Promise<unknown>;
}
export type ResultInit = MessageInitShape<typeof ResultSchema>;

/** What a client does on a connection. */
export interface Driven {
  control(message: MessageInitShape<typeof ControlSolve>): Promise<SolveResponse>;
  /** A build that is driven through the gateway; `work` gives what is to be returned. */
  driven(
    work: (bridge: DrivenBridge) => Promise<ResultInit>,
    message?: MessageInitShape<typeof ControlSolve>,
  ): Promise<Readonly<Record<string, string>>>;
  bridgeOf(name: string): DrivenBridge;
}

export function openDriven(http: () => ClientHttp2Session, signal: AbortSignal): Driven {
  const control: Driven["control"] = (message) =>
    callUnary(
      http(),
      { path: `${CONTROL}/Solve`, input: ControlSolve, output: ControlSolved },
      create(ControlSolve, message),
      { signal },
    );

  const driven: Driven["driven"] = async (work, message = {}) => {
    const name = message.Ref ?? randomBytes(8).toString("hex");
    const solved = control({ ...message, Ref: name });
    solved.catch(() => {});
    const bridge = bridgeOf(name);
    await bridge.give(await work(bridge));
    return (await solved).ExporterResponse;
  };

  function bridgeOf(name: string): DrivenBridge {
    const options = { signal, metadata: { "buildkit-controlapi-buildid": name } };
    return {
      async solve(definition: Definition): Promise<Ref> {
        const { result } = await callUnary(
          http(),
          { path: `${BRIDGE}/Solve`, input: SolveRequestSchema, output: SolveResponseSchema },
          create(SolveRequestSchema, { Definition: messageOf(definition), allowResultReturn: true }),
          options,
        );
        assert.equal(result?.result.case, "ref");
        return result.result.value as Ref;
      },
      meta: (identifier: string) =>
        callUnary(
          http(),
          {
            path: `${BRIDGE}/ResolveSourceMeta`,
            input: ResolveSourceMetaRequestSchema,
            output: ResolveSourceMetaResponseSchema,
          },
          create(ResolveSourceMetaRequestSchema, { Source: { identifier } }),
          options,
        ),
      evaluate: (Ref: string) =>
        callUnary(
          http(),
          { path: `${BRIDGE}/Evaluate`, input: EvaluateRequestSchema, output: EvaluateResponseSchema },
          create(EvaluateRequestSchema, { Ref }),
          options,
        ),
      read: async (Ref: string, FilePath: string, Range?: { Offset: bigint; Length: bigint }) => {
        const { Data } = await callUnary(
          http(),
          { path: `${BRIDGE}/ReadFile`, input: ReadFileRequestSchema, output: ReadFileResponseSchema },
          create(ReadFileRequestSchema, { Ref, FilePath, ...(Range === undefined ? {} : { Range }) }),
          options,
        );
        return Buffer.from(Data).toString();
      },
      list: async (Ref: string, DirPath: string, IncludePattern = "") => {
        const { entries } = await callUnary(
          http(),
          { path: `${BRIDGE}/ReadDir`, input: ReadDirRequestSchema, output: ReadDirResponseSchema },
          create(ReadDirRequestSchema, { Ref, DirPath, IncludePattern }),
          options,
        );
        return entries;
      },
      stat: async (Ref: string, Path: string) => {
        const { stat } = await callUnary(
          http(),
          { path: `${BRIDGE}/StatFile`, input: StatFileRequestSchema, output: StatFileResponseSchema },
          create(StatFileRequestSchema, { Ref, Path }),
          options,
        );
        assert.ok(stat);
        return stat;
      },
      give: (result) =>
        callUnary(
          http(),
          { path: `${BRIDGE}/Return`, input: ReturnRequestSchema, output: ReturnResponseSchema },
          create(ReturnRequestSchema, { result }),
          options,
        ),
    };
  }

  return { control, driven, bridgeOf };
}

/** A result of one directory. */
export const refOf = (ref: Ref): ResultInit => ({
  result: { case: "ref", value: ref },
});

export const messageOf = (definition: Definition): DefinitionMessage =>
  fromBinary(DefinitionSchema, encodeDefinition(definition));

export type Draft = (base: number | null) => FileAction;

/** A graph of one step that makes files. */
export function files(
  drafts: readonly Draft[],
  { ignoreCache = false }: { readonly ignoreCache?: boolean } = {},
): Definition {
  const graph = openGraph();
  const actions = drafts.map((draft, index) => ({
    ...draft(index === 0 ? null : index - 1),
    output: index === drafts.length - 1 ? 0 : null,
  }));
  const note = { name: "make files", ignoreCache, at: [], group: null };
  const root: Input = graph.add({ kind: "file", actions }, null, [], note);
  return graph.definition(root);
}

const COMMON = { output: null, owner: null, timestampNs: null } as const;
export const mkfile =
  (path: string, text: string, mode: number): Draft =>
  (base) => ({ kind: "mkfile", path, mode, data: Buffer.from(text), base, ...COMMON });
export const mkdir =
  (path: string, mode: number): Draft =>
  (base) => ({ kind: "mkdir", path, mode, makeParents: true, base, ...COMMON });
export const symlink =
  (path: string, target: string): Draft =>
  (base) => ({ kind: "symlink", path, target, base, ...COMMON });
