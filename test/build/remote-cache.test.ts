// Caches exported from one store and imported into another: real registries and directories, new stores as on a CI machine.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ActionsCache, startActionsCache } from "../support/actions-cache.ts";
import { type RunningAzure, startAzure } from "../support/azure.ts";
import { type RunningRegistry, startRegistry } from "../support/registry.ts";
import { type RunningS3, startS3 } from "../support/s3.ts";
import { ordinaryUser } from "../support/unprivileged.ts";
import { needs } from "../support/needs.ts";
import type { HistoryEntry } from "../../solver/graph/request.ts";
import { openWorkshop, THREE_STAGES, THREE_STAGES_OUTPUT, type Workshop } from "./fixture.ts";

const STEPS = 8; // of THREE_STAGES

describe("a build that starts with nothing but a cache", () => {
  let shop: Workshop;
  let registry: RunningRegistry;
  let s3: RunningS3;
  let azure: RunningAzure;
  let actions: ActionsCache;
  let context: string;
  let serial = 0;
  before(async () => {
    shop = await openWorkshop();
    registry = await startRegistry();
    s3 = await startS3();
    azure = await startAzure();
    actions = await startActionsCache();
    context = shop.context("app", THREE_STAGES);
    await shop.ok(["build", "-t", "app", context]);
  });
  after(async () => {
    await registry[Symbol.asyncDispose]();
    await s3[Symbol.asyncDispose]();
    await azure[Symbol.asyncDispose]();
    await actions[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
  });

  const freshStore = (): string => shop.at(`store-${serial++}`);
  const ref = (name: string): string => `${registry.host}/app:${name}`;
  const s3At = (prefix: string): string =>
    `type=s3,bucket=${s3.bucket},prefix=${prefix}/,endpoint_url=${s3.endpoint},use_path_style=true,access_key_id=${s3.keys.accessKeyId},secret_access_key=${s3.keys.secretAccessKey}`;
  const azureAt = (prefix: string): string =>
    `type=azblob,account_url=${azure.url},account_name=${azure.account},prefix=${prefix},secret_access_key=${azure.key}`;
  const actionsAt = (version: 1 | 2, scope: string, token: string): string =>
    `type=gha,version=${version},${version === 1 ? "url" : "url_v2"}=${actions.url},scope=${scope},token=${token}`;
  const mainToken = (): string => actions.token(["refs/heads/main", true]);
  const build = async (root: string, ...args: string[]): Promise<string> => {
    const { stderr } = await shop.ok(["build", "--progress=plain", ...args], {
      root,
      env: { TSBUILD_ROOT: root },
    });
    return stderr;
  };
  const inStore = (root: string) => ({ root, env: { TSBUILD_ROOT: root } });
  const cachedIn = (log: string): number => log.match(/^#\d+ CACHED$/gm)?.length ?? 0;
  const layersIn = (root: string): number => readdirSync(join(root, "layers")).length;
  const exported = async (to: string, ...args: string[]): Promise<string> => {
    await shop.ok(["build", "--cache-to", to, ...args, context]);
    return to;
  };

  for (const [what, to, from] of [
    [
      "a directory",
      () => `type=local,dest=${shop.at("cache")},mode=max`,
      () => `type=local,src=${shop.at("cache")}`,
    ],
    ["a registry", () => `type=registry,ref=${ref("max")},mode=max`, () => `type=registry,ref=${ref("max")}`],
    [
      "a registry, as an index",
      () => `type=registry,ref=${ref("index")},mode=max,image-manifest=false`,
      () => ref("index"),
    ],
    ["a registry, with the final layers only", () => `type=registry,ref=${ref("min")}`, () => ref("min")],
    [
      "a registry, in zstd",
      () => `type=registry,ref=${ref("zstd")},mode=max,compression=zstd`,
      () => ref("zstd"),
    ],
  ] as const) {
    it(`runs nothing and fetches no layer, from ${what}`, async () => {
      await exported(to());
      const root = freshStore();
      const log = await build(root, "--cache-from", from(), "-t", "app", context);
      assert.equal(cachedIn(log), STEPS, log);
      assert.equal(layersIn(root), 0);
      const { stdout } = await shop.ok(["run", "--rm", "app"], inStore(root));
      assert.equal(stdout, THREE_STAGES_OUTPUT);
    });
  }

  for (const [what, to, from] of [
    ["S3", () => `${s3At("max")},mode=max`, () => s3At("max")],
    ["Azure", () => `${azureAt("max")},mode=max`, () => azureAt("max")],
    [
      "GitHub Actions, version 1",
      () => `${actionsAt(1, "max", mainToken())},mode=max`,
      () => actionsAt(1, "max", mainToken()),
    ],
    [
      "GitHub Actions, version 2",
      () => `${actionsAt(2, "both", mainToken())},mode=max`,
      () => actionsAt(2, "both", mainToken()),
    ],
  ] as const) {
    it(`runs nothing, from ${what}, and the image is whole for those without its keys`, async () => {
      const { stderr } = await shop.ok(["build", "--progress=plain", "--cache-to", to(), context]);
      const root = freshStore();
      const log = await build(root, "--cache-from", from(), "-t", "app", context);
      assert.equal(cachedIn(log), STEPS, log);
      assert.equal(layersIn(root), 0);
      const { stdout } = await shop.ok(["run", "--rm", "app"], inStore(root));
      assert.equal(stdout, THREE_STAGES_OUTPUT);
      const again = await build(freshStore(), "--cache-from", from(), "--cache-to", to(), context);
      assert.match(again, / 0 bytes sent/);
      for (const text of [stderr, log, again]) {
        assert.doesNotMatch(text, new RegExp(`${s3.keys.secretAccessKey}|eyJ|sig=`));
        assert.ok(!text.includes(azure.key));
      }
    });
  }

  it("takes what the environment says of S3, and fetches layers when they are needed", async () => {
    const env = {
      AWS_ENDPOINT_URL_S3: s3.endpoint,
      AWS_BUCKET: s3.bucket,
      AWS_REGION: "eu-west-1",
      AWS_ACCESS_KEY_ID: s3.keys.accessKeyId,
      AWS_SECRET_ACCESS_KEY: s3.keys.secretAccessKey,
    };
    // Of its own: the registry has no blob of it that could be mounted instead of sent.
    const own = shop.context("s3", { ...THREE_STAGES, "src/program.txt": "stored\n" });
    const cache = "type=s3,use_path_style=true,prefix=env/,name=one;two";
    await shop.ok(["build", "--cache-to", cache, own], { env });
    const root = freshStore();
    const { stderr } = await shop.ok(
      ["build", "--progress=plain", "--cache-from", `${cache},name=two`, "-t", "app", own],
      { root, env },
    );
    assert.equal(cachedIn(stderr), STEPS, stderr);
    assert.deepEqual(readdirSync(join(root, "layers")), []);
    const fetched = (): number =>
      s3.requests.filter(({ method, url }) => method === "GET" && url.includes("/env/blobs/")).length;
    assert.equal(fetched(), 0);
    await shop.ok(["tag", "app", ref("from-s3")], { root });
    await shop.ok(["push", ref("from-s3")], { root, env });
    assert.ok(fetched() > 0);
    const { stdout } = await shop.ok(["run", "--rm", "app"], { root, env });
    assert.equal(stdout, THREE_STAGES_OUTPUT.replace("COMPILED", "STORED"));
  });

  it("takes what the environment says of GitHub Actions, and keeps what branches write apart", async () => {
    const job = (...scopes: readonly (readonly [string, boolean])[]) => ({
      ACTIONS_CACHE_SERVICE_V2: "true",
      ACTIONS_RESULTS_URL: actions.url,
      ACTIONS_RUNTIME_TOKEN: actions.token(...scopes),
    });
    const main = job(["refs/heads/main", true]);
    const pull = job(["refs/pull/7/merge", true], ["refs/heads/main", false]);
    const cache = "type=gha,scope=branches,mode=max";
    const run = async (env: Record<string, string>, root: string, dir: string): Promise<number> => {
      const from = "type=gha,scope=branches";
      const args = ["build", "--progress=plain", "--cache-from", from, "--cache-to", cache, dir];
      return cachedIn((await shop.ok(args, { root, env })).stderr);
    };
    const changed = shop.context("branch", { ...THREE_STAGES, "src/program.txt": "branch\n" });
    assert.equal(await run(pull, freshStore(), context), 0);
    assert.equal(await run(main, freshStore(), changed), 0); // nothing of the pull request
    assert.equal(await run(pull, freshStore(), changed), STEPS); // all of the default branch
    // One machine that builds for both keeps them apart, too.
    const shared = freshStore();
    const fresh = shop.context("fresh", { ...THREE_STAGES, "src/program.txt": "fresh\n" });
    await run(pull, freshStore(), fresh);
    assert.equal(await run(pull, shared, fresh), STEPS);
    assert.notEqual(await run(main, shared, fresh), STEPS);
  });

  it("runs nothing, from the inline cache of an image, and keeps the times of its layers", async () => {
    const pushed = ["--cache-to", "type=inline", "--push"];
    const historyOf = (name: string): unknown => {
      const args = ["inspect", "--tls-verify=false", "--config", "--raw", `docker://${name}`];
      return JSON.parse(execFileSync(needs("skopeo"), args, { encoding: "utf8" })).history;
    };
    await shop.ok(["build", ...pushed, "-t", ref("inline"), context]);
    const root = freshStore();
    const log = await build(root, ...pushed, "--cache-from", ref("inline"), "-t", ref("again"), context);
    assert.equal(cachedIn(log), STEPS, log);
    assert.equal(layersIn(root), 0);
    assert.deepEqual(historyOf(ref("again")), historyOf(ref("inline")));
    const { stdout } = await shop.ok(["run", "--rm", ref("again")], inStore(root));
    assert.equal(stdout, THREE_STAGES_OUTPUT);
    // Images of graphs without a Dockerfile get their history from what is said of their layers.
    const { stdout: usage } = await shop.ok(["du", "--format", "{{.Description}}"], inStore(root));
    const made = (historyOf(ref("inline")) as HistoryEntry[]).flatMap(({ created_by: text }) => text ?? []);
    assert.ok(
      made.some((text) => text.startsWith("RUN ") && usage.split("\n").includes(text)),
      usage,
    );
  });

  it("gives the same image as the build that made the cache", async () => {
    await exported(`type=registry,ref=${ref("same")},mode=max`);
    const root = freshStore();
    await build(
      root,
      "--cache-from",
      ref("same"),
      "-o",
      `type=oci,tar=false,dest=${shop.at("theirs")}`,
      context,
    );
    await shop.ok(["build", "-o", `type=oci,tar=false,dest=${shop.at("ours")}`, context]);
    const layers = (dir: string): unknown => {
      const read = (digest: string): { layers: unknown; manifests: { digest: string }[] } =>
        JSON.parse(readFileSync(join(dir, "blobs/sha256", digest.slice(7)), "utf8"));
      const index = JSON.parse(readFileSync(join(dir, "index.json"), "utf8")) as {
        manifests: { digest: string }[];
      };
      return read(index.manifests[0]?.digest ?? "").layers;
    };
    assert.deepEqual(layers(shop.at("theirs")), layers(shop.at("ours")));
  });

  it("takes results of other stages from mode=max, and not from mode=min", async () => {
    await exported(`type=registry,ref=${ref("both-max")},mode=max`);
    await exported(`type=registry,ref=${ref("both-min")},mode=min`);
    const changed = shop.context("changed", { ...THREE_STAGES, "src/program.txt": "changed\n" });
    const max = await build(freshStore(), "--cache-from", ref("both-max"), changed);
    assert.equal(cachedIn(max), 2, max); // WORKDIR /src and the stage assets
    const min = await build(freshStore(), "--cache-from", ref("both-min"), changed);
    assert.equal(cachedIn(min), 0, min);
  });

  it("finds a step by its content when what it stands on was made in another way", async () => {
    const early = (word: string): string =>
      shop.context("early", {
        Dockerfile: `
FROM base AS gen
RUN mkdir -p /out && echo same > /out/file && touch -d @0 /out/file /out # ${word}
FROM base
COPY --from=gen /out /out
RUN echo expensive > /result
`,
      });
    await shop.ok(["build", "--cache-to", `type=registry,ref=${ref("early")},mode=max`, early("one")]);
    const log = await build(freshStore(), "--cache-from", ref("early"), early("two"));
    assert.equal(cachedIn(log), 2, log); // COPY by its content, RUN by what COPY gave
  });

  it("fetches what a step that runs stands on, and carries the whole cache on when it exports", async () => {
    await exported(`type=registry,ref=${ref("carry")},mode=max`);
    const changed = shop.context("carried", { ...THREE_STAGES, "src/program.txt": "carried\n" });
    const cache = ["--cache-from", ref("carry"), "--cache-to", `type=registry,ref=${ref("carry")},mode=max`];
    await build(freshStore(), ...cache, changed);
    assert.equal(cachedIn(await build(freshStore(), "--cache-from", ref("carry"), changed)), STEPS);
  });

  it("sends nothing that is there already", async () => {
    const to = `type=registry,ref=${ref("twice")},mode=max`;
    await exported(to);
    const { stderr } = await shop.ok(["build", "--progress=plain", "--cache-to", to, context]);
    assert.match(stderr, / 0 bytes sent/);
  });

  it("keeps what it imported from builds that do not name that cache", async () => {
    await exported(`type=registry,ref=${ref("apart")},mode=max`);
    const root = freshStore();
    assert.equal(cachedIn(await build(root, "--cache-from", ref("apart"), context)), STEPS);
    const again = await build(root, "--cache-from", ref("apart"), context);
    assert.equal(cachedIn(again), STEPS);
    assert.equal(cachedIn(await build(root, context)), 0);
  });

  it("does not wait for a cache when everything is here", async () => {
    const root = freshStore();
    await build(root, context);
    // Takes connections and never answers.
    const { createServer } = await import("node:net");
    const silent = createServer(() => {}).listen(0, "127.0.0.1");
    await new Promise((resolve) => silent.once("listening", resolve));
    const { port } = silent.address() as { port: number };
    try {
      const log = await build(root, "--cache-from", `localhost:${port}/app:cache`, context);
      assert.equal(cachedIn(log), STEPS);
    } finally {
      silent.close();
    }
  });

  describe("that is broken", () => {
    it("builds with a warning when there is no such cache", async () => {
      const log = await build(
        freshStore(),
        "--cache-from",
        ref("missing"),
        "--cache-from",
        "type=local,src=/nowhere",
        context,
      );
      assert.equal(cachedIn(log), 0);
      assert.match(log, /cache \S+app:missing not found/);
      assert.match(log, /cache \/nowhere:latest not found/);
    });

    it("builds with a warning when nothing answers", async () => {
      const log = await build(freshStore(), "--cache-from", "localhost:1/app:cache", context);
      assert.match(
        log,
        /the cache localhost:1\/app:cache is not used: cannot reach the registry localhost:1/,
      );
    });

    for (const [what, spoil] of [
      ["missing", (file: string) => rmSync(file)],
      ["other bytes", (file: string) => writeFileSync(file, Buffer.alloc(statSync(file).size, "x"))],
    ] as const) {
      it(`makes the steps itself when blobs of layers are ${what}`, async () => {
        const dir = shop.at(`broken-${serial++}`);
        await exported(`type=local,dest=${dir},mode=max`);
        const { layers } = manifestIn(dir);
        for (const { digest } of layers.slice(1)) spoil(join(dir, "blobs/sha256", digest.slice(7)));
        const root = freshStore();
        const out = shop.at(`out-${serial++}`);
        const log = await build(root, "--cache-from", `type=local,src=${dir}`, "-o", out, context);
        assert.match(log, /continues without imported caches/);
        assert.equal(readFileSync(join(out, "usr/bin/program"), "utf8"), "COMPILED\n");
      });
    }

    it("ignores records that make no sense", async () => {
      const dir = shop.at("nonsense");
      await exported(`type=local,dest=${dir},mode=max`);
      const { config } = manifestIn(dir);
      writeFileSync(join(dir, "blobs/sha256", config.digest.slice(7)), "{}".padEnd(config.size));
      const log = await build(freshStore(), "--cache-from", `type=local,src=${dir}`, context);
      assert.match(log, /nonsense:latest is not used: .* does not match its digest/);
    });
  });

  it("fails when its cache cannot be exported, unless told to ignore that", async () => {
    const to = "type=registry,ref=localhost:1/app:cache";
    const { code, stderr } = await shop.run(["build", "--cache-to", to, context]);
    assert.equal(code, 1);
    assert.match(stderr, /localhost:1/);
    const ignored = await shop.ok(["build", "--cache-to", `${to},ignore-error=true`, context]);
    assert.match(ignored.stderr, /1 warning/);
  });

  it("holds several platforms in one cache", async () => {
    const dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY src/program.txt /$TARGETARCH\n";
    const files = { ...THREE_STAGES, Dockerfile: dockerfile };
    const multi = shop.context("multi", files);
    const platforms = ["--platform", "linux/amd64,linux/arm64"];
    await shop.ok(["build", ...platforms, "--cache-to", `type=registry,ref=${ref("multi")}`, multi]);
    const log = await build(freshStore(), ...platforms, "--cache-from", ref("multi"), multi);
    assert.equal(cachedIn(log), 2, log);
  });

  it("does not leave blobs of earlier exports in a directory", async () => {
    const dir = shop.at("exported");
    await exported(`type=local,dest=${dir},mode=max`);
    const other = shop.context("exported-other", { Dockerfile: "FROM base\nRUN echo other > /file\n" });
    await shop.ok(["build", "--cache-to", `type=local,dest=${dir},mode=max`, other]);
    const { config, layers } = manifestIn(dir);
    assert.equal(
      readdirSync(join(dir, "blobs/sha256")).length,
      new Set([config, ...layers].map(({ digest }) => digest)).size + 1,
    );
  });

  describe("and the content of cache mounts", () => {
    const counting = (word: string): Record<string, string> => ({
      Dockerfile: `
FROM base
ARG WORD=${word}
RUN --mount=type=cache,id=packages,target=/packages echo $WORD >> /packages/log && cp /packages/log /log
`,
    });
    const logOf = async (root: string, word: string, ...args: string[]): Promise<string> => {
      const out = shop.at(`log-${serial++}`);
      await build(root, ...args, "-o", out, shop.context("counting", counting(word)));
      return readFileSync(join(out, "log"), "utf8");
    };

    it("finds it filled when a step runs that uses it", async () => {
      const cache = [
        "--cache-from",
        ref("mounts"),
        "--cache-to",
        `type=registry,ref=${ref("mounts")},mode=max,mounts=true`,
      ];
      assert.equal(await logOf(freshStore(), "one", ...cache.slice(2)), "one\n");
      assert.equal(await logOf(freshStore(), "two", ...cache), "one\ntwo\n");
      assert.equal(await logOf(freshStore(), "three", ...cache), "one\ntwo\nthree\n");
      assert.equal(
        await logOf(freshStore(), "four", "--cache-from", `type=registry,ref=${ref("mounts")},mounts=false`),
        "four\n",
      );
    });

    it("fetches nothing of it when the step is cached, and keeps it in the cache", async () => {
      const cache = [
        "--cache-from",
        ref("lazy"),
        "--cache-to",
        `type=registry,ref=${ref("lazy")},mode=max,mounts=true`,
      ];
      await logOf(freshStore(), "one", ...cache.slice(2));
      const root = freshStore();
      await build(root, ...cache, shop.context("counting", counting("one")));
      assert.deepEqual(readdirSync(join(root, "mounts")), []);
      assert.equal(await logOf(freshStore(), "two", ...cache), "one\ntwo\n");
    });

    it("begins empty, with a warning, when it is damaged", async () => {
      const dir = shop.at("damaged");
      await logOf(freshStore(), "one", "--cache-to", `type=local,dest=${dir},mode=max,mounts=true`);
      const pack = manifestIn(dir).layers.find(({ mediaType }) => mediaType.includes("cachemount.pack"));
      rmSync(join(dir, "blobs/sha256", pack?.digest.slice(7) ?? ""));
      const out = shop.at("damaged-out");
      const log = await build(
        freshStore(),
        "--cache-from",
        `type=local,src=${dir}`,
        "-o",
        out,
        shop.context("counting", counting("two")),
      );
      assert.match(log, /cache mount packages starts empty/);
      assert.equal(readFileSync(join(out, "log"), "utf8"), "two\n");
    });

    it("that is too large stays behind, and not the others with it", async () => {
      const from = freshStore();
      await logOf(from, "one");
      const sparse = "RUN --mount=type=cache,id=sparse,target=/s truncate -s 300G /s/file\n";
      const context = shop.context("sparse", { Dockerfile: `FROM base\n${sparse}` });
      const to = ["--cache-to", `type=local,dest=${shop.at("sparse-cache")},mounts=true`];
      const { stderr } = await shop.ok(["build", "--progress=plain", ...to, context], inStore(from));
      assert.match(
        stderr,
        /the cache mount sparse is not exported to .*: a cache mount has more than \d+ bytes/,
      );
      const exported = ["cache-mounts", "export", `type=local,dest=${shop.at("sparse-mounts")}`];
      const { stdout } = await shop.ok(exported, inStore(from));
      assert.match(stdout, /^sparse: a cache mount has more than \d+ bytes, skipped$/m);
      assert.match(stdout, /^packages: 1 files/m);
    });

    it("is listed, exported, imported and cleared by tsbuild cache-mounts", async () => {
      const [from, to] = [freshStore(), freshStore()];
      await logOf(from, "one");
      const dir = shop.at("mounts-dir");
      assert.match((await shop.ok(["cache-mounts", "ls"], inStore(from))).stdout, /^packages\s/m);
      await shop.ok(["cache-mounts", "export", `type=local,dest=${dir}`], inStore(from));
      assert.match(
        (await shop.ok(["cache-mounts", "export", `type=local,dest=${dir}`], inStore(from))).stdout,
        /^0B sent/m,
      );
      await shop.ok(["cache-mounts", "import", `type=local,src=${dir}`], inStore(to));
      assert.equal(await logOf(to, "two"), "one\ntwo\n");
      await shop.ok(["cache-mounts", "clear", "--id", "packages"], inStore(to));
      assert.equal(await logOf(to, "three"), "three\n");
    });

    for (const [what, at] of [
      ["S3", () => s3At("mounts")],
      ["GitHub Actions", () => actionsAt(2, "mounts", mainToken())],
    ] as const) {
      it(`keeps it in ${what} as well`, async () => {
        const to = `${at()},mode=max,mounts=true`;
        assert.equal(await logOf(freshStore(), "one", "--cache-to", to), "one\n");
        const both = ["--cache-from", at(), "--cache-to", to];
        assert.equal(await logOf(freshStore(), "two", ...both), "one\ntwo\n");
        assert.equal(await logOf(freshStore(), "three", "--cache-from", at()), "one\ntwo\nthree\n");
      });
    }

    it("does not overwrite an image that is no cache", async () => {
      await shop.ok(["build", "-t", ref("image"), "--push", context]);
      const { code, stderr } = await shop.run([
        "cache-mounts",
        "export",
        `type=registry,ref=${ref("image")}`,
      ]);
      assert.equal(code, 1);
      assert.match(stderr, /is not a build cache/);
    });
  });

  it("sends layers of finished steps while later ones run, and none of them twice", async () => {
    const dir = shop.context("early-export", {
      Dockerfile: `
FROM base
RUN echo first > /first
RUN --mount=type=cache,id=gate,target=/gate echo waiting; until [ -e /gate/go ]; do sleep 0.1; done
`,
    });
    const arrived = new Promise<void>((resolve) => {
      s3.intercept = ({ method, url }) => {
        if (method === "PUT" && url.includes("/sent-early/blobs/")) resolve();
        return false;
      };
    });
    const root = freshStore();
    const to = `${s3At("sent-early")},mode=max`;
    const running = shop.start(["build", "--progress=plain", "--cache-to", to, dir], { root });
    try {
      await running.says(/^#\d+ [\d.]+ waiting$/m);
      await arrived;
    } finally {
      const [mount = ""] = readdirSync(join(root, "mounts"));
      const slot = readdirSync(join(root, "mounts", mount)).find((name) => name.startsWith("slot-"));
      writeFileSync(join(root, "mounts", mount, slot ?? "", "fs", "go"), "");
      s3.intercept = null;
    }
    const { code, stderr } = await running.outcome;
    assert.equal(code, 0, stderr);
    assert.match(stderr, /layers; [1-9]\d* bytes sent/);
    const puts = s3.requests.filter(
      ({ method, url }) => method === "PUT" && url.includes("/sent-early/blobs/"),
    );
    assert.equal(new Set(puts.map(({ url }) => url)).size, puts.length);
  });

  it("leaves the cache as it is when the build fails", async () => {
    const dir = shop.context("fails", { Dockerfile: "FROM base\nRUN echo made > /made\nRUN false\n" });
    const { code, stderr } = await shop.run(["build", "--cache-to", `${s3At("fails")},mode=max`, dir]);
    assert.equal(code, 1);
    assert.match(stderr, /RUN false/);
    const changed = s3.requests.filter(
      ({ method, url }) => method === "PUT" && url.includes("/fails/manifests/"),
    );
    assert.deepEqual(changed, []);
  });

  it("says which kinds of caches there are", async () => {
    for (const flag of ["--cache-to=type=cloud", "--cache-to=mode=max"]) {
      const { code, stderr } = await shop.run(["build", flag, context]);
      assert.equal(code, 1);
      assert.match(stderr, /registry, local, inline, s3, azblob and gha/);
    }
    assert.equal(existsSync(shop.at("out")), false);
  });

  it("says what type=gha needs before it builds, and builds without it where that is no error", async () => {
    const { code, stderr } = await shop.run(["build", "--cache-to", "type=gha", context]);
    assert.equal(code, 1);
    assert.match(stderr, /type=gha only works in GitHub Actions/);
    assert.match(stderr, /ACTIONS_RUNTIME_TOKEN/);
    const lenient = ["--cache-from", "type=gha", "--cache-to", "type=gha,ignore-error=true"];
    const log = await build(freshStore(), ...lenient, context);
    assert.match(log, /gha:buildkit is not used: type=gha only works in GitHub Actions/);
    assert.match(log, /the cache was not exported to gha:buildkit/);
  });

  it("builds with a warning when an object store refuses or is not there", async () => {
    const wrong = s3At("max").replace(/secret_access_key=.*/, "secret_access_key=wrong");
    const log = await build(
      freshStore(),
      "--cache-from",
      wrong,
      "--cache-from",
      "type=gha,url=http://127.0.0.1:1/,token=none",
      context,
    );
    assert.equal(cachedIn(log), 0);
    assert.match(log, /SignatureDoesNotMatch/);
    assert.match(log, /GitHub Actions cache: cannot reach 127\.0\.0\.1:1: connection refused/);
  });
});

const account = ordinaryUser();

describe(`a cache mount that crosses stores as ${account.name}`, () => {
  it("keeps owners and modes, also of files only their owner may read", async () => {
    using shop = await openWorkshop(account);
    const files = (word: string) => ({
      Dockerfile: `
FROM base
RUN --mount=type=cache,id=owned,target=/owned if [ -e /owned/secret ]; then stat -c '%u:%g %a' /owned/secret > /found; else echo ${word} > /found; fi; echo text > /owned/secret && chmod 600 /owned/secret && chown 1000:1001 /owned/secret
`,
    });
    const dir = shop.at("cache");
    const build = (root: string, word: string, ...args: string[]) =>
      shop.ok(["build", ...args, shop.context(word, files(word))], { root: shop.at(root) });
    await build("first", "one", "--cache-to", `type=local,dest=${dir},mounts=true`);
    await build("second", "two", "--cache-from", `type=local,src=${dir}`, "-o", shop.at("out"));
    assert.equal(readFileSync(shop.at("out", "found"), "utf8"), "1000:1001 600\n");
  });
});

interface Named {
  readonly digest: string;
  readonly size: number;
  readonly mediaType: string;
}

/** Manifest of the cache in a directory. */
function manifestIn(dir: string): { readonly config: Named; readonly layers: readonly Named[] } {
  const index = JSON.parse(readFileSync(join(dir, "index.json"), "utf8")) as { manifests: Named[] };
  const [only, ...others] = index.manifests;
  assert.ok(only !== undefined && others.length === 0);
  return JSON.parse(readFileSync(join(dir, "blobs/sha256", only.digest.slice(7)), "utf8")) as ReturnType<
    typeof manifestIn
  >;
}
