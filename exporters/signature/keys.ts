// Keys that sign images and check signatures: PEM in, node:crypto's KeyObject out. ECDSA, RSA (PKCS #1 v1.5) and Ed25519, as sigstore's
// libraries use them (sigstore/sigstore pkg/signature).

import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { invalid, wrongPassword } from "./key-errors.ts";

/** A key file; the longest RSA keys in use take 13 KB. */
export const KEY_MAX_BYTES: number = 64 << 10;
const RSA_MIN_BITS = 2048;
/** Longer ones only take time: 16,384 bits take a second for each signature. */
const RSA_MAX_BITS = 8192;
const CURVES = ["prime256v1", "secp384r1", "secp521r1"];
/** Rounds of a derivation of keys; OpenSSL's default is 2,048, OWASP asks for 600,000. */
const ROUNDS_MAX = 10_000_000;

/** Asks for the password of an encrypted key; null: there is none to be had. */
export type AskPassword = () => Promise<Uint8Array | null>;

const PKCS8 = "PRIVATE KEY";
const ENCRYPTED_PKCS8 = "ENCRYPTED PRIVATE KEY";
/** cosign's own, under both of its names. */
const ENCRYPTED_SIGSTORE = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];
const TRADITIONAL = ["EC PRIVATE KEY", "RSA PRIVATE KEY"];

/** Reads a private key in PEM. `name`: what the user knows it as. Throws FILE_INVALID, USAGE when a password is missing. */
export async function readPrivateKey(
  pem: Uint8Array,
  name: string,
  password: AskPassword,
): Promise<KeyObject> {
  const block = pemBlock(pem, name);
  const { label, der, text } = block;
  try {
    if (ENCRYPTED_SIGSTORE.includes(label)) {
      const { openSigstoreKey } = await import("./sigstore-key.ts");
      const plain = await openSigstoreKey(der, await passwordFor(name, password), name);
      return checked(createPrivateKey({ key: plain, format: "der", type: "pkcs8" }), name);
    }
    if (label === ENCRYPTED_PKCS8) {
      if (largestInteger(der) > ROUNDS_MAX)
        throw invalid(name, "its password is derived in more rounds than any program uses");
      const passphrase = Buffer.from(await passwordFor(name, password));
      return checked(createPrivateKey({ key: der, format: "der", type: "pkcs8", passphrase }), name);
    }
    // Their encryption is by MD5, and says so in headers.
    if (TRADITIONAL.includes(label) && /^Proc-Type: .*ENCRYPTED/m.test(text))
      throw invalid(
        name,
        "it is encrypted in OpenSSL's old form",
        "convert it: openssl pkcs8 -topk8 -in KEY",
      );
    if (label === PKCS8 || TRADITIONAL.includes(label)) return checked(createPrivateKey(text), name);
  } catch (cause) {
    if (cause instanceof BuildError) throw cause;
    const { code } = cause as { readonly code?: string };
    if (
      label === ENCRYPTED_PKCS8 &&
      /^ERR_OSSL_(?:BAD_DECRYPT|EVP|PKCS12|WRONG_FINAL|.*DECRYPT)/.test(code ?? "")
    )
      throw wrongPassword(name, cause);
    throw invalid(name, "its content cannot be read as a private key", null, cause);
  }
  throw invalid(
    name,
    label.endsWith("PUBLIC KEY")
      ? "it is a public key"
      : `it is a PEM block ${JSON.stringify(printable(label, 60))}`,
    "a private key is expected: PKCS #8, or what cosign makes",
  );
}

/** Reads a public key in PEM, or that of a certificate. Throws FILE_INVALID. */
export function readPublicKey(pem: Uint8Array, name: string): KeyObject {
  const { label, text } = pemBlock(pem, name);
  if (label.endsWith("PRIVATE KEY"))
    throw invalid(name, "it is a private key", "signatures are verified with the public one, cosign.pub");
  if (!["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"].includes(label))
    throw invalid(name, `it is a PEM block ${JSON.stringify(printable(label, 60))}, and no public key`);
  try {
    return checked(createPublicKey(text), name);
  } catch (cause) {
    if (cause instanceof BuildError) throw cause;
    throw invalid(name, "its content cannot be read as a public key", null, cause);
  }
}

/** The public key in PEM (SubjectPublicKeyInfo), of either key. */
export function publicPem(key: KeyObject): string {
  return publicOf(key).export({ format: "pem", type: "spki" }).toString();
}

/** SHA-256 of the public key, in short form for messages. */
export function fingerprint(key: KeyObject): string {
  return createHash("sha256")
    .update(publicOf(key).export({ format: "der", type: "spki" }))
    .digest("hex");
}

