// Damaged blobs: the build that finds one replaces it: fetched again, packed again, or rebuilt by the step, however many there are
// (threat model R3). If that is impossible, the error names the damaged file and the fix.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { openStore } from "../../cache/store.ts";
import { assertHonest, readImage } from "../support/false-image.ts";
import { copyFromRegistry, type RunningRegistry, startRegistry, startServer } from "../support/registry.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";
import type { ImageRecord } from "../../cache/contract.ts";

const STEPS = { Dockerfile: "FROM base\nRUN echo one > /one\nRUN echo two > /two\n" };

/** What happens to a file. */
const DAMAGES: Readonly<Record<string, (path: string) => void>> = {
  "one bit of it is another": (path) => {
    const bytes = readFileSync(path);
    const at = bytes.length >> 1;
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
    chmodSync(path, 0o600);
    writeFileSync(path, bytes);
  },
  "it is empty": (path) => {
    chmodSync(path, 0o600);
    writeFileSync(path, "");
  },
  "it is gone": (path) => rmSync(path),
  "a directory with something in it is in its place": (path) => {
    rmSync(path);
    mkdirSync(path);
    writeFileSync(join(path, "x"), "");
  },
  "a FIFO is in its place": (path) => {
    rmSync(path);
    execFileSync("mkfifo", [path]);
  },
  "a link is in its place": (path) => {
    renameSync(path, `${path}.moved`);
    execFileSync("ln", ["-s", `${path}.moved`, path]);
  },
};
const rot = DAMAGES["one bit of it is another"] as (path: string) => void;

