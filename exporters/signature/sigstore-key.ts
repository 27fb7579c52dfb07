// Encrypted private keys as cosign has them: PKCS #8 in NaCl's secretbox, by a key that scrypt makes of the password.
// sigstore/cosign pkg/cosign/keys.go; go-securesystemslib encrypted/encrypted.go.

import { randomBytes, scrypt } from "node:crypto";
import { BuildError } from "../../solver/graph/error.ts";
import { invalid, wrongPassword } from "./key-errors.ts";

const LABEL = "ENCRYPTED SIGSTORE PRIVATE KEY";
/** go-securesystemslib's Standard parameters; cosign 1 had N = 32,768. */
const STANDARD: ScryptParameters = { N: 65_536, r: 8, p: 1 };
/** Four times the standard, so that a file cannot take all memory. */
const SCRYPT_MAX_BYTES = 256 << 20;
const SCRYPT_MAX_PARALLEL = 16;
const SALT_BYTES = 32;
const KEY_BYTES = 32;
/** XSalsa20. */
const NONCE_BYTES = 24;

interface ScryptParameters {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

/** The PKCS #8 in an encrypted key, in DER. `data`: the content of the PEM block. Throws FILE_INVALID. */
export async function openSigstoreKey(data: Uint8Array, password: Uint8Array, name: string): Promise<Buffer> {
  const { parameters, salt, nonce, ciphertext } = parse(data, name);
  const key = await derive(password, salt, parameters);
  const { xsalsa20poly1305 } = await import("@noble/ciphers/salsa.js");
  try {
    return Buffer.from(xsalsa20poly1305(key, nonce).decrypt(ciphertext));
  } catch (cause) {
    throw wrongPassword(name, cause);
  }
}

/** A PKCS #8 in DER as an encrypted key in PEM. */
export async function sealSigstoreKey(pkcs8: Uint8Array, password: Uint8Array): Promise<string> {
  const [salt, nonce] = [randomBytes(SALT_BYTES), randomBytes(NONCE_BYTES)];
  const key = await derive(password, salt, STANDARD);
  const { xsalsa20poly1305 } = await import("@noble/ciphers/salsa.js");
  const sealed = {
    kdf: { name: "scrypt", params: STANDARD, salt: salt.toString("base64") },
    cipher: { name: "nacl/secretbox", nonce: nonce.toString("base64") },
    ciphertext: Buffer.from(xsalsa20poly1305(key, nonce).encrypt(pkcs8)).toString("base64"),
  };
  const body = Buffer.from(JSON.stringify(sealed)).toString("base64");
  return `-----BEGIN ${LABEL}-----\n${body.replace(/.{1,64}/g, "$&\n")}-----END ${LABEL}-----\n`;
}

function derive(password: Uint8Array, salt: Uint8Array, { N, r, p }: ScryptParameters): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password, salt, KEY_BYTES, { N, r, p, maxmem: 2 * SCRYPT_MAX_BYTES }, (error, key) => {
      if (error === null) resolve(key);
      else reject(error);
    });
  });
}

interface SealedKey {
  readonly parameters: ScryptParameters;
  readonly salt: Buffer;
  readonly nonce: Buffer;
  readonly ciphertext: Buffer;
}

function parse(data: Uint8Array, name: string): SealedKey {
  let json: {
    readonly kdf?: {
      readonly name?: unknown;
      readonly params?: Partial<ScryptParameters>;
      readonly salt?: unknown;
    };
    readonly cipher?: { readonly name?: unknown; readonly nonce?: unknown };
    readonly ciphertext?: unknown;
  };
  try {
    json = JSON.parse(Buffer.from(data).toString("utf8")) as typeof json;
  } catch (cause) {
    throw invalid(name, "its content is not that of a key encrypted by cosign", null, cause);
  }
  const { kdf, cipher, ciphertext } = json ?? {};
  if (kdf?.name !== "scrypt" || cipher?.name !== "nacl/secretbox")
    throw invalid(name, "it is encrypted in another way than by scrypt and nacl/secretbox");
  const { N, r, p } = kdf.params ?? {};
  const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;
  if (!isCount(N) || !isCount(r) || !isCount(p) || N < 2 || (N & (N - 1)) !== 0)
    throw invalid(name, "its scrypt parameters are not valid");
  if (128 * N * r > SCRYPT_MAX_BYTES || p > SCRYPT_MAX_PARALLEL)
    throw new BuildError(
      "LIMIT_EXCEEDED",
      `${name}: its scrypt parameters need more than ${SCRYPT_MAX_BYTES >> 20} MiB of memory`,
    );
  const bytesOf = (value: unknown): Buffer => Buffer.from(typeof value === "string" ? value : "", "base64");
  const nonce = bytesOf(cipher.nonce);
  if (nonce.length !== NONCE_BYTES) throw invalid(name, "its nonce is not 24 bytes long");
  return { parameters: { N, r, p }, salt: bytesOf(kdf.salt), nonce, ciphertext: bytesOf(ciphertext) };
}
