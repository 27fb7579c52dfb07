// Requests without a command line: fills in defaults and rejects what would fail later.

import { isAbsolute } from "node:path";
import { parseNewName } from "../../cache/registry/reference.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { Session } from "../../solver/graph/session.ts";
import type { BuildRequest } from "./request.ts";

/** What a caller of buildRequest() has to say. */
export type PartialBuildRequest = Pick<BuildRequest, "context"> & Partial<BuildRequest>;

/** Name in the session of the directory that is the main context. */
export const MAIN_DIRECTORY = "context";

/** A complete, frozen request; the defaults are those of `tsbuild build`. Without a session there are no secrets, agents or credentials, and
 *  nothing can be sent to the client.
 *  Throws USAGE. */
export function buildRequest(asked: PartialBuildRequest): BuildRequest {
  const request: BuildRequest = {
    dockerfile: { kind: "default" },
    target: null,
    tags: [],
    buildArgs: new Map(),
    labels: new Map(),
    buildContexts: new Map(),
    inputs: new Map(),
    noCache: false,
    noCacheFilter: [],
    platforms: [],
    pull: false,
    outputs: [],
    annotations: [],
    allow: [],
    network: "default",
    extraHosts: [],
    shmSizeBytes: null,
    ulimits: [],
    cgroupParent: "",
    limits: null,
    ociRuntime: null,
    reproducible: false,
    contextMode: null,
    call: { name: "build", format: "text", ignoreStatus: false },
    cacheFrom: [],
    cacheTo: [],
    sourcePolicies: [],
    verifySource: null,
    lock: null,
    attestations: null,
    frontendArgs: {},
    // Whoever calls by functions reads what is on this machine: layouts that its contexts name are paths.
    session: { ...contextOnly(asked.context), blobs: async (path) => ({ kind: "here", path }) },
    ...asked,
  };
  const { context } = request;
  if ((context.kind === "directory" || context.kind === "archive") && !isAbsolute(context.path))
    throw new BuildError("USAGE", `the context is not an absolute path: ${JSON.stringify(context.path)}`);
  request.tags.forEach(checkTag);
  if (request.noCache && request.noCacheFilter.length > 0)
    throw new BuildError("USAGE", "--no-cache and --no-cache-filter cannot currently be used together");
  // Requesting the host's network also grants it, as in buildx.
  const allow = new Set(request.allow);
  if (request.network === "host") allow.add("network.host");
  return Object.freeze({ ...request, allow: [...allow] });
}

/** Throws USAGE for an invalid image name. */
export function checkTag(text: string): void {
  try {
    parseNewName(text);
  } catch (cause) {
    if (!(cause instanceof BuildError)) throw cause;
    const problem = cause.message
      .replace(/^failed to parse image reference (?:"(?:[^"\\]|\\.)*"): /, "")
      .replace(`${text}: `, "");
    throw new BuildError("USAGE", `invalid tag ${JSON.stringify(printable(text, 200))}: ${problem}`, {
      cause,
      hint: "examples of names: app, user/app:1.2, registry.example:5000/team/app:1.2 (lower case)",
    });
  }
}

/** A client that provides no more than this context. */
export function contextOnly(context: BuildRequest["context"]): Session {
  return {
    async files(name) {
      if (name === MAIN_DIRECTORY && context.kind === "directory")
        return { kind: "here", path: context.path };
      throw new BuildError("CONTEXT_MISSING", `no build context named "${name}"`);
    },
    secret: async () => null,
    sshSocket: async () => null,
    credentials: async () => null,
    outputs: null,
  };
}
