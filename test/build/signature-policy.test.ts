// Builds that stand on signed images alone: --signature-policy.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { needs } from "../support/needs.ts";
import { type DebianRegistry, startRegistry } from "../support/registry.ts";
import { ordinaryUser } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

describe("a signature policy", function () {
  this.timeout(60_000);
  let shop: Workshop;
  let registry: DebianRegistry;
  let serial = 0;
  before(async () => {
    [registry, shop] = await Promise.all([startRegistry(), openWorkshop(ordinaryUser())]);
    const openssl = (...args: string[]): string => execFileSync(needs("openssl"), args, { encoding: "utf8" });
    for (const name of ["a", "b"]) {
      const key = openssl("genpkey", "-algorithm", "ED25519");
      shop.context("keys", { [`${name}.key`]: key });
      shop.context("keys", {
        [`${name}.pub`]: openssl("pkey", "-pubout", "-in", shop.at(`keys/${name}.key`)),
      });
    }
    const app = shop.context("app", { Dockerfile: "FROM scratch\nCOPY file /file\n", file: "text\n" });
    const image = (name: string, ...more: string[]) =>
      shop.ok(["build", "-o", "type=registry,store=false", "-t", `${registry.host}/${name}`, ...more, app]);
    await image("team/signed:1", "--sign", "key=keys/a.key");
    await image("team/plain:1", "--label", "a=b");
    await image("other/by-b:1", "--sign", "key=keys/b.key", "--label", "b=c");
    const platforms = ["--platform", "linux/amd64,linux/arm64"];
    await image(
      "team/both:1",
      ...platforms,
      "--sign",
      `key=keys/a.key,identity=${registry.host}/team/both:1`,
    );
    const layout = ["-o", "type=oci,dest=layout,tar=false", "-t", "registry.example/x:1"];
    await shop.ok(["build", ...layout, "--sign", "key=keys/a.key", app]);
  });
  after(async () => {
    await registry[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
  });

  const byA = (identity?: object) => [
    {
      type: "sigstoreSigned",
      keyPath: "keys/a.pub",
      ...(identity === undefined ? {} : { signedIdentity: identity }),
    },
  ];
  const repository = { type: "matchRepository" };
  const reject = [{ type: "reject" }];
  const anything = [{ type: "insecureAcceptAnything" }];
  const build = async (policy: unknown, dockerfile: string, ...more: string[]) => {
    const file = shop.at("policy.json");
    writeFileSync(file, typeof policy === "string" ? policy : JSON.stringify(policy));
    const context = shop.context(`next${serial++}`, {
      Dockerfile: dockerfile.replaceAll("HOST", registry.host),
    });
    return await shop.run([
      "build",
      "--signature-policy",
      "policy.json",
      "-o",
      "type=cacheonly",
      ...more,
      context,
    ]);
  };
  const ofDocker = (scopes: Record<string, unknown>, initial: unknown = reject) => ({
    default: initial,
    transports: {
      docker: Object.fromEntries(
        Object.entries(scopes).map(([key, value]) => [key.replace("HOST", registry.host), value]),
      ),
    },
  });

  it("lets builds stand on what is signed as it says, and names the line, the image and what is missing", async () => {
    const policy = ofDocker({ "HOST/team": byA(repository) });
    const good = await build(policy, "FROM HOST/team/signed:1\n");
    assert.equal(good.code, 0, good.stderr);
    const plain = await build(policy, "FROM HOST/team/signed:1\nFROM HOST/team/plain:1\n");
    assert.equal(plain.code, 1);
    assert.match(plain.stderr, /Dockerfile:2\n/);
    assert.match(
      plain.stderr,
      /localhost:\d+\/team\/plain:1: not allowed by the signature policy policy\.json \(docker "localhost:\d+\/team"\): a signature is required, and sha256:[0-9a-f]{64} has none/,
    );
    const rejected = await build(policy, "FROM HOST/other/by-b:1\n");
    assert.match(rejected.stderr, /by-b:1: not allowed .*\(default\): images of this scope are rejected/);
  });

  it("is about every image that a build reads, and about what their tags stand for", async () => {
    const policy = ofDocker({ "HOST/team/signed": byA(repository), "HOST/team": byA(repository) });
    for (const dockerfile of [
      "FROM scratch\nCOPY --from=HOST/team/plain:1 /file /\n",
      "FROM HOST/team/signed:1\nRUN --mount=from=HOST/team/plain:1,target=/x true\n",
      "FROM named\n",
    ]) {
      const { code, stderr } = await build(
        policy,
        dockerfile,
        "--build-context",
        `named=docker-image://${registry.host}/team/plain:1`,
      );
      assert.equal(code, 1);
      assert.match(stderr, /team\/plain:1: not allowed by the signature policy/);
    }
    const here = await shop.ok([
      "build",
      "-q",
      "-t",
      `${registry.host}/team/signed:1`,
      shop.context("own", { Dockerfile: "FROM scratch\nLABEL x=y\n" }),
    ]);
    assert.match(here.stdout, /^sha256:/);
    const local = await build(policy, "FROM HOST/team/signed:1\n");
    assert.match(local.stderr, /a signature is required, and sha256:[0-9a-f]{64} has none/);
    await shop.ok(["rmi", `${registry.host}/team/signed:1`]);
  });

  it("takes the nearest scope, and all that it requires", async () => {
    const image = "FROM HOST/team/signed:1\n";
    const both = [...byA(repository), { ...byA(repository)[0], keyPath: "keys/b.pub" }];
    for (const [scopes, words] of [
      [{ "HOST/team/signed:1": byA(repository), HOST: reject }, null],
      [{ "HOST/team/signed": anything, "HOST/team": reject }, null],
      [
        { "HOST/team/sign": anything, "HOST/team": reject },
        /docker "localhost:\d+\/team"\): images of this scope/,
      ],
      [{ "": anything }, null],
      [
        { "HOST/team": both },
        /signed:1: .*: none of its signatures will do: .* layer 1: it is not signed by the key/,
      ],
      [
        { "HOST/team": [{ type: "signedBy", keyType: "GPGKeys", keyPath: "x" }] },
        /requirement "signedBy" \(GPG\) is not supported/,
      ],
      [
        { "HOST/team": [{ ...byA()[0], rekorPublicKeyPath: "x" }] },
        /sigstoreSigned with "rekorPublicKeyPath" is not supported/,
      ],
      [
        {
          "HOST/team": [
            { type: "sigstoreSigned", keyPaths: ["keys/b.pub", "keys/a.pub"], signedIdentity: repository },
          ],
        },
        null,
      ],
      [
        {
          "HOST/team": [
            {
              type: "sigstoreSigned",
              keyData: readFileSync(shop.at("keys/a.pub")).toString("base64"),
              signedIdentity: repository,
            },
          ],
        },
        null,
      ],
    ] as const) {
      const { code, stderr } = await build(ofDocker(scopes), image);
      assert.equal(code, words === null ? 0 : 1, stderr);
      if (words !== null) assert.match(stderr, words);
    }
  });

  it("of a registry holds for all spellings of its name", async () => {
    const port = registry.host.split(":")[1];
    const lists = [
      ofDocker({ [`LocalHost:${port}/team/plain`]: reject }, anything),
      ofDocker({ "HOST/team/plain": reject }, anything),
    ];
    for (const policy of lists)
      for (const host of [`LocalHost:${port}`, registry.host]) {
        const { code, stderr } = await build(policy, `FROM ${host}/team/plain:1\n`);
        assert.equal(code, 1);
        assert.match(stderr, /images of this scope are rejected/);
      }
    // Spelled twice, all that is required of both counts.
    const both = ofDocker({ "HOST/team": byA(repository), [`LocalHost:${port}/team`]: anything });
    assert.match((await build(both, "FROM HOST/team/plain:1\n")).stderr, /a signature is required/);
    assert.equal((await build(both, "FROM HOST/team/signed:1\n")).code, 0);
  });

  it("compares the signed name as it says", async () => {
    const host = registry.host;
    const digest = JSON.parse(
      execFileSync(needs("skopeo"), ["inspect", "--tls-verify=false", `docker://${host}/team/signed:1`], {
        encoding: "utf8",
      }),
    ) as { readonly Digest: string };
    for (const [image, identity, words] of [
      [
        "team/signed:1",
        undefined,
        /it is for localhost:\d+\/team\/signed, not for .*signed:1, and "matchRepository" is for names without a tag/,
      ],
      ["team/signed:1", { type: "matchExact" }, /it is for .*team\/signed, not for .*team\/signed:1/],
      [`team/signed@${digest.Digest}`, undefined, null],
      ["team/both:1", undefined, null],
      ["team/both:1", { type: "matchExact" }, null],
      ["team/both:1", { type: "exactReference", dockerReference: `${host}/team/both:1` }, null],
      [
        "team/both:1",
        { type: "exactReference", dockerReference: `${host}/team/both:2` },
        /not for .*team\/both:2/,
      ],
      ["team/signed:1", { type: "exactRepository", dockerRepository: `${host}/team/signed` }, null],
      [
        "team/signed:1",
        { type: "exactRepository", dockerRepository: `${host}/team/other` },
        /not for .*team\/other/,
      ],
      [
        "team/both:1",
        { type: "remapIdentity", prefix: `${host}/team`, signedPrefix: "example.com/team" },
        /not for example.com\/team\/both:1/,
      ],
      ["team/both:1", { type: "remapIdentity", prefix: `${host}/tea`, signedPrefix: "example.com" }, null],
    ] as const) {
      const { code, stderr } = await build(ofDocker({ HOST: byA(identity) }), `FROM HOST/${image}\n`);
      assert.equal(code, words === null ? 0 : 1, `${image} ${JSON.stringify(identity)}: ${stderr}`);
      if (words !== null) assert.match(stderr, words);
    }
  });

  it("is about layouts too, by their paths", async () => {
    const layout = ["--build-context", `named=oci-layout://${shop.at("layout")}`];
    const policy = (requirements: unknown) => ({
      default: reject,
      transports: { oci: { [shop.dir]: requirements } },
    });
    const exact = { type: "exactRepository", dockerRepository: "registry.example/x" };
    for (const [requirements, words] of [
      [byA(exact), null],
      [byA(repository), /no name that could be compared with the signed one/],
      [[{ ...byA(exact)[0], keyPath: "keys/b.pub" }], /it is not signed by the key/],
    ] as const) {
      const { code, stderr } = await build(policy(requirements), "FROM named\n", ...layout);
      assert.equal(code, words === null ? 0 : 1, stderr);
      if (words !== null) assert.match(stderr, words);
    }
  });

  it("of a tag is not about other images that are written with it", async () => {
    const digestOf = async (name: string): Promise<string> =>
      (await shop.ok(["image", "digest", `docker://${registry.host}/${name}`])).stdout.trim();
    const [signed, plain] = [await digestOf("team/signed:1"), await digestOf("team/plain:1")];
    assert.notEqual(signed, plain);
    const policy = ofDocker({ "HOST/team/plain:1": anything });
    for (const [image, isAllowed] of [
      ["HOST/team/plain:1", true],
      [`HOST/team/plain:1@${plain}`, true],
      [`HOST/team/plain:2@${plain}`, false],
      [`HOST/team/plain@${plain}`, false],
    ] as const) {
      const { code, stderr } = await build(policy, `FROM ${image}\n`);
      assert.equal(code, isAllowed ? 0 : 1, `${image}: ${stderr}`);
    }
    // Another image of the repository, beside the tag that may be used.
    await shop.ok([
      "image",
      "copy",
      `docker://${registry.host}/team/signed:1`,
      `${registry.host}/team/plain:other`,
    ]);
    const { code, stderr } = await build(policy, `FROM HOST/team/plain:1@${signed}\n`);
    assert.equal(code, 1);
    assert.match(stderr, /team\/plain@sha256:\w+: not allowed by the signature policy/);
  });

  it("finds layouts behind links", async () => {
    symlinkSync(shop.at("layout"), shop.at("link"));
    const policy = { default: anything, transports: { oci: { [shop.at("layout")]: reject } } };
    for (const name of ["layout", "link"]) {
      const { code, stderr } = await build(
        policy,
        "FROM named\n",
        "--build-context",
        `named=oci-layout://${shop.at(name)}`,
      );
      assert.equal(code, 1);
      assert.match(stderr, /images of this scope are rejected/);
    }
  });

  it("is not turned off by an empty name", async () => {
    const context = shop.context("empty", { Dockerfile: "FROM scratch\nLABEL a=b\n" });
    for (const flag of [["--signature-policy", ""], ["--signature-policy="]]) {
      const { code, stderr } = await shop.run(["build", ...flag, "-o", "type=cacheonly", context]);
      assert.equal(code, 1);
      assert.match(stderr, /--signature-policy: the name of a file is missing/);
    }
  });

  it("that is none is refused with the place in the file", async () => {
    for (const [policy, words] of [
      ["nothing", /policy\.json:1: expected a value, found "nothing"/],
      [
        '{ "default": [{ "type": "reject" }],\n  "default": [{ "type": "insecureAcceptAnything" }] }',
        /policy\.json:2: "default" stands here a second time/,
      ],
      ["{}", /policy\.json: default: a list of at least one requirement is expected/],
      [{ default: [] }, /default: a list of at least one requirement/],
      [{ default: reject, more: 1 }, /the policy: unknown field "more"/],
      [{ default: [{ type: "reject", keyPath: "x" }] }, /default: unknown field "keyPath"/],
      [{ default: [{ type: "nothing" }] }, /default: unknown type "nothing"/],
      [
        ofDocker({ "a/b": [{ type: "sigstoreSigned" }] }),
        /transports\.docker\["a\/b"\]: exactly one of keyPath/,
      ],
      [
        ofDocker({ "a/b": [{ type: "sigstoreSigned", keyPath: "no.pub" }] }),
        /transports\.docker\["a\/b"\]\.keyPath: no\.pub: no such file/,
      ],
      [ofDocker({ "a/b": [{ type: "sigstoreSigned", keyData: "AAAA" }] }), /\.keyData: it is not PEM/],
      [ofDocker({ "a/b": byA({ type: "matchAll" }) }), /\.signedIdentity: unknown type "matchAll"/],
      [
        ofDocker({ "a/b": byA({ type: "exactReference", dockerReference: "a/b" }) }),
        /dockerReference: a tag or digest is expected/,
      ],
    ] as const) {
      const { code, stderr } = await build(policy, "FROM scratch\n");
      assert.equal(code, 1);
      assert.match(stderr, words);
    }
  });
});
