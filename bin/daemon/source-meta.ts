// What a source stands for, in the messages of BuildKit's ResolveSourceMeta: answered to clients, and told to those that judge sources.

import { create } from "@bufbuild/protobuf";
import type { ResolveSourceOptions } from "../engine/bridge-contract.ts";
import type { SourceMetadata } from "../engine/source-metadata.ts";
import type { ResolvedImage } from "../../frontend/contract.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { Platform, SourceOp } from "../../solver/graph/op.ts";
import { normalizePlatform } from "../../solver/graph/platform.ts";
import {
  type ResolveSourceMetaRequest,
  type ResolveSourceMetaResponse,
  ResolveSourceMetaResponseSchema,
} from "../wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import type { Platform as PlatformMessage, SourceOp as SourceMessage } from "../wire/messages/pb/ops_pb.ts";
import { SourceOpSchema } from "../wire/messages/pb/ops_pb.ts";
import { timestamp } from "../wire/timestamp.ts";
import { policiesIn } from "./source-policies.ts";

/** What a request asks of its source. Throws USAGE. */
export function questionOf(message: ResolveSourceMetaRequest): ResolveSourceOptions {
  const identifier = message.Source?.identifier ?? "";
  return {
    platform: platformOf(message.Platform),
    name: resolveName(message.LogName, identifier.replace(/^[a-z-]+:\/\//, "")),
    gitObjects: message.Git?.ReturnObject === true,
    resolveMode: modeOf(message.ResolveMode),
    sourcePolicies: policiesIn(message.SourcePolicies),
  };
}

/** The image that a source stands for. Throws USAGE where a policy made something else of it. */
export function imageIn(source: SourceOp, found: SourceMetadata): ResolvedImage {
  if (found.kind === "image") return found.image;
  throw new BuildError(
    "USAGE",
    `a policy converts an image to ${printable(source.identifier)}, which is none`,
  );
}

export function sourceOf(message: SourceMessage | undefined): SourceOp {
  return { kind: "source", identifier: message?.identifier ?? "", attrs: { ...message?.attrs } };
}

/** An image's name with the digest it has now. */
export function pinned(source: SourceOp, found: SourceMetadata): SourceOp {
  if (found.kind !== "image" || source.identifier.includes("@")) return source;
  return { ...source, identifier: `${source.identifier}@${found.image.digest}` };
}

/** `found` null: nothing is known but the source. */
export function metadataMessage(
  { identifier, attrs }: SourceOp,
  found: SourceMetadata | null,
  noConfig: boolean,
): ResolveSourceMetaResponse {
  const Source = create(SourceOpSchema, { identifier, attrs: { ...attrs } });
  switch (found?.kind) {
    case "image": {
      const { digest, config } = found.image;
      const Image = { Digest: digest, Config: noConfig ? NOTHING : config };
      return create(ResolveSourceMetaResponseSchema, { Source, Image });
    }
    case "git": {
      const { object, commit, name, commitObject, tagObject } = found.git;
      const Git = {
        Checksum: object,
        Ref: name,
        CommitChecksum: commit === object ? "" : commit,
        CommitObject: commitObject ?? NOTHING,
        TagObject: tagObject ?? NOTHING,
      };
      return create(ResolveSourceMetaResponseSchema, { Source, Git });
    }
    case "http": {
      const { digest: Checksum, filename: Filename, modifiedSeconds: seconds } = found;
      const LastModified = seconds === null ? {} : { LastModified: timestamp(seconds * 1000) };
      return create(ResolveSourceMetaResponseSchema, {
        Source,
        HTTP: { Checksum, Filename, ...LastModified },
      });
    }
    case "other":
    case undefined:
      return create(ResolveSourceMetaResponseSchema, { Source });
  }
}

const NOTHING = new Uint8Array(0);

/** "": as the build has it. */
export function modeOf(mode: string): string {
  return mode === "default" ? "" : mode;
}

export function resolveName(logName: string, reference: string): string {
  return logName === "" ? `resolve image config for ${printable(reference)}` : logName;
}

/** Throws USAGE. */
export function platformOf(message: PlatformMessage | undefined): Platform | null {
  if (message === undefined || message.OS === "") return null;
  const { OS: os, Architecture: architecture, Variant: variant, OSVersion: osVersion } = message;
  if (architecture === "")
    throw new BuildError("USAGE", `a platform of ${printable(os)} needs an architecture`);
  return normalizePlatform({ os, architecture, variant, ...(osVersion === "" ? {} : { osVersion }) });
}
