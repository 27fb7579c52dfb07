// Private key files of ssh for the agent of --ssh: OpenSSH's own format (openssh-key-v1, PROTOCOL.key of OpenSSH) and PEM.

import { createPrivateKey, createPublicKey, type JsonWebKey, type KeyObject, sign } from "node:crypto";
import { BuildError } from "../solver/graph/error.ts";

/** A key that can sign. `blob` is the public key as ssh sends it (RFC 4253, 6.6; RFC 8709; RFC 5656). */
export interface SshKey {
  readonly blob: Buffer;
  readonly comment: string;
  /** The signature as ssh sends it; `flags` choose the hash for RSA (RFC 8332; draft-ietf-sshm-ssh-agent, 3.6.1). */
  sign(data: Buffer, flags: number): Buffer;
}

const CURVES = {
  nistp256: { crv: "P-256", hash: "sha256" },
  nistp384: { crv: "P-384", hash: "sha384" },
  nistp521: { crv: "P-521", hash: "sha512" },
} as const;
type Curve = keyof typeof CURVES;

const MAGIC = Buffer.from("openssh-key-v1\0");

/** Reads a private key. Throws USAGE for keys with a passphrase and for what is no key of a known kind. */
export function readSshKey(text: string, path: string): SshKey {
  const body = /-----BEGIN OPENSSH PRIVATE KEY-----([\s\S]*?)-----END OPENSSH PRIVATE KEY-----/.exec(
    text,
  )?.[1];
  try {
    return body === undefined
      ? fromKey(createPrivateKey(text), path)
      : fromOpenSsh(Buffer.from(body, "base64"), path);
  } catch (cause) {
    if (cause instanceof BuildError) throw cause;
    const isLocked = (cause as NodeJS.ErrnoException).code === "ERR_MISSING_PASSPHRASE";
    throw isLocked ? locked(path) : noKey(path, cause);
  }
}

function locked(path: string): BuildError {
  return new BuildError("USAGE", `the private key ${path} has a passphrase`, {
    hint: "add it to an agent (ssh-add) and forward that: --ssh default",
  });
}

function noKey(path: string, cause?: unknown): BuildError {
  return new BuildError("USAGE", `${path} is neither an agent's socket nor a private key`, {
    hint: "ed25519, ECDSA and RSA keys are read, in OpenSSH's format or PEM",
    cause,
  });
}

function fromOpenSsh(data: Buffer, path: string): SshKey {
  if (!data.subarray(0, MAGIC.length).equals(MAGIC)) throw noKey(path);
  const outer = reader(data.subarray(MAGIC.length));
  const cipher = outer.text();
  outer.bytes(); // name of the key derivation
  outer.bytes(); // its options
  if (cipher !== "none") throw locked(path);
  if (outer.number() !== 1) throw noKey(path);
  outer.bytes(); // public key: is in the private part as well
  const inner = reader(outer.bytes());
  if (inner.number() !== inner.number()) throw noKey(path); // two equal check numbers
  const type = inner.text();
  if (type === "ssh-ed25519") {
    const x = inner.bytes();
    const d = inner.bytes().subarray(0, 32);
    return fromJwk({ kty: "OKP", crv: "Ed25519", x: url(x), d: url(d) }, inner.text(), path);
  }
  if (type === "ssh-rsa") {
    const [n, e, d, qi, p, q] = Array.from({ length: 6 }, () => unsigned(inner.bytes())) as Sextet;
    const jwk = { kty: "RSA", n: url(n), e: url(e), d: url(d), p: url(p), q: url(q), qi: url(qi) };
    return fromJwk({ ...jwk, dp: url(remainder(d, p)), dq: url(remainder(d, q)) }, inner.text(), path);
  }
  const curve = inner.text() as Curve;
  if (type !== `ecdsa-sha2-${curve}` || !Object.hasOwn(CURVES, curve)) throw noKey(path);
  const point = inner.bytes();
  const size = (point.length - 1) / 2; // 4, x, y
  const d = padded(unsigned(inner.bytes()), size);
  const [x, y] = [point.subarray(1, 1 + size), point.subarray(1 + size)];
  return fromJwk({ kty: "EC", crv: CURVES[curve].crv, x: url(x), y: url(y), d: url(d) }, inner.text(), path);
}