function publicOf(key: KeyObject): KeyObject {
  return key.type === "private" ? createPublicKey(key) : key;
}

/** Signs with SHA-256 whatever the curve is, which cosign 2 and containers/image insist on. ECDSA in ASN.1. */
export function signBytes(key: KeyObject, data: Uint8Array): Buffer {
  return sign(isEdwards(key) ? null : "sha256", data, key);
}

/** Is it a signature of the data by the key? cosign 3 takes the hash that fits the curve, so that is tried as well. */
export function isSignedBy(key: KeyObject, data: Uint8Array, signature: Uint8Array): boolean {
  return hashesOf(key).some((hash) => {
    try {
      return verify(hash, data, key, signature);
    } catch {
      return false; // bytes that are no signature at all
    }
  });
}

function hashesOf(key: KeyObject): readonly (string | null)[] {
  if (isEdwards(key)) return [null];
  const { namedCurve } = key.asymmetricKeyDetails ?? {};
  if (namedCurve === "secp384r1") return ["sha256", "sha384"];
  if (namedCurve === "secp521r1") return ["sha256", "sha512"];
  return ["sha256"];
}

function isEdwards({ asymmetricKeyType }: KeyObject): boolean {
  return asymmetricKeyType === "ed25519";
}

/** A key of a kind that is used for signatures of images. */
function checked(key: KeyObject, name: string): KeyObject {
  const { modulusLength = 0, publicExponent = 0n, namedCurve = "" } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case "ed25519":
      return key;
    case "ec":
      if (CURVES.includes(namedCurve)) return key;
      throw invalid(name, `its curve ${namedCurve} is not supported`, "use P-256, P-384 or P-521");
    case "rsa":
      if (modulusLength < RSA_MIN_BITS || modulusLength > RSA_MAX_BITS || publicExponent >= 1n << 33n)
        throw invalid(
          name,
          `an RSA key of ${modulusLength} bits is not supported`,
          `use ${RSA_MIN_BITS} to ${RSA_MAX_BITS} bits`,
        );
      return key;
    default:
      throw invalid(
        name,
        `keys of type ${key.asymmetricKeyType ?? "unknown"} do not sign images`,
        "use ECDSA, RSA or Ed25519",
      );
  }
}

interface PemBlock {
  readonly label: string;
  readonly der: Buffer;
  /** The block as PEM. */
  readonly text: string;
}

/** The first block of a file. RFC 7468; headers are those of OpenSSL's old form. */
function pemBlock(bytes: Uint8Array, name: string): PemBlock {
  if (bytes.length > KEY_MAX_BYTES) throw invalid(name, `it is longer than ${KEY_MAX_BYTES} bytes`);
  const text = Buffer.from(bytes).toString("latin1");
  const begin = /-----BEGIN ([A-Z0-9 ]{1,60})-----/.exec(text);
  if (begin === null) throw invalid(name, "it is not PEM", "it begins with -----BEGIN …-----");
  const [line, label = ""] = begin;
  const last = `-----END ${label}-----`;
  const end = text.indexOf(last, begin.index);
  if (end < 0) throw invalid(name, `its PEM block ${label} has no end`);
  const body = text.slice(begin.index + line.length, end).replace(/^(?:[\w-]+:.*\r?\n)+/gm, "");
  return {
    label,
    der: Buffer.from(body.replace(/\s/g, ""), "base64"),
    text: `${text.slice(begin.index, end + last.length)}\n`,
  };
}

async function passwordFor(name: string, password: AskPassword): Promise<Uint8Array> {
  const given = await password();
  if (given !== null) return given;
  throw new BuildError("USAGE", `${name}: the key is encrypted, and there is no password for it`, {
    hint: "set COSIGN_PASSWORD, or use --password-file",
  });
}

/** The largest number in the algorithm of an EncryptedPrivateKeyInfo (RFC 5958), which is where its rounds are. X.690, definite lengths. */
function largestInteger(der: Buffer): number {
  let largest = 0;
  let steps = 0;
  const walk = (from: number, to: number): void => {
    for (let at = from; at + 2 <= to && ++steps < 1000; ) {
      const tag = der[at] ?? 0;
      let length = der[at + 1] ?? 0;
      let start = at + 2;
      if (length >= 0x80) {
        const count = length & 0x7f;
        length = 0;
        for (let index = 0; index < count; index++) length = length * 256 + (der[start + index] ?? 0);
        start += count;
      }
      const end = Math.min(start + length, to);
      if (tag === 0x30) walk(start, end);
      if (tag === 0x02) {
        let value = 0;
        for (let index = start; index < end; index++) value = value * 256 + (der[index] ?? 0);
        largest = Math.max(largest, value);
      }
      at = start + length;
    }
  };
  walk(0, der.length);
  return largest;
}
