// What the solver stores about a build besides its steps: its series (which earlier builds it follows) and its build arguments.

import type { TraceRequest } from "../../solver/solver.ts";
import { redactUrl } from "../../solver/graph/error.ts";
import type { BuildRequest, EngineBuildOptions } from "./request.ts";
import type { Converted } from "../../frontend/contract.ts";

/** Of a build of what `declared` is of. */
export function traceOf(
  request: BuildRequest,
  declared: Converted["declared"],
  options: EngineBuildOptions,
): TraceRequest {
  const where = placeOf(request);
  const file = request.dockerfile.kind === "path" ? request.dockerfile.path : "";
  return {
    line: JSON.stringify([where, request.dockerfile.kind, file, request.target]),
    title: [where, file, request.target === null ? "" : `--target ${request.target}`]
      .filter(Boolean)
      .join(" "),
    buildArgs: Object.fromEntries(
      [...declared.defaults, ...request.buildArgs].map(([name, value]) => [name, redactUrl(value)]),
    ),
    argNames: new Set(
      [...declared.names, ...request.buildArgs.keys()].filter((name) => !declared.hidden.has(name)),
    ),
    onExplained: options.onExplained ?? null,
  };
}

function placeOf({ context }: BuildRequest): string {
  switch (context.kind) {
    case "directory":
      return context.path;
    case "client":
      return `client ${context.key}`;
    case "remote":
      return redactUrl(context.url);
    case "input":
      return `input ${context.name}`;
    case "upload":
    case "empty":
    case "archive":
    case "file":
      return "-";
  }
}
