// What the frontends of a build asked for before there was a graph, for its provenance.

import type { FrontendCall, ImageMaterial } from "../../exporters/attestation/provenance.ts";
import type { Platform, SourceOp } from "../../solver/graph/op.ts";
import type { ResolvedImage } from "../../frontend/contract.ts";
import type { Origins } from "../../solver/solver.ts";
import type { BuildRequest } from "./request.ts";
import { MAIN_DIRECTORY } from "./defaults.ts";

export interface Seen {
  readonly startedAtMs: number;
  readonly images: readonly ImageMaterial[];
  readonly http: { readonly url: string; readonly digest: string }[];
  /** Directories of the client that were read. */
  readonly local: ReadonlySet<string>;
  /** Directories of this build that hold what was downloaded. */
  readonly fetched: ReadonlySet<string>;
  /** Results that frontends looked into. */
  readonly others: Origins[];
  image(source: SourceOp, platform: Platform, image: Pick<ResolvedImage, "digest" | "isPrivate">): void;
  /** Of a Dockerfile build. isFetched: the context came from elsewhere. */
  directories(request: BuildRequest, context: { readonly isFetched: boolean }): void;
  /** A call as it may be published: publishedCall(). */
  readonly call: typeof publishedCall;
}

export function openSeen(startedAtMs: number): Seen {
  const images: ImageMaterial[] = [];
  const local = new Set<string>();
  const fetched = new Set<string>();
  return {
    ...{ startedAtMs, images, http: [], local, fetched, others: [], call: publishedCall },
    image({ identifier }, platform, { digest, isPrivate = false }) {
      const [scheme = "", rest = ""] = identifier.split(/:\/\/(.*)/s);
      const isLayout = scheme === "oci-layout";
      images.push({
        ...{ reference: isLayout ? layoutName(rest) : rest, platform, isLayout, isBlob: false },
        digest: isPrivate ? null : digest,
      });
    },
    directories(request, { isFetched }) {
      for (const name of readDirectories(request)) local.add(name);
      if (isFetched) fetched.add(MAIN_DIRECTORY);
    },
  };
}

/** Directories in which context and Dockerfile are looked for, as BuildKit's frontend names them. */
function readDirectories({ context, dockerfile }: BuildRequest): readonly string[] {
  const isHere = context.kind === "directory" || context.kind === "client";
  const isBeside = isHere && (dockerfile.kind === "default" || dockerfile.kind === "path");
  return [
    ...(isHere ? [MAIN_DIRECTORY] : []),
    ...(dockerfile.kind === "client" ? [dockerfile.name] : []),
    ...(isBeside || dockerfile.kind === "bytes" ? ["dockerfile"] : []),
  ];
}

/** Arguments that builds have without declaring them, and that say how or what is built. */
const KNOWN_ARGUMENT = /^(?:BUILDKIT_|SOURCE_DATE_EPOCH$)/;
const PROXY_ARGUMENT = /^(?:https?|ftp|no|all)_proxy$/i;

/** The call as it may be published: without proxies, which may have passwords, and without arguments that nothing declares, which nothing is
 *  made of (threat model S2). declared: null: it is not known which are. */
function publishedCall(
  frontend: string,
  args: Readonly<Record<string, string>>,
  declared: ReadonlySet<string> | null,
): FrontendCall {
  const kept = Object.entries(args).filter(([name]) => {
    if (!name.startsWith("build-arg:")) return true;
    const argument = name.slice("build-arg:".length);
    if (PROXY_ARGUMENT.test(argument)) return false;
    return declared === null || declared.has(argument) || KNOWN_ARGUMENT.test(argument);
  });
  return { frontend, args: Object.fromEntries(kept) };
}

/** "PATH[:tag][@digest]" as a name: a layout is known by its digest, and where it lies is nobody's business. */
export function layoutName(text: string): string {
  const at = text.lastIndexOf("@");
  const path = at < 0 ? text : text.slice(0, at);
  const digest = at < 0 ? "" : text.slice(at);
  const [, base = "", tag = ""] = /([^/:]*)(:[\w][\w.-]*)?\/*$/.exec(path) ?? [];
  const name = base
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "");
  return `${name === "" ? "layout" : name}${tag}${digest}`;
}
