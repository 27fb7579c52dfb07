// A client's session that judges the sources of a build: BuildKit's PolicyVerifier. What it says of denied sources goes back to the client
// as a detail of the error.

import { create } from "@bufbuild/protobuf";
import type { SourceVerdict, VerifySource } from "../engine/request.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { PolicyAction } from "../wire/messages/moby/buildkit/v1/sourcepolicy/policy_pb.ts";
import {
  CheckPolicyRequestSchema,
  type CheckPolicyResponse,
} from "../wire/messages/moby/buildkit/v1/sourcepolicy/policysession/policysession_pb.ts";
import { PlatformSchema } from "../wire/messages/pb/ops_pb.ts";
import type { Detail } from "../wire/status.ts";
import type { RemoteSession } from "./remote-session.ts";
import { metadataMessage, questionOf, sourceOf } from "./source-meta.ts";

const DECISION = "github.com/moby/buildkit/policysession.DecisionResponse+json";
/** Details are headers, which must be small. */
const MESSAGES_MAX = 20;
const MESSAGE_MAX_CHARS = 300;

/** Why a client's session denied a source. */
export class SourceDenial extends Error {
  override readonly name = "SourceDenial";
  readonly messages: readonly string[];
  constructor(messages: readonly string[]) {
    super(messages.join("\n"));
    this.messages = messages;
  }
}

/** `session`: found when the first source is judged. The verifier throws RpcError. */
export function verifierOf(session: (signal: AbortSignal) => Promise<RemoteSession>): VerifySource {
  return async ({ source, platform, metadata }, { signal }) => {
    const judge = await session(signal);
    const request = create(CheckPolicyRequestSchema, {
      Source: metadataMessage(source, metadata, false),
      ...(platform === null
        ? {}
        : {
            Platform: create(PlatformSchema, {
              OS: platform.os,
              Architecture: platform.architecture,
              Variant: platform.variant ?? "",
              OSVersion: platform.osVersion ?? "",
            }),
          }),
    });
    return verdictIn(await judge.checkPolicy(request, { signal }));
  };
}

function verdictIn({ result }: CheckPolicyResponse): SourceVerdict {
  if (result.case === "request")
    return { kind: "describe", source: sourceOf(result.value.Source), question: questionOf(result.value) };
  if (result.case !== "decision") throw new BuildError("SOURCE_DENIED", "no decision in policy response");
  const { action, denyMessages, update } = result.value;
  if (action === PolicyAction.ALLOW) return { kind: "allow" };
  if (action === PolicyAction.CONVERT) {
    if (update === undefined) throw new BuildError("SOURCE_DENIED", "convert action requires updated source");
    return { kind: "convert", source: sourceOf(update) };
  }
  const messages = denyMessages
    .slice(0, MESSAGES_MAX)
    .map(({ message }) => printable(message, MESSAGE_MAX_CHARS));
  return {
    kind: "deny",
    action: action === PolicyAction.DENY ? "DENY" : String(action),
    cause: new SourceDenial(messages),
  };
}

/** What a session said of a source that it denied, for the client's own error. */
export function denialDetails(error: BuildError): readonly Detail[] {
  const { cause } = error;
  if (!(cause instanceof SourceDenial) || cause.messages.length === 0) return [];
  const decision = { action: "DENY", denyMessages: cause.messages.map((message) => ({ message })) };
  return [{ typeUrl: DECISION, value: Buffer.from(JSON.stringify(decision)) }];
}
