// Build ops: definitions that earlier steps made, which are solved where they stand. Nothing of that is recorded, since what a definition
// builds may depend on more than its bytes (tags, files of the client); its own steps are.

import { BuildError, printable } from "./graph/error.ts";
import type { Definition, Input, Vertex } from "./graph/definition.ts";
import type { Digest } from "./graph/digest.ts";
import { DEFINITION_MAX_BYTES, decodeDefinition } from "./graph/llb-definition.ts";
import { BUILD_FILENAME_ATTR, BUILD_INPUT, type BuildOp } from "./graph/op.ts";
import type { CallContext, Result } from "./graph/request.ts";
import type { Worker } from "../worker/contract.ts";

/** Definitions within definitions. */
export const BUILD_DEPTH_MAX = 16;
/** Build ops that one build runs: each may hold several more. */
export const BUILD_OPS_MAX = 1000;

const DEFAULT_FILENAME = "buildkit.llb.definition";
/** The builder of a build op that is the solver itself. */
const OWN_BUILDER = -1;

/** A definition in a file, and which of its results is meant; null: nothing at all. */
export interface NestedBuild {
  readonly definition: Definition;
  readonly root: Input | null;
}

/** Reads the definition of a build op. within: the build ops around it, outermost first. Throws USAGE, CONTEXT_PATH_MISSING,
 *  LIMIT_EXCEEDED. */
export async function readNested(
  vertex: Vertex & { readonly op: BuildOp },
  results: readonly Result[],
  within: readonly Digest[],
  worker: Worker,
  context: CallContext,
): Promise<NestedBuild> {
  const { op, digest } = vertex;
  if (within.includes(digest))
    throw new BuildError("USAGE", "the definition of a build step contains that step itself");
  if (within.length >= BUILD_DEPTH_MAX)
    throw new BuildError("LIMIT_EXCEEDED", `definitions are nested more than ${BUILD_DEPTH_MAX} levels deep`);
  if (op.builder !== OWN_BUILDER)
    throw new BuildError("USAGE", `a build step asks for the builder ${op.builder}: only LLB is built`);
  const result = Object.hasOwn(op.inputs, BUILD_INPUT)
    ? results[op.inputs[BUILD_INPUT] as number]
    : undefined;
  if (result === undefined)
    throw new BuildError("USAGE", `a build step has no input ${BUILD_INPUT} to take its definition from`);
  const file = op.attrs[BUILD_FILENAME_ATTR] ?? DEFAULT_FILENAME;
  const bytes = await worker.readFile(
    result,
    file,
    { maxBytes: DEFINITION_MAX_BYTES, vertex: digest },
    context,
  );
  if (bytes === null)
    throw new BuildError(
      "CONTEXT_PATH_MISSING",
      `a build step finds no definition: ${printable(file, 200)} is no file`,
    );
  const definition = decodeDefinition(bytes);
  return { definition, root: definition.root };
}
