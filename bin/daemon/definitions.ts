// Graphs in BuildKit's messages.

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Definition } from "../../solver/graph/definition.ts";
import { decodeDefinition, encodeDefinition } from "../../solver/graph/llb-definition.ts";
import type { Vertex } from "../../solver/graph/definition.ts";
import { type Definition as DefinitionMessage, DefinitionSchema } from "../wire/messages/pb/ops_pb.ts";

/** A client's graph, checked. Throws USAGE, DIGEST_INVALID, LIMIT_EXCEEDED. */
export function definitionIn(message: DefinitionMessage): Definition {
  return decodeDefinition(toBinary(DefinitionSchema, message));
}

/** The steps in a definition's protocol bytes, each as its own. */
export function stepsOf(definition: Uint8Array): readonly Uint8Array[] {
  return fromBinary(DefinitionSchema, definition).def;
}

/** A graph for a client, which may give it to another build: directories of the client say which session has them. */
export function definitionFor(definition: Definition, session: string): DefinitionMessage {
  const vertices = new Map(
    [...definition.vertices].map(([digest, vertex]) => [digest, ofSession(vertex, session)]),
  );
  return fromBinary(DefinitionSchema, encodeDefinition({ ...definition, vertices }));
}

function ofSession(vertex: Vertex, session: string): Vertex {
  const { encoded: _, ...own } = vertex;
  const { op } = vertex;
  const isLocal = op.kind === "source" && op.identifier.startsWith("local://");
  if (!isLocal || op.attrs["local.session"] !== undefined || session === "") return vertex;
  return { ...own, op: { ...op, attrs: { ...op.attrs, "local.session": session } } };
}
