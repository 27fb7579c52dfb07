// Signatures of images: by builds and by `sign`, in a registry and in layouts, checked by openssl and by `verify-signature`.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { needs } from "../support/needs.ts";
import { startOci11Registry } from "../support/oci11-registry.ts";
import { type DebianRegistry, startRegistry } from "../support/registry.ts";
import { ordinaryUser } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

interface Layer {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly annotations: Readonly<Record<string, string>>;
}
interface Manifest {
  readonly config: Layer;
  readonly layers: Layer[];
  readonly subject?: Layer;
  readonly manifests?: (Layer & { readonly platform?: { readonly os: string } })[];
}

const ACCEPT = ["application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"].join(
  ", ",
);
const SIGNATURE = "dev.cosignproject.cosign/signature";
const PASSWORD = "correct horse";

describe("signatures", function () {
  this.timeout(60_000);
  let shop: Workshop;
  let registry: DebianRegistry;
  let context: string;
  let serial = 0;
  before(async () => {
    [registry, shop] = await Promise.all([startRegistry(), openWorkshop(ordinaryUser())]);
    context = shop.context("app", { Dockerfile: "FROM scratch\nCOPY file /file\n", file: "text\n" });
    // Without passwords, which take half a second to check.
    const openssl = (...args: string[]): string => execFileSync(needs("openssl"), args, { encoding: "utf8" });
    for (const name of ["a", "b"]) {
      const key = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256");
      shop.context("keys", { [`${name}.key`]: key });
      shop.context("keys", {
        [`${name}.pub`]: openssl("pkey", "-pubout", "-in", shop.at(`keys/${name}.key`)),
      });
    }
  });
  after(async () => {
    await registry[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
  });

  const env = { COSIGN_PASSWORD: PASSWORD };
  const ok = (...args: string[]) => shop.ok(args);
  const run = (...args: string[]) => shop.run(args);
  const nameOf = (): string => `${registry.host}/s${serial++}`;
  const get = async (name: string, path: string): Promise<Buffer> => {
    const [host = "", repository = ""] = name.split(/\/(.*)/s);
    const answer = await fetch(`http://${host}/v2/${repository}/${path}`, { headers: { accept: ACCEPT } });
    assert.equal(answer.status, 200, path);
    return Buffer.from(await answer.arrayBuffer());
  };
  const document = async (name: string, tag: string): Promise<Manifest> =>
    JSON.parse((await get(name, `manifests/${tag}`)).toString()) as Manifest;
  const digestOf = (bytes: Uint8Array): string =>
    `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  const tagOf = (digest: string, suffix: string): string => `${digest.replace(":", "-")}.${suffix}`;

  /** Asks openssl. */
  const isSigned = (data: Uint8Array, signature: Buffer, key = "a"): boolean => {
    const dir = shop.at("openssl");
    mkdirSync(dir, { recursive: true });
    writeFileSync(`${dir}/data`, data);
    writeFileSync(`${dir}/signature`, signature);
    const args = [
      "dgst",
      "-sha256",
      "-verify",
      shop.at(`keys/${key}.pub`),
      "-signature",
      `${dir}/signature`,
      `${dir}/data`,
    ];
    try {
      return execFileSync(needs("openssl"), args, { encoding: "utf8", stdio: "pipe" }) === "Verified OK\n";
    } catch {
      return false;
    }
  };
  const preAuthentication = (type: string, body: Buffer): Buffer =>
    Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${body.length} `), body]);

  it("by a new key of generate-key-pair, which is for nobody else and overwrites none", async () => {
    const name = nameOf();
    const make = ["generate-key-pair", "--output-key-prefix", "keys/own"];
    await shop.ok(make, { env });
    assert.equal(statSync(shop.at("keys/own.key")).mode & 0o777, 0o600);
    const before = readFileSync(shop.at("keys/own.key"), "utf8");
    // Before it asks for a password: there is none, and no terminal.
    const { code, stderr } = await shop.run(make, {});
    assert.equal(code, 1);
    assert.match(stderr, /keys\/own\.key: it exists\nhint: use another name: --output-key-prefix PATH\n/);
    assert.equal(readFileSync(shop.at("keys/own.key"), "utf8"), before);
    const alone = await shop.run(["generate-key-pair", "--output-key-prefix", "keys/c"], {});
    assert.match(alone.stderr, /needs a password, and there is no terminal/);
    const sign = ["--sign", "key=env://KEY"];
    await shop.ok(["build", "--push", ...sign, "-t", `${name}:1`, context], { env: { ...env, KEY: before } });
    await ok("verify-signature", "--key", "keys/own.pub", `${name}:1`);
  });

  it("are where cosign looks for them, in its form, and openssl confirms them", async () => {
    const name = nameOf();
    await ok("build", "--push", "--sign", "key=keys/a.key,annotation.env=prod", "-t", `${name}:1`, context);
    // The name comes last.
    const isManifest = (one: string): boolean => one.startsWith(`PUT /v2/${name.split("/")[1]}/manifests/`);
    const puts = (await registry.requests()).filter(isManifest);
    assert.match(puts.join(" "), /\.sig PUT \S+\/manifests\/1$/);
    const digest = digestOf(await get(name, "manifests/1"));
    const { config, layers } = await document(name, tagOf(digest, "sig"));
    assert.equal(config.mediaType, "application/vnd.oci.image.config.v1+json");
    const { rootfs } = JSON.parse((await get(name, `blobs/${config.digest}`)).toString()) as {
      readonly rootfs: { readonly diff_ids: string[] };
    };
    assert.deepEqual(
      rootfs.diff_ids,
      layers.map((layer) => layer.digest),
    );
    const [layer = assert.fail(), ...rest] = layers;
    assert.deepEqual(rest, []);
    assert.equal(layer.mediaType, "application/vnd.dev.cosign.simplesigning.v1+json");
    const payload = await get(name, `blobs/${layer.digest}`);
    assert.equal(
      payload.toString(),
      `{"critical":{"identity":{"docker-reference":"${name}"},"image":{"docker-manifest-digest":"${digest}"},` +
        `"type":"cosign container image signature"},"optional":{"env":"prod"}}`,
    );
    const signature = Buffer.from(layer.annotations[SIGNATURE] ?? "", "base64");
    assert.ok(isSigned(payload, signature));
    assert.ok(!isSigned(payload, signature, "b"));
    const verified = await ok("verify-signature", "--key", "keys/a.pub", "-a", "env=prod", `${name}:1`);
    assert.equal(verified.stdout, `[${payload.toString()}]\n`);
    assert.match(verified.stderr, /Verification for .*:1 --\n.*\n {2}- The cosign claims were validated\n/);
  });

  it("of another key are added, and the same twice is once", async () => {
    const name = nameOf();
    await ok("build", "--push", "-t", `${name}:1`, context);
    const digest = digestOf(await get(name, "manifests/1"));
    const layers = async (): Promise<Layer[]> => (await document(name, tagOf(digest, "sig"))).layers;
    await ok("sign", "--key", "keys/a.key", `${name}:1`);
    const [first = assert.fail()] = await layers();
    const again = await ok("sign", "--key", "keys/a.key", `${name}@${digest}`);
    assert.match(again.stderr, /was signed by this key already/);
    assert.equal(again.stdout, `${name}@${digest}\n`);
    assert.deepEqual(await layers(), [first]);
    await ok("sign", "--key", "keys/b.key", `${name}:1`);
    await ok("sign", "--key", "keys/a.key", "-a", "x=y", `${name}:1`);
    const all = await layers();
    assert.equal(all.length, 3);
    assert.deepEqual(all[0], first);
    for (const key of ["a", "b"]) await ok("verify-signature", "--key", `keys/${key}.pub`, `${name}:1`);
    const both = await ok("verify-signature", "--key", "keys/a.pub", "--key", "keys/b.pub", `${name}:1`);
    assert.equal((JSON.parse(both.stdout) as unknown[]).length, 3);
  });

  it("of statements are DSSE envelopes about each image, and openssl confirms them", async () => {
    const name = nameOf();
    const attest = ["--provenance=true", "--sbom=true", "--platform", "linux/amd64,linux/arm64"];
    await ok(
      "build",
      "--push",
      ...attest,
      "--sign",
      "key=keys/a.key,attestations=true,recursive=true",
      "-t",
      `${name}:1`,
      context,
    );
    const { manifests = [] } = await document(name, "1");
    const images = manifests.filter(({ platform }) => platform?.os === "linux");
    assert.equal(images.length, 2);
    for (const { digest } of images) {
      const { layers } = await document(name, tagOf(digest, "att"));
      const types = await Promise.all(
        layers.map(async (layer) => {
          assert.equal(layer.mediaType, "application/vnd.dsse.envelope.v1+json");
          const envelope = JSON.parse((await get(name, `blobs/${layer.digest}`)).toString()) as {
            readonly payloadType: string;
            readonly payload: string;
            readonly signatures: readonly { readonly sig: string }[];
          };
          assert.equal(envelope.payloadType, "application/vnd.in-toto+json");
          const payload = Buffer.from(envelope.payload, "base64");
          const signature = Buffer.from(envelope.signatures[0]?.sig ?? "", "base64");
          assert.ok(isSigned(preAuthentication(envelope.payloadType, payload), signature));
          const statement = JSON.parse(payload.toString()) as {
            readonly predicateType: string;
            readonly subject: readonly { readonly digest: { readonly sha256: string } }[];
          };
          assert.equal(statement.subject[0]?.digest.sha256, digest.slice(7));
          assert.equal(layer.annotations["predicateType"], statement.predicateType);
          return statement.predicateType;
        }),
      );
      assert.deepEqual(types.toSorted(), ["https://slsa.dev/provenance/v1", "https://spdx.dev/Document"]);
      await ok("verify-signature", "--key", "keys/a.pub", `${name}@${digest}`);
    }
    const shown = await ok(
      "verify-signature",
      "--key",
      "keys/a.pub",
      "--type",
      "slsaprovenance1",
      `${name}:1`,
    );
    assert.equal(shown.stdout.trim().split("\n").length, 2);
    const again = await ok("sign", "--key", "keys/a.key", "--attest", "--recursive", `${name}:1`);
    assert.doesNotMatch(again.stderr, /[0-9a-f]\n/);
    const other = await run("verify-signature", "--key", "keys/a.pub", "--type", "cyclonedx", `${name}:1`);
    assert.equal(other.code, 12);
    assert.match(other.stderr, /no matching attestations: .*the statement is of type https:/);
    assert.match(other.stderr, /\nhint: --type takes a URI, or one of .*slsaprovenance1, .*spdxjson/);
  });

  it("as referrers get no tag where the registry lists them", async () => {
    await using modern = await startOci11Registry();
    const name = `${modern.host}/app`;
    const how = "key=keys/a.key,attestations=true,referrers=true";
    const output = "type=registry,attestations=referrers";
    await ok("build", "--provenance=true", "-o", output, "--sign", how, "-t", `${name}:1`, context);
    assert.deepEqual(
      [...modern.manifests.keys()].filter((key) => !key.includes("sha256:")),
      ["app/1"],
    );
    await ok("verify-signature", "--key", "keys/a.pub", `${name}:1`);
    await ok("verify-signature", "--key", "keys/a.pub", "--type", "slsaprovenance1", `${name}:1`);
    const wrong = await run("verify-signature", "--key", "keys/b.pub", `${name}:1`);
    assert.equal(wrong.code, 12);
    const again = await ok("sign", "--key", "keys/a.key", "--attest", "--referrers", `${name}:1`);
    assert.equal(again.stderr.match(/was signed by this key already/g)?.length, 2);
  });

  it("are in layouts, directories and tars, and a directory takes more", async () => {
    const how = "key=keys/a.key,attestations=true";
    for (const output of ["type=oci,dest=one.tar", "type=oci,dest=two,tar=false"]) {
      await ok(
        "build",
        "--provenance=true",
        "-o",
        output,
        "--sign",
        how,
        "-t",
        "registry.example/app:1",
        context,
      );
      const at = `oci-layout://${output.includes("tar=false") ? "two" : "one.tar"}`;
      const { stdout } = await ok("verify-signature", "--key", "keys/a.pub", at);
      assert.match(stdout, /"docker-reference":"registry.example\/app"/);
      await ok("verify-signature", "--key", "keys/a.pub", "--type", "slsaprovenance1", `${at}:1`);
    }
    const closed = await run("sign", "--key", "keys/b.key", "oci-layout://one.tar");
    assert.match(closed.stderr, /one\.tar: nothing can be added to a layout in a tar/);
    await ok("sign", "--key", "keys/b.key", "oci-layout://two:1");
    for (const key of ["a", "b"])
      await ok("verify-signature", "--key", `keys/${key}.pub`, "oci-layout://two");
    execFileSync(needs("skopeo"), ["inspect", `oci:${shop.at("two")}:1`, "--raw"]);
  });

  it("that are not there, of another image, or broken, are told apart by words and exit codes", async () => {
    const name = nameOf();
    await ok("build", "--push", "-t", `${name}:1`, context);
    const digest = digestOf(await get(name, "manifests/1"));
    const verify = (image = `${name}:1`) => run("verify-signature", "--key", "keys/a.pub", image);
    const unsigned = await verify();
    assert.deepEqual([unsigned.code, unsigned.stdout], [10, ""]);
    assert.match(unsigned.stderr, /:1: no signatures found/);
    const unknown = await verify(`${name}:2`);
    assert.equal(unknown.code, 11);

    // A genuine signature of something else, under the tag of this image.
    const other = shop.context("other", { Dockerfile: "FROM scratch\nCOPY file /\n", file: "other\n" });
    await ok("build", "--push", "--sign", "key=keys/a.key", "-t", `${name}:other`, other);
    const from = tagOf(digestOf(await get(name, "manifests/other")), "sig");
    const put = async (tag: string, bytes: Uint8Array): Promise<void> => {
      const [host = "", repository = ""] = name.split(/\/(.*)/s);
      const headers = { "content-type": "application/vnd.oci.image.manifest.v1+json" };
      const url = `http://${host}/v2/${repository}/manifests/${tag}`;
      const answer = await fetch(url, { method: "PUT", headers, body: bytes });
      assert.equal(answer.status, 201, await answer.text());
    };
    const stolen = await document(name, from);
    await put(tagOf(digest, "sig"), Buffer.from(JSON.stringify(stolen)));
    const moved = await verify();
    assert.equal(moved.code, 12);
    assert.match(moved.stderr, /layer 1: it is the signature of another image, sha256:/);

    for (const [text, words] of [
      ["AAAA", /it is not signed by the key/],
      ["", /it is not signed by the key/],
    ] as const) {
      const layers = stolen.layers.map((layer) => ({ ...layer, annotations: { [SIGNATURE]: text } }));
      await put(tagOf(digest, "sig"), Buffer.from(JSON.stringify({ ...stolen, layers })));
      assert.match((await verify()).stderr, words);
    }
    const many = Array.from({ length: 300 }, () => stolen.layers[0]);
    await put(tagOf(digest, "sig"), Buffer.from(JSON.stringify({ ...stolen, layers: many })));
    assert.match((await verify()).stderr, /more than 256 signatures of one image/);
    assert.match((await run("sign", "--key", "keys/a.key", `${name}:1`)).stderr, /more than 256 signatures/);
    await put(tagOf(digest, "sig"), await get(name, "manifests/1"));
    assert.match((await verify()).stderr, /no signatures found/);
  });

  it("need a key that is one, and an output with a place for them", async () => {
    const build = (sign: string, ...rest: string[]) => run("build", ...rest, "--sign", sign, context);
    const named = ["--push", "-t", `${nameOf()}:1`];
    for (const [args, words] of [
      [["key=missing.key", ...named], /missing\.key: no such file/],
      [["key=keys/a.pub", ...named], /keys\/a\.pub: it is a public key/],
      [["key=env://NO_KEY", ...named], /environment variable NO_KEY is not set/],
      [["key=awskms://x", ...named], /keys in services are not supported/],
      [["attestations=true", ...named], /--sign needs a key/],
      [["key=keys/a.key,colour=red", ...named], /unknown attribute "colour"/],
      [["key=keys/a.key"], /no output with a place for signatures/],
      [["key=keys/a.key", "-o", "type=oci,dest=x.tar"], /an image without a name cannot be signed/],
      [["key=keys/a.key,attestations=true", ...named], /there are no attestations to sign/],
    ] as const) {
      const [sign = "", ...rest] = args;
      const { code, stderr } = await build(sign, ...rest);
      assert.equal(code, 1);
      assert.match(stderr, words);
    }
  });
});
