// Keys of signatures: all forms that openssl writes, cosign's own, and files that are neither.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { generateKeyPairSync, type KeyObject, verify } from "node:crypto";
import {
  isSignedBy,
  publicPem,
  readPrivateKey,
  readPublicKey,
  signBytes,
} from "../../../exporters/signature/keys.ts";
import { openSigstoreKey, sealSigstoreKey } from "../../../exporters/signature/sigstore-key.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import { needs } from "../../support/needs.ts";

const DATA = Buffer.from("what is signed");
const PASSWORD = "correct horse";
const openssl = (args: readonly string[], input = ""): string =>
  execFileSync(needs("openssl"), args, { input, encoding: "utf8", stdio: ["pipe", "pipe", "ignore"] });
const password = async (): Promise<Uint8Array> => Buffer.from(PASSWORD);
const none = async (): Promise<null> => null;
const read = (pem: string, ask: () => Promise<Uint8Array | null> = none): Promise<KeyObject> =>
  readPrivateKey(Buffer.from(pem), "my.key", ask);
const refused = async (work: () => Promise<unknown>, code: string, words: RegExp): Promise<void> => {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof BuildError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, words);
    return true;
  });
};

describe("keys of signatures", function () {
  this.timeout(60_000);
  const kinds = {
    "ECDSA P-256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "ECDSA P-384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "RSA 2048": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    Ed25519: ["-algorithm", "ED25519"],
  };
  for (const [kind, args] of Object.entries(kinds)) {
    it(`${kind} are read as openssl writes them, encrypted or not, and sign`, async () => {
      const pem = openssl(["genpkey", ...args]);
      const sealed = openssl(["pkcs8", "-topk8", "-passout", `pass:${PASSWORD}`], pem);
      assert.match(sealed, /^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
      const publicKey = readPublicKey(Buffer.from(openssl(["pkey", "-pubout"], pem)), "my.pub");
      for (const key of [await read(pem), await read(sealed, password)]) {
        const signature = signBytes(key, DATA);
        assert.equal(publicPem(key), publicPem(publicKey));
        assert.ok(verify(kind === "Ed25519" ? null : "sha256", DATA, publicKey, signature));
        assert.ok(isSignedBy(publicKey, DATA, signature));
        assert.ok(!isSignedBy(publicKey, Buffer.from("something else"), signature));
        assert.ok(!isSignedBy(publicKey, DATA, signature.subarray(1)));
      }
      await refused(() => read(sealed), "USAGE", /my\.key: the key is encrypted, and there is no password/);
      await refused(
        () => read(sealed, async () => Buffer.from("wrong")),
        "FILE_INVALID",
        /the password is wrong|cannot be read as a private key/,
      );
    });
  }

  it("are read in the older forms of openssl, and signatures with the hash of the curve are accepted", async () => {
    const pem = openssl(["ecparam", "-name", "secp384r1", "-genkey", "-noout"]);
    assert.match(pem, /BEGIN EC PRIVATE KEY/);
    const key = await read(pem);
    const { sign } = await import("node:crypto");
    assert.ok(isSignedBy(readPublicKey(Buffer.from(publicPem(key)), "p"), DATA, sign("sha384", DATA, key)));
    const old = openssl(["ec", "-aes128", "-passout", `pass:${PASSWORD}`], pem);
    await refused(() => read(old, password), "FILE_INVALID", /encrypted in OpenSSL's old form/);
  });

  it("of cosign are opened with their password alone", async () => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const pem = await sealSigstoreKey(privateKey.export({ format: "der", type: "pkcs8" }), await password());
    assert.match(pem, /^-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n(?:.{64}\n)+.{1,64}\n-----END/);
    assert.equal(publicPem(await read(pem, password)), publicPem(privateKey));
    const older = pem.replaceAll("SIGSTORE", "COSIGN");
    assert.equal(publicPem(await read(older, password)), publicPem(privateKey));
    await refused(() => read(pem, async () => Buffer.from("x")), "FILE_INVALID", /the password is wrong/);
    await refused(() => read(pem), "USAGE", /there is no password/);
  });

  it("that ask for more than any program does are refused at once", async () => {
    const sealed = (params: object): Buffer =>
      Buffer.from(
        JSON.stringify({
          kdf: { name: "scrypt", params, salt: "AAAA" },
          cipher: { name: "nacl/secretbox", nonce: Buffer.alloc(24).toString("base64") },
          ciphertext: "AAAA",
        }),
      );
    const open = (data: Buffer) => () => openSigstoreKey(data, Buffer.from("x"), "my.key");
    await refused(open(sealed({ N: 1 << 30, r: 8, p: 1 })), "LIMIT_EXCEEDED", /more than 256 MiB/);
    await refused(open(sealed({ N: 65_536, r: 8, p: 1e6 })), "LIMIT_EXCEEDED", /scrypt parameters/);
    await refused(open(sealed({ N: 3, r: 8, p: 1 })), "FILE_INVALID", /parameters are not valid/);
    await refused(open(Buffer.from("{}")), "FILE_INVALID", /another way than by scrypt/);
    await refused(open(Buffer.from("nothing")), "FILE_INVALID", /not that of a key encrypted by cosign/);
    const der = generateKeyPairSync("ed25519").privateKey.export({
      ...{ format: "der", type: "pkcs8", cipher: "aes-256-cbc", passphrase: PASSWORD },
    } as never) as unknown as Buffer;
    // PBKDF2's 2,048 rounds (02 02 08 00) made as many as two bytes can take with a sign, and then as four bytes can.
    const at = der.indexOf(Buffer.from([0x02, 0x02, 0x08, 0x00]));
    assert.ok(at > 0);
    const grown = Buffer.concat([
      der.subarray(0, at),
      Buffer.from([0x02, 0x04, 0x7f, 0xff, 0xff, 0xff]),
      der.subarray(at + 4),
    ]);
    const pem = `-----BEGIN ENCRYPTED PRIVATE KEY-----\n${grown.toString("base64")}\n-----END ENCRYPTED PRIVATE KEY-----\n`;
    await refused(() => read(pem, password), "FILE_INVALID", /more rounds than any program uses/);
  });

  it("that are none are refused with what they are", async () => {
    const rsa = openssl(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    const publicKey = openssl(["pkey", "-pubout"], rsa);
    const x25519 = openssl(["genpkey", "-algorithm", "X25519"]);
    for (const [pem, words] of [
      ["", /my\.key: it is not PEM/],
      ["-----BEGIN PRIVATE KEY-----\nAAAA", /has no end/],
      ["-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", /cannot be read as a private key/],
      [publicKey, /it is a public key/],
      [rsa, /RSA key of 1024 bits/],
      [x25519, /keys of type x25519 do not sign/],
      ["x".repeat(70_000), /longer than 65536 bytes/],
      [
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        /PEM block "OPENSSH PRIVATE KEY"/,
      ],
    ] as const)
      await refused(() => read(pem), "FILE_INVALID", words);
    assert.throws(() => readPublicKey(Buffer.from(rsa), "my.pub"), /my\.pub: it is a private key/);
    assert.throws(() => readPublicKey(Buffer.from(publicKey), "my.pub"), /RSA key of 1024 bits/);
  });
});
