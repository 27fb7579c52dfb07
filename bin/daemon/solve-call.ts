// A solve, from Control or from the gateway.

import type { Definition as DefinitionMessage } from "../wire/messages/pb/ops_pb.ts";
import type { SourcePolicy } from "../engine/source-policy.ts";
import type { Attributes } from "./attributes.ts";

export interface SolveCall {
  readonly definition: DefinitionMessage | undefined;
  /** "": the definition is what is asked for. */
  readonly frontend: string;
  readonly options: Attributes;
  readonly inputs: Readonly<Record<string, DefinitionMessage>>;
  readonly imports: readonly CacheEntry[];
  /** For its definition, beside those of the build. */
  readonly sourcePolicies: readonly SourcePolicy[];
}

/** A cache in BuildKit's words. */
export interface CacheEntry {
  readonly Type: string;
  readonly Attrs: Attributes;
}
