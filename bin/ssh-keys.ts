// Private key files of ssh for --ssh ID=KEY: OpenSSH's own format (openssh-key-v1, PROTOCOL.key of OpenSSH) and PEM. Node's
// crypto signs and reads all PEM formats; the rest, OpenSSH's container and the key and signature formats in
// messages, is here. Of the available packages one compiles native code at install time (ssh2), the other is a megabyte and
// encodes one in 256 of its ECDSA signatures wrongly (sshpk 1.18).

import { createPrivateKey, createPublicKey, type JsonWebKey, type KeyObject, sign } from "node:crypto";
import { BuildError } from "../solver/graph/error.ts";
import { mpint, readFields, strings, unsigned } from "./ssh-wire.ts";

/** A key that can sign. */
export interface SshKey {
  /** The public key as ssh sends it: RFC 4253, 6.6 (RSA); RFC 5656, 3.1 (ECDSA); RFC 8709, 4 (Ed25519). */
  readonly blob: Buffer;
  readonly comment: string;
  /** The signature as ssh sends it. `flags` are those of the agent's protocol and choose the hash for RSA. */
  sign(data: Buffer, flags: number): Buffer;
}

/** SSH_AGENT_RSA_SHA2_256 and _512: draft-ietf-sshm-ssh-agent, 3.6.1. Without them it is SHA-1, which only old servers ask for. */
const RSA_SHA2_256 = 2;
const RSA_SHA2_512 = 4;

const CURVES = {
  nistp256: { crv: "P-256", hash: "sha256" },
  nistp384: { crv: "P-384", hash: "sha384" },
  nistp521: { crv: "P-521", hash: "sha512" },
} as const;
type Curve = keyof typeof CURVES;

const MAGIC = Buffer.from("openssh-key-v1\0");
const OPENSSH = /-----BEGIN OPENSSH PRIVATE KEY-----([\s\S]*?)-----END OPENSSH PRIVATE KEY-----/;
/** PKCS #8 says it in its label, older forms in a header (RFC 1421, 4.6.1.1). */
const LOCKED_PEM = /^-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m;

/** Reads a private key; `path` is for messages. Throws USAGE for keys with a passphrase and for what is no key of a known kind. */
export function readSshKey(text: string, path: string): SshKey {
  if (LOCKED_PEM.test(text)) throw locked(path);
  const body = OPENSSH.exec(text)?.[1];
  try {
    return body === undefined
      ? signer(createPrivateKey(text), path, path)
      : fromOpenSsh(Buffer.from(body, "base64"), path);
  } catch (cause) {
    throw cause instanceof BuildError ? cause : noKey(path, cause);
  }
}

function locked(path: string): BuildError {
  return new BuildError("USAGE", `failed to parse ${path}: this private key is passphrase protected`, {
    hint: "add it to an agent (ssh-add) and forward the agent: --ssh default",
  });
}

function noKey(path: string, cause?: unknown): BuildError {
  return new BuildError("USAGE", `failed to parse ${path}: neither an agent's socket nor a private key`, {
    hint: "supported are Ed25519, ECDSA and RSA keys in OpenSSH or PEM format",
    cause,
  });
}

/** PROTOCOL.key: a public part, and a private part that is encrypted or not. RangeError for what is cut off. */
function fromOpenSsh(data: Buffer, path: string): SshKey {
  if (!data.subarray(0, MAGIC.length).equals(MAGIC)) throw noKey(path);
  const outer = readFields(data.subarray(MAGIC.length));
  const cipher = outer.text();
  outer.bytes(); // name of the key derivation
  outer.bytes(); // its options
  if (cipher !== "none") throw locked(path);
  if (outer.uint32() !== 1) throw noKey(path); // OpenSSH writes and reads one
  outer.bytes(); // the public key is in the private part as well
  const inner = readFields(outer.bytes());
  if (inner.uint32() !== inner.uint32()) throw noKey(path); // two equal numbers
  const type = inner.text();
  const jwk = privateJwk(type, inner);
  if (jwk === null) throw noKey(path);
  return signer(createPrivateKey({ key: jwk, format: "jwk" }), inner.text() || path, path);
}

