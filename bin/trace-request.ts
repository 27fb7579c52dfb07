// What the solver keeps of a build besides its steps: its line (which earlier builds it follows) and its build arguments.

import type { TraceRequest } from "../solver/solver.ts";
import { redactUrl } from "../solver/graph/error.ts";
import type { BuildRequest, EngineBuildOptions } from "./config.ts";

/** `text`: the Dockerfile. */
export function traceOf(request: BuildRequest, text: string, options: EngineBuildOptions): TraceRequest {
  const where = placeOf(request);
  const file = request.dockerfile.kind === "path" ? request.dockerfile.path : "";
  return {
    line: JSON.stringify([where, request.dockerfile.kind, file, request.target]),
    title: [where, file, request.target === null ? "" : `--target ${request.target}`]
      .filter(Boolean)
      .join(" "),
    buildArgs: { ...defaultsIn(text), ...Object.fromEntries(request.buildArgs) },
    argNames: argNamesIn(text, new Set(request.buildArgs.keys())),
    onExplained: options.onExplained ?? null,
  };
}

function placeOf({ context, session }: BuildRequest): string {
  switch (context.kind) {
    case "directory":
      return session.directory("context");
    case "remote":
      return redactUrl(context.url);
    case "empty":
    case "archive":
      return "-";
  }
}

/** Defaults of build arguments, as far as they are plain: where one is another argument, that one explains. */
function defaultsIn(text: string): Readonly<Record<string, string>> {
  const declared = text.matchAll(/^[ \t]*ARG[ \t]+([A-Za-z_]\w*)=("[^"$]*"|'[^']*'|[^\s"'$]+)[ \t]*$/gim);
  return Object.fromEntries(
    [...declared].map(([, name = "", value = ""]) => [name, value.replace(/^(["'])(.*)\1$/, "$2")]),
  );
}

/** Names declared by ARG and not by ENV, which would hide the argument. Only for words in an explanation: continued lines
 *  and quotes need no care. */
function argNamesIn(text: string, given: ReadonlySet<string>): ReadonlySet<string> {
  const namesOf = (instruction: string): string[] =>
    [...text.matchAll(new RegExp(`^[ \\t]*(?:ONBUILD[ \\t]+)?${instruction}[ \\t]+(.*)$`, "gim"))].flatMap(
      ([, rest = ""]) => [...rest.matchAll(/(?:^|\s)([A-Za-z_]\w*)/g)].map(([, name = ""]) => name),
    );
  const env = new Set(namesOf("ENV"));
  return new Set([...namesOf("ARG"), ...given].filter((name) => !env.has(name)));
}
