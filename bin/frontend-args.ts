// A request in the words of BuildKit's Dockerfile frontend, for provenance. Paths of this machine are not among them: the same request says the
// same in every directory.

import { basename } from "node:path";
import type { BuildRequest } from "./engine/request.ts";
import { frontendAttributes, REPRODUCIBLE } from "./remote/solve-request.ts";

/** Attributes by name, as a client of BuildKit would send them. */
export function frontendArgs(request: BuildRequest): Readonly<Record<string, string>> {
  const { context, dockerfile, buildContexts, platforms } = request;
  const { [REPRODUCIBLE]: _, ...attributes } = frontendAttributes(request);
  const named = [...buildContexts].map(([name, value]) => [`context:${name}`, withoutPath(value)] as const);
  return {
    ...attributes,
    ...(context.kind === "remote" ? { context: context.url } : {}),
    ...(platforms.length > 1 ? { "multi-platform": "true" } : {}),
    filename: filenameOf(dockerfile, context.kind === "remote"),
    ...Object.fromEntries(named),
  };
}

/** In a repository it is a path; elsewhere where the file lies is a matter of this machine. */
function filenameOf(dockerfile: BuildRequest["dockerfile"], isRemote: boolean): string {
  switch (dockerfile.kind) {
    case "path":
      return isRemote ? dockerfile.path : basename(dockerfile.path);
    case "remote":
      return dockerfile.url;
    default:
      return "Dockerfile";
  }
}

/** oci-layout:///home/me/layout:tag@sha256:… without the directory. */
function withoutPath(value: string): string {
  const layout = /^oci-layout:\/\/(.*)$/s.exec(value)?.[1];
  return layout === undefined ? value : `oci-layout://${layout.slice(layout.lastIndexOf("/") + 1)}`;
}
