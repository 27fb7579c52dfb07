// What a failed step left, as errdefs.Solve: its op, and ids of results that a client can mount in a container.

import { create, fromBinary, toJsonString } from "@bufbuild/protobuf";
import type { Bridge, FailedStep, Ref } from "../engine/bridge-contract.ts";
import { encodeOp } from "../../solver/graph/llb.ts";
import { type Solve, SolveSchema } from "../wire/messages/errdefs/errdefs_pb.ts";
import { OpSchema } from "../wire/messages/pb/ops_pb.ts";
import { type Detail, RpcError } from "../wire/status.ts";
import type { Build } from "./builds.ts";
import { ERRDEFS } from "./errors.ts";

/** Details are headers, which must be small; a longer op is left out. */
const OP_MAX_BYTES = 64 << 10;
const told = new WeakMap<FailedStep, readonly Detail[]>();

/** The details for an error of the bridge; none when nothing is known of its step. */
export function failureDetails(bridge: Bridge, build: Build, error: unknown): readonly Detail[] {
  const step = bridge.failureOf(error);
  if (step === null) return [];
  const known = told.get(step);
  if (known !== undefined) return known;
  try {
    const value = Buffer.from(toJsonString(SolveSchema, solveOf(step, build)));
    const details = [{ typeUrl: `${ERRDEFS}.Solve+json`, value }];
    told.set(step, details);
    return details;
  } catch (cause) {
    if (cause instanceof RpcError) return []; // the build has no more results: the error itself is what counts
    throw cause;
  }
}

function solveOf({ vertex, inputs, mounts, subject }: FailedStep, build: Build): Solve {
  const idOf = (ref: Ref | null): string => (ref === null ? "" : build.results.add(ref, "").id);
  const op = vertex === null ? null : encodeOp(vertex.op, vertex.platform, vertex.inputs);
  return create(SolveSchema, {
    inputIDs: inputs.map(idOf),
    mountIDs: mounts.map(idOf),
    ...(op === null || op.length > OP_MAX_BYTES ? {} : { op: fromBinary(OpSchema, op) }),
    ...(subject === null
      ? {}
      : {
          subject: {
            case: subject.kind,
            value: {
              $typeName: subject.kind === "file" ? "errdefs.FileAction" : "errdefs.ContentCache",
              index: BigInt(subject.index),
            },
          } as Solve["subject"],
        }),
  });
}
