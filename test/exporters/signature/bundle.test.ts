// Bundles of sigstore, made by openssl: an authority for certificates of identities, and one for the time.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, createPrivateKey, createPublicKey, sign } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { type BundleChecks, verifyBundle } from "../../../exporters/signature/bundle.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import type { Digest } from "../../../solver/graph/digest.ts";
import { needs } from "../../support/needs.ts";
import { startOci11Registry } from "../../support/oci11-registry.ts";
import { temporaryDir } from "../../support/store.ts";
import { tsbuild } from "../../support/cli.ts";
import { self } from "../../support/unprivileged.ts";

const IMAGE = `sha256:${"ab".repeat(32)}` as Digest;
const OTHER = `sha256:${"cd".repeat(32)}` as Digest;
const IN_TOTO = "application/vnd.in-toto+json";
const WHO = "me@example.com";
const ISSUER = "https://issuer.example";

describe("sigstore bundles", function () {
  this.timeout(60_000);
  const dir = temporaryDir(self());
  const at = (name: string): string => dir.at(`pki/${name}`);
  const openssl = (...args: string[]): void =>
    void execFileSync(needs("openssl"), args, { cwd: dir.at("pki"), stdio: ["ignore", "ignore", "ignore"] });
  const derOf = (name: string): string => readFileSync(at(name), "utf8").replace(/-----[^-]+-----|\s/g, "");

  before(() => {
    mkdirSync(dir.at("pki"));
    const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    const issue = (name: string, subject: string, extensions: readonly string[]): void => {
      writeFileSync(at(`${name}.ext`), `${extensions.join("\n")}\n`);
      openssl("req", "-new", ...newKey, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", subject);
      const by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
      openssl(
        "x509",
        "-req",
        "-in",
        `${name}.csr`,
        ...by,
        "-days",
        "1",
        "-extfile",
        `${name}.ext`,
        "-out",
        `${name}.pem`,
      );
    };
    for (const name of ["ca", "stranger"])
      openssl(
        ...["req", "-x509", ...newKey, "-keyout", `${name}.key`, "-out", `${name}.pem`, "-days", "30"],
        ...["-subj", `/O=test/CN=${name}`, "-addext", "keyUsage=critical,keyCertSign,cRLSign"],
      );
    issue("leaf", "/", [
      "keyUsage=critical,digitalSignature",
      "extendedKeyUsage=codeSigning",
      `subjectAltName=critical,email:${WHO}`,
      `1.3.6.1.4.1.57264.1.8=ASN1:UTF8String:${ISSUER}`, // Fulcio: docs/oid-info.md
    ]);
    issue("tsa", "/O=test/CN=tsa", [
      "keyUsage=critical,digitalSignature",
      "extendedKeyUsage=critical,timeStamping",
    ]);
    writeFileSync(
      at("tsa.conf"),
      "[tsa]\ndefault_tsa=one\n[one]\nserial=tsa.serial\ndefault_policy=1.2.3.4\ndigests=sha256\nsigner_digest=sha256\n",
    );
    writeFileSync(at("tsa.serial"), "01\n");
  });
  after(() => dir[Symbol.dispose]());

  const pae = (type: string, body: Buffer): Buffer =>
    Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${body.length} `), body]);

  interface Recipe {
    readonly image?: Digest;
    readonly type?: string;
    readonly hasTime?: boolean;
    readonly key?: boolean;
    readonly change?: (payload: Buffer) => Buffer;
    readonly predicateType?: string;
  }
  /** A bundle as cosign writes it, but for the transparency log, which nobody can write by hand. */
  const bundle = ({
    predicateType = "https://example.com/made",
    image = IMAGE,
    type = IN_TOTO,
    hasTime = true,
    key = false,
    change,
  }: Recipe = {}): string => {
    const payload = Buffer.from(
      JSON.stringify({
        _type: "https://in-toto.io/Statement/v1",
        subject: [{ name: "x", digest: { sha256: image.slice(7) } }],
        predicateType,
        predicate: {},
      }),
    );
    const signature = sign("sha256", pae(type, payload), createPrivateKey(readFileSync(at("leaf.key"))));
    writeFileSync(at("signature"), signature);
    openssl("ts", "-query", "-data", "signature", "-sha256", "-cert", "-out", "query");
    const by = ["-signer", "tsa.pem", "-inkey", "tsa.key", "-chain", "ca.pem"];
    openssl("ts", "-reply", "-config", "tsa.conf", "-queryfile", "query", ...by, "-out", "reply");
    const time = { rfc3161Timestamps: [{ signedTimestamp: readFileSync(at("reply")).toString("base64") }] };
    return JSON.stringify({
      mediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
      verificationMaterial: {
        ...(key ? { publicKey: { hint: "x" } } : { certificate: { rawBytes: derOf("leaf.pem") } }),
        tlogEntries: [],
        ...(hasTime ? { timestampVerificationData: time } : {}),
      },
      dsseEnvelope: {
        payload: (change?.(payload) ?? payload).toString("base64"),
        payloadType: type,
        signatures: [{ sig: signature.toString("base64"), keyid: "" }],
      },
    });
  };
  const root = (authority = "ca.pem"): string => {
    const chain = {
      certChain: { certificates: [{ rawBytes: derOf(authority) }] },
      validFor: { start: "2020-01-01T00:00:00Z" },
    };
    const times = {
      certChain: { certificates: [{ rawBytes: derOf("tsa.pem") }, { rawBytes: derOf("ca.pem") }] },
      validFor: chain.validFor,
    };
    return JSON.stringify({
      mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
      tlogs: [],
      ctlogs: [],
      certificateAuthorities: [{ subject: { organization: "test", commonName: "ca" }, uri: "", ...chain }],
      timestampAuthorities: [{ subject: { organization: "test", commonName: "tsa" }, uri: "", ...times }],
    });
  };
  const checks = (change: Partial<BundleChecks> = {}): BundleChecks => ({
    signer: {
      kind: "certificate",
      identity: (name, issuer) =>
        name === WHO && issuer === ISSUER ? null : `it was signed by ${name} of ${issuer}`,
    },
    trustedRoot: { name: "root.json", text: root() },
    ignoresLog: true,
    ignoresCertificateLog: true,
    ...change,
  });
  const refused = async (
    text: string,
    change: Partial<BundleChecks>,
    words: RegExp,
    code = "SIGNATURE_INVALID",
  ) =>
    await assert.rejects(verifyBundle({ name: "a.json", text }, IMAGE, checks(change)), (error) => {
      assert.ok(error instanceof BuildError, String(error));
      assert.equal(error.code, code);
      assert.match(error.message, words);
      return true;
    });

  it("say who has signed a statement about an image", async () => {
    const { predicateType, by, statement } = await verifyBundle(
      { name: "a.json", text: bundle() },
      IMAGE,
      checks(),
    );
    assert.equal(predicateType, "https://example.com/made");
    assert.deepEqual(by, { name: WHO, issuer: ISSUER });
    assert.equal((JSON.parse(statement) as { readonly predicate: object }).predicate !== undefined, true);
  });

  it("count for nothing without proofs of logs and of time, and by authorities that nobody trusts", async () => {
    await refused(bundle(), { ignoresLog: false }, /a\.json: expected 1 tlog entries, got 0/);
    await refused(bundle(), { ignoresCertificateLog: false }, /expected 1 SCTs, got 0/);
    await refused(bundle({ hasTime: false }), {}, /expected 1 timestamps, got 0/);
    await refused(bundle(), { trustedRoot: { name: "r", text: root("stranger.pem") } }, /certificate chain/);
  });

  it("of others, of other images, and changed ones are refused", async () => {
    const somebody = { kind: "certificate", identity: () => "it was signed by somebody" } as const;
    await refused(bundle(), { signer: somebody }, /a\.json: it was signed by somebody/);
    await refused(bundle({ image: OTHER }), {}, /the statement is about another image than sha256:abab/);
    const forged = { change: (payload: Buffer) => Buffer.from(payload.toString().replace("made", "fake")) };
    await refused(bundle(forged), {}, /a\.json: .*signature/);
    await refused(bundle({ type: "text/plain" }), {}, /what is signed is text\/plain/);
  });

  it("are verified with a key as well, and only with the one that is asked for", async () => {
    const key = createPublicKey(createPrivateKey(readFileSync(at("leaf.key"))));
    const change = { signer: { kind: "key", key }, trustedRoot: null } as const;
    const text = bundle({ key: true, hasTime: false });
    assert.equal((await verifyBundle({ name: "a.json", text }, IMAGE, checks(change))).by, null);
    const other = createPublicKey(createPrivateKey(readFileSync(at("tsa.key"))));
    await refused(text, { ...change, signer: { kind: "key", key: other } }, /signature verification failed/);
    await refused(text, {}, /signed with a key, and not by an identity/);
    await refused(bundle(), change, /signed by an identity, and not with a key/);
  });

  it("that are none, and roots that are none, are named", async () => {
    await refused("nothing", {}, /a\.json: it is not JSON/, "FILE_INVALID");
    await refused("{}", {}, /a\.json: it is not a sigstore bundle/, "FILE_INVALID");
    for (const text of [
      "nothing",
      "{}",
      '{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[{}]}',
    ])
      await refused(
        bundle(),
        { trustedRoot: { name: "r.json", text } },
        /r\.json: it is not a trusted root/,
        "FILE_INVALID",
      );
  });

  it("beside an image, as cosign 3 puts them, are found there: of keys and of identities", async () => {
    await using registry = await startOci11Registry();
    const put = async (path: string, body: Buffer, type: string): Promise<string> => {
      const headers = { "content-type": type };
      const answer = await fetch(`${registry.origin}/v2/app/${path}`, { method: "PUT", headers, body });
      assert.equal(answer.status, 201);
      return answer.headers.get("docker-content-digest") ?? "";
    };
    const manifestType = "application/vnd.oci.image.manifest.v1+json";
    const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json";
    const blobOf = async (bytes: Buffer, mediaType: string) => {
      const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
      await put(`blobs/uploads/1?digest=${digest}`, bytes, "application/octet-stream");
      return { mediaType, digest, size: bytes.length };
    };
    const config = await blobOf(Buffer.from("{}"), "application/vnd.oci.empty.v1+json");
    const manifest = (more: object): Buffer =>
      Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: manifestType, config, layers: [], ...more }));
    const run = (...args: string[]) =>
      tsbuild(["verify-signature", ...args, `${registry.host}/app:1`], {
        ...{ account: self(), root: dir.at("store"), cwd: dir.path },
      });
    const image = manifest({});
    const digest = (await put("manifests/1", image, manifestType)) as Digest;
    const attach = async (text: string): Promise<void> => {
      const layer = await blobOf(Buffer.from(text), bundleType);
      const subject = { mediaType: manifestType, digest, size: image.length };
      const artifact = manifest({ artifactType: bundleType, layers: [layer], subject });
      const own = `sha256:${createHash("sha256").update(artifact).digest("hex")}`;
      await put(`manifests/${own}`, artifact, manifestType);
    };
    writeFileSync(at("root.json"), root());
    openssl("pkey", "-in", "leaf.key", "-pubout", "-out", "leaf.pub");
    openssl("pkey", "-in", "tsa.key", "-pubout", "-out", "tsa.pub");
    const lax = ["--insecure-ignore-tlog", "--insecure-ignore-sct", "--trusted-root", at("root.json")];
    const who = ["--certificate-identity", WHO, "--certificate-oidc-issuer", ISSUER];
    assert.equal((await run(...lax, ...who)).code, 10);
    const predicateType = "https://sigstore.dev/cosign/sign/v1";
    await attach("no bundle at all");
    await attach(bundle({ image: digest, predicateType, key: true, hasTime: false }));
    const byKey = await run("--key", at("leaf.pub"));
    assert.equal(byKey.code, 0, byKey.stderr);
    assert.match(byKey.stdout, new RegExp(`"docker-manifest-digest":"${digest}"`));
    assert.equal((await run("--key", at("tsa.pub"))).code, 12);
    assert.equal((await run(...lax, ...who)).code, 12);
    await attach(bundle({ image: digest, predicateType }));
    await attach(bundle({ image: digest }));
    const byIdentity = await run(...lax, ...who);
    assert.equal(byIdentity.code, 0, byIdentity.stderr);
    assert.equal(byIdentity.stdout.trim().split("\n").length, 1);
    assert.equal((await run(...lax, ...who, "--type", "https://example.com/made")).code, 0);
    const strangers = ["--certificate-identity", "you@example.com", "--certificate-oidc-issuer", ISSUER];
    assert.match((await run(...lax, ...strangers)).stderr, /app:1: no matching bundles: /);
  });

  it("are verified by the command without any network, for an image named by its digest", async () => {
    writeFileSync(at("a.json"), bundle());
    writeFileSync(at("root.json"), root());
    const run = (...args: string[]) =>
      tsbuild(
        [
          "verify-signature",
          "--bundle",
          at("a.json"),
          "--trusted-root",
          at("root.json"),
          ...args,
          `registry.invalid/x@${IMAGE}`,
        ],
        { account: self(), root: dir.at("store"), cwd: dir.path },
      );
    const lax = ["--insecure-ignore-tlog", "--insecure-ignore-sct"];
    const who = ["--certificate-identity", WHO, "--certificate-oidc-issuer-regexp", "^https://issuer[.]"];
    const done = await run(...lax, ...who);
    assert.equal(done.code, 0, done.stderr);
    assert.match(done.stdout, /^\{"_type"/);
    const other = await run(
      ...lax,
      "--certificate-identity",
      "you@example.com",
      "--certificate-oidc-issuer",
      ISSUER,
    );
    assert.equal(other.code, 12);
    assert.match(other.stderr, /signed by "me@example.com", not "you@example.com"/);
    assert.match((await run(...lax)).stderr, /needs --key, or --certificate-identity/);
  });
});