/** The private fields of a key of that type, or null for types that are not known (DSA, keys in hardware). */
function privateJwk(type: string, fields: ReturnType<typeof readFields>): JsonWebKey | null {
  if (type === "ssh-ed25519") {
    const x = fields.bytes();
    return { kty: "OKP", crv: "Ed25519", x: base64(x), d: base64(fields.bytes().subarray(0, 32)) };
  }
  if (type === "ssh-rsa") {
    const next = (): Buffer => unsigned(fields.bytes());
    const [n, e, d, qi, p, q] = [next(), next(), next(), next(), next(), next()];
    return {
      ...{ kty: "RSA", n: base64(n), e: base64(e), d: base64(d), p: base64(p), q: base64(q), qi: base64(qi) },
      ...{ dp: base64(reduced(d, p)), dq: base64(reduced(d, q)) },
    };
  }
  const curve = /^ecdsa-sha2-(nistp(?:256|384|521))$/.exec(type)?.[1] as Curve | undefined;
  if (curve === undefined || fields.text() !== curve) return null;
  const point = fields.bytes(); // 4, x, y: SEC 1, 2.3.3
  const size = (point.length - 1) / 2;
  const d = unsigned(fields.bytes());
  return {
    ...{ kty: "EC", crv: CURVES[curve].crv },
    ...{ x: base64(point.subarray(1, 1 + size)), y: base64(point.subarray(1 + size)) },
    d: base64(Buffer.concat([Buffer.alloc(Math.max(size - d.length, 0)), d])), // RFC 7518, 6.2.2.1: of full length
  };
}

function signer(key: KeyObject, comment: string, path: string): SshKey {
  const jwk = createPublicKey(key).export({ format: "jwk" });
  const part = (text: string | undefined): Buffer => Buffer.from(text ?? "", "base64url");
  if (jwk.kty === "OKP" && jwk.crv === "Ed25519") {
    const name = Buffer.from("ssh-ed25519");
    const blob = strings(name, part(jwk.x));
    return { blob, comment, sign: (data) => strings(name, sign(null, data, key)) };
  }
  if (jwk.kty === "RSA") {
    const blob = strings(Buffer.from("ssh-rsa"), mpint(part(jwk.e)), mpint(part(jwk.n)));
    return { blob, comment, sign: (data, flags) => signRsa(key, data, flags) };
  }
  const found = Object.entries(CURVES).find(([, { crv }]) => jwk.kty === "EC" && crv === jwk.crv);
  if (found === undefined) throw noKey(path);
  const [curve, { hash }] = found;
  const name = Buffer.from(`ecdsa-sha2-${curve}`);
  const blob = strings(name, Buffer.from(curve), Buffer.concat([Buffer.from([4]), part(jwk.x), part(jwk.y)]));
  return {
    blob,
    comment,
    sign(data) {
      const raw = sign(hash, data, { key, dsaEncoding: "ieee-p1363" }); // r and s of equal length
      const half = raw.length / 2;
      return strings(name, strings(mpint(raw.subarray(0, half)), mpint(raw.subarray(half))));
    },
  };
}

/** RFC 8332, 3. */
function signRsa(key: KeyObject, data: Buffer, flags: number): Buffer {
  if ((flags & RSA_SHA2_512) !== 0) return strings(Buffer.from("rsa-sha2-512"), sign("sha512", data, key));
  if ((flags & RSA_SHA2_256) !== 0) return strings(Buffer.from("rsa-sha2-256"), sign("sha256", data, key));
  return strings(Buffer.from("ssh-rsa"), sign("sha1", data, key));
}

/** d modulo p-1, which OpenSSH does not store. */
function reduced(d: Buffer, p: Buffer): Buffer {
  const value = BigInt(`0x${d.toString("hex")}`) % (BigInt(`0x${p.toString("hex")}`) - 1n);
  const hex = value.toString(16);
  return Buffer.from(hex.padStart(hex.length + (hex.length % 2), "0"), "hex");
}

function base64(bytes: Buffer): string {
  return bytes.toString("base64url");
}