describe("a damaged blob", () => {
  let shop: Workshop;
  let context: string;
  let serial = 0;
  beforeEach(async () => {
    shop = await openWorkshop();
    context = shop.context("app", STEPS);
  });
  afterEach(() => shop[Symbol.dispose]());

  const blobPath = (digest: string): string =>
    join(shop.root, "blobs", "sha256", digest.slice("sha256:".length));
  const blobs = (): string[] =>
    readdirSync(join(shop.root, "blobs", "sha256")).map((name) => join(shop.root, "blobs", "sha256", name));
  const fsckFindsNothing = async (): Promise<void> => {
    const { stdout } = await shop.ok(["fsck", "--format", "json"]);
    assert.deepEqual((JSON.parse(stdout) as { problems: unknown[] }).problems, []);
  };
  /** Layers lose their directories and keep their blobs. */
  async function dropDirectories(prefix = ""): Promise<void> {
    await using store = await openStore(shop.root);
    for (const { id } of store.layers.list()) if (id.startsWith(prefix)) store.layers.retire(id);
  }
  const oci = async (...args: readonly string[]): Promise<string> => {
    const dest = shop.at(`out-${serial++}`);
    await shop.ok(["build", "-o", `type=oci,tar=false,dest=${dest}`, ...args, context]);
    return dest;
  };
  const baseLayer = (): string => blobPath(readImage(shop.at("base")).manifest.layers[0]?.digest ?? "");

  for (const [what, damage] of Object.entries(DAMAGES)) {
    it(`of a base image is fetched again when ${what}`, async () => {
      await shop.ok(["build", "-t", "app", context]);
      await dropDirectories("d-");
      damage(baseLayer());
      const changed = shop.context("changed", { Dockerfile: "FROM base\nRUN test -x /bin/sh\n" });
      await shop.ok(["build", changed]);
      await fsckFindsNothing();
    });

    it(`does not leave the store when ${what}`, async () => {
      const first = await oci();
      const before = readImage(first).manifest.layers;
      for (const { digest } of before) damage(blobPath(digest));
      const second = await oci();
      assertHonest(second);
      assert.deepEqual(readImage(second).manifest.layers, before);
    });
  }

  it("in an output that is written again, or in a local cache, is made good there too", async () => {
    const dest = shop.at("layout");
    const cache = shop.at("cache");
    const write = () =>
      shop.ok([
        ...["build", "-o", `type=oci,tar=false,dest=${dest}`],
        ...["--cache-to", `type=local,mode=max,dest=${cache}`, context],
      ]);
    await write();
    const right = new Map<string, Buffer>();
    for (const dir of [dest, cache]) {
      for (const name of readdirSync(join(dir, "blobs/sha256"))) {
        const path = join(dir, "blobs/sha256", name);
        right.set(path, readFileSync(path));
        rot(path);
      }
    }
    await write();
    for (const [path, bytes] of right) {
      if (existsSync(path)) assert.ok(readFileSync(path).equals(bytes), path); // an older manifest may go
    }
    assertHonest(dest);
  });

  it("of a manifest, and of a config, is fetched again", async () => {
    await shop.ok(["build", context]);
    for (const path of blobs()) if (readFileSync(path).subarray(0, 1).toString() === "{") rot(path);
    await shop.ok(["build", "-t", "app", context]);
    await shop.ok(["run", "--rm", "app", "cat", "/two"]);
  });

  it("is made good wherever it goes, all in one build", async () => {
    const registry: RunningRegistry = await startRegistry();
    try {
      await oci();
      for (const path of blobs()) rot(path);
      const name = `${registry.host}/app:1`;
      await shop.ok(["build", "--push", "-t", name, context]);
      const dest = shop.at("pulled");
      copyFromRegistry(name, dest);
      assertHonest(dest);
    } finally {
      await registry[Symbol.asyncDispose]();
    }
  });

  it("does not get into an archive that goes to a pipe", async () => {
    await oci();
    for (const path of blobs()) rot(path);
    const { stdout } = await shop.ok(["build", "-o", "type=oci,dest=-", context], {});
    assert.ok(stdout.length > 0);
    const dest = await oci();
    assertHonest(dest);
  });

  it("of a push of an image that is here is made good", async () => {
    const registry: RunningRegistry = await startRegistry();
    try {
      const name = `${registry.host}/app:1`;
      await shop.ok(["build", "-t", name, "-o", `type=image,compression=gzip`, context]);
      const { layers } = await (async () => {
        await using store = await openStore(shop.root);
        const [image] = [...store.records.entries<ImageRecord>("image")];
        const bytes = store.content.read(image?.value.target.digest ?? assert.fail(), 1 << 20);
        return JSON.parse(Buffer.from(bytes).toString()) as { layers: { digest: string }[] };
      })();
      for (const { digest } of layers) if (existsSync(blobPath(digest))) rot(blobPath(digest));
      await shop.ok(["push", name]);
      const dest = shop.at("pulled");
      copyFromRegistry(name, dest);
      assertHonest(dest);
    } finally {
      await registry[Symbol.asyncDispose]();
    }
  });

  it("of an exported cache is made good", async () => {
    await oci();
    for (const path of blobs()) rot(path);
    const cache = shop.at("cache");
    await shop.ok(["build", "--cache-to", `type=local,dest=${cache},mode=max`, context]);
    const root = shop.at("other-store");
    const dest = shop.at("image");
    await shop.ok(
      ["build", "--cache-from", `type=local,src=${cache}`, "-o", `type=oci,tar=false,dest=${dest}`, context],
      {
        root,
      },
    );
    assertHonest(dest);
  });

  it("that is the only form of a step's layer has the step run again, also when there are several", async () => {
    const first = await oci();
    await dropDirectories();
    for (const { digest } of readImage(first).manifest.layers.slice(1)) rot(blobPath(digest));
    const dest = shop.at("files");
    await shop.ok(["build", "-o", `type=local,dest=${dest}`, context]);
    assert.equal(readFileSync(join(dest, "one"), "utf8"), "one\n");
    assert.equal(readFileSync(join(dest, "two"), "utf8"), "two\n");
  });

  it("of a file that was added from a URL is downloaded again", async () => {
    await using server = await startServer(({ headers }, response) => {
      response.setHeader("etag", '"1"');
      if (headers["if-none-match"] === '"1"') response.writeHead(304).end();
      else response.end("the true bytes\n");
    });
    const added = shop.context("added", { Dockerfile: `FROM base\nADD ${server.origin}/file /file\n` });
    await shop.ok(["build", added]);
    for (const path of blobs()) if (readFileSync(path, "utf8") === "the true bytes\n") rot(path);
    const dest = shop.at("files");
    await shop.ok(["build", "--no-cache", "-o", `type=local,dest=${dest}`, added]);
    assert.equal(readFileSync(join(dest, "file"), "utf8"), "the true bytes\n");
  });

  it("that nothing can make good is named, with what to do", async () => {
    await shop.ok(["build", "-t", "app", "-o", "type=image,compression=gzip", context]);
    await dropDirectories();
    const path = baseLayer();
    rot(path);
    rmSync(shop.at("base"), { recursive: true });
    const { code, stderr } = await shop.run(["run", "--rm", "app", "true"]);
    assert.notEqual(code, 0);
    assert.ok(stderr.includes(path), stderr);
    assert.match(stderr, /pull or build the image again/);
  });
});