type Sextet = [Buffer, Buffer, Buffer, Buffer, Buffer, Buffer];

function fromJwk(jwk: JsonWebKey, comment: string, path: string): SshKey {
  return fromKey(createPrivateKey({ key: jwk, format: "jwk" }), path, comment);
}

function fromKey(key: KeyObject, path: string, comment = path): SshKey {
  const jwk = createPublicKey(key).export({ format: "jwk" });
  const part = (text: string | undefined): Buffer => Buffer.from(text ?? "", "base64url");
  if (jwk.kty === "OKP" && jwk.crv === "Ed25519") {
    const name = Buffer.from("ssh-ed25519");
    return {
      blob: strings(name, part(jwk.x)),
      comment,
      sign: (data) => strings(name, sign(null, data, key)),
    };
  }
  if (jwk.kty === "RSA") {
    const blob = strings(Buffer.from("ssh-rsa"), integer(part(jwk.e)), integer(part(jwk.n)));
    return {
      blob,
      comment,
      sign: (data, flags) => {
        const name = (flags & 4) !== 0 ? "rsa-sha2-512" : (flags & 2) !== 0 ? "rsa-sha2-256" : "ssh-rsa";
        const hash = name === "ssh-rsa" ? "sha1" : name === "rsa-sha2-256" ? "sha256" : "sha512";
        return strings(Buffer.from(name), sign(hash, data, key));
      },
    };
  }
  const found = Object.entries(CURVES).find(([, { crv }]) => jwk.kty === "EC" && crv === jwk.crv);
  if (found === undefined) throw noKey(path);
  const [curve, { hash }] = found;
  const name = Buffer.from(`ecdsa-sha2-${curve}`);
  const point = Buffer.concat([Buffer.from([4]), part(jwk.x), part(jwk.y)]);
  return {
    blob: strings(name, Buffer.from(curve), point),
    comment,
    sign: (data) => {
      const raw = sign(hash, data, { key, dsaEncoding: "ieee-p1363" });
      const half = raw.length / 2;
      return strings(name, strings(integer(raw.subarray(0, half)), integer(raw.subarray(half))));
    },
  };
}

/** Fields behind their lengths, RFC 4251, 5. */
export function strings(...fields: readonly Buffer[]): Buffer {
  return Buffer.concat(
    fields.flatMap((field) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(field.length);
      return [length, field];
    }),
  );
}

/** Reads such fields; a RangeError when there are too few bytes. */
export function reader(data: Buffer): { number(): number; bytes(): Buffer; text(): string } {
  let at = 0;
  const number = (): number => {
    at += 4;
    return data.readUInt32BE(at - 4);
  };
  const bytes = (): Buffer => {
    const length = number();
    if (at + length > data.length) throw new RangeError("a field is cut off");
    at += length;
    return data.subarray(at - length, at);
  };
  return { number, bytes, text: () => bytes().toString("utf8") };
}

/** mpint of RFC 4251: no zeros in front, but one where the first bit is set. */
function integer(bytes: Buffer): Buffer {
  const plain = unsigned(bytes);
  return (plain[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), plain]) : plain;
}

function unsigned(bytes: Buffer): Buffer {
  const start = bytes.findIndex((byte) => byte !== 0);
  return start < 0 ? Buffer.alloc(0) : bytes.subarray(start);
}

function padded(bytes: Buffer, size: number): Buffer {
  return Buffer.concat([Buffer.alloc(Math.max(size - bytes.length, 0)), bytes]);
}

/** d modulo p-1: what RSA keys of other formats have besides. */
function remainder(d: Buffer, p: Buffer): Buffer {
  const value = BigInt(`0x${d.toString("hex")}`) % (BigInt(`0x${p.toString("hex")}`) - 1n);
  const hex = value.toString(16);
  return Buffer.from(hex.padStart(hex.length + (hex.length % 2), "0"), "hex");
}

function url(bytes: Buffer): string {
  return bytes.toString("base64url");
}
