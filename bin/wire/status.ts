// Outcomes of gRPC calls: codes, errors, and their form in trailers.
// gRPC over HTTP/2, doc/PROTOCOL-HTTP2.md, "Responses"; google/rpc/status.proto.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { StatusSchema } from "./messages/google/rpc/status_pb.ts";

/** Status codes, doc/statuscodes.md. */
export const CODE = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
} as const;

/** A detail of an error: a type's name and its value, which BuildKit writes as JSON. */
export interface Detail {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

/** What a call fails with. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: number;
  readonly details: readonly Detail[];
  constructor(code: number, message: string, details: readonly Detail[] = [], cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }
}

/** Of a message. Trailers are headers, which clients bound: Node's at 64 KiB, in which a message stands twice, encoded. */
const MESSAGE_MAX_BYTES = 12_000;

/** Trailers of a call that ended so; null: well. A message that is too long for them is shortened. */
export function trailersOf(told: RpcError | null): Record<string, string> {
  if (told === null) return { "grpc-status": "0" };
  const { code, message, details } = told;
  const bytes = Buffer.from(message);
  const isLong = bytes.length > MESSAGE_MAX_BYTES;
  const error = isLong
    ? new RpcError(code, `${bytes.toString("utf8", 0, MESSAGE_MAX_BYTES)}…`, details)
    : told;
  const trailers: Record<string, string> = {
    "grpc-status": String(error.code),
    "grpc-message": percentEncoded(error.message),
  };
  if (error.details.length > 0) trailers["grpc-status-details-bin"] = toBase64(statusBytes(error));
  return trailers;
}

/** google.rpc.Status of an error. */
export function statusBytes({ code, message, details }: RpcError): Uint8Array {
  const all = details.map(({ typeUrl, value }) => create(AnySchema, { typeUrl, value }));
  return toBinary(StatusSchema, create(StatusSchema, { code, message, details: all }));
}

/** The error that trailers (or headers that are all of an answer) tell; null: none. */
export function errorIn(headers: Readonly<Record<string, unknown>>): RpcError | null {
  const code = Number(headers["grpc-status"] ?? CODE.UNKNOWN);
  if (code === CODE.OK) return null;
  const told = headers["grpc-message"];
  const message = typeof told === "string" ? percentDecoded(told) : "";
  const packed = headers["grpc-status-details-bin"];
  if (typeof packed !== "string") return new RpcError(code, message);
  try {
    const status = fromBinary(StatusSchema, Buffer.from(packed, "base64"));
    return new RpcError(code, status.message || message, status.details);
  } catch {
    return new RpcError(code, message); // details are an extra
  }
}

function percentEncoded(text: string): string {
  let encoded = "";
  for (const byte of Buffer.from(text)) encoded += isPlain(byte) ? String.fromCharCode(byte) : escaped(byte);
  // RFC 9113, "Field Validity": a value has no blanks around it. nghttp2 drops one that has.
  return encoded.replace(/^ | $/g, () => escaped(0x20));
}

function isPlain(byte: number): boolean {
  return byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
}

function escaped(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}

function percentDecoded(text: string): string {
  const bytes: number[] = [];
  for (let at = 0; at < text.length; at++) {
    const hex = text.slice(at + 1, at + 3);
    if (text[at] === "%" && /^[0-9a-f]{2}$/i.test(hex)) {
      bytes.push(Number.parseInt(hex, 16));
      at += 2;
    } else bytes.push(...Buffer.from(text[at] ?? ""));
  }
  return Buffer.from(bytes).toString();
}

/** Unpadded, as gRPC writes binary headers. */
function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64").replace(/=+$/, "");
}
