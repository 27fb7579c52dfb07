// Signed statements: DSSE envelopes. https://github.com/secure-systems-lab/dsse/blob/master/protocol.md

import type { KeyObject } from "node:crypto";
import { BuildError } from "../../solver/graph/error.ts";
import { encodeGoJson } from "../go-json.ts";
import { isSignedBy, signBytes } from "./keys.ts";

export const DSSE_TYPE = "application/vnd.dsse.envelope.v1+json";
/** Statements are at most 40 MiB (STATEMENT_MAX_BYTES), and a third longer in base64. */
export const DSSE_MAX_BYTES: number = 56 << 20;
const SIGNATURES_MAX = 64;

export interface Envelope {
  readonly payloadType: string;
  readonly payload: Buffer;
  readonly signatures: readonly Buffer[];
}

/** Signs a statement. */
export function envelopeOf(key: KeyObject, payloadType: string, payload: Uint8Array): Uint8Array {
  const sig = signBytes(key, preAuthentication(payloadType, payload)).toString("base64");
  return encodeGoJson({
    payloadType,
    payload: Buffer.from(payload).toString("base64"),
    signatures: [{ keyid: "", sig }],
  });
}

/** Throws SIGNATURE_INVALID; `name` is for messages. */
export function parseEnvelope(bytes: Uint8Array, name: string): Envelope {
  let json: { readonly payloadType?: unknown; readonly payload?: unknown; readonly signatures?: unknown };
  try {
    json = JSON.parse(Buffer.from(bytes).toString("utf8")) as typeof json;
  } catch (cause) {
    throw new BuildError("SIGNATURE_INVALID", `${name}: it is not JSON`, { cause });
  }
  const { payloadType, payload, signatures } = json ?? {};
  if (typeof payloadType !== "string" || typeof payload !== "string" || !Array.isArray(signatures))
    throw new BuildError("SIGNATURE_INVALID", `${name}: it is not a DSSE envelope`);
  if (signatures.length > SIGNATURES_MAX)
    throw new BuildError("SIGNATURE_INVALID", `${name}: it has more than ${SIGNATURES_MAX} signatures`);
  return {
    payloadType,
    payload: Buffer.from(payload, "base64"),
    signatures: signatures.flatMap((one: { readonly sig?: unknown } | null) =>
      typeof one?.sig === "string" ? [Buffer.from(one.sig, "base64")] : [],
    ),
  };
}

export function isEnvelopeSignedBy(key: KeyObject, { payloadType, payload, signatures }: Envelope): boolean {
  const signed = preAuthentication(payloadType, payload);
  return signatures.some((signature) => isSignedBy(key, signed, signature));
}

/** PAE(type, body). Lengths are those of the bytes. */
function preAuthentication(type: string, body: Uint8Array): Buffer {
  const head = `DSSEv1 ${Buffer.byteLength(type)} ${type} ${body.length} `;
  return Buffer.concat([Buffer.from(head), body]);
}
