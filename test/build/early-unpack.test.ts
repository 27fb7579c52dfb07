// Base layers are unpacked while they are downloaded, and believed only when all of the blob is here and is what it has to be (threat
// model C1, C3).

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { digestOf } from "../../solver/graph/digest.ts";
import { makeTar } from "../cache/layers/support.ts";
import { type MisbehavingServer, startServer } from "../support/registry.ts";
import { accounts, self } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
const text = "first\n";
const tar = makeTar([
  { name: "first", content: text },
  { name: "rest", content: randomBytes(6 << 20).toString("base64") },
]);
const layer = gzipSync(tar, { level: 1 });
/** Enough for `first` to be unpacked, and not for all. */
const BEGINNING = 4 << 20;

/** A registry with an image of one layer, whose blob `send` sends. */
function serve(
  send: (response: ServerResponse) => void | Promise<void>,
  stated: { readonly layer: Buffer; readonly diffId: string } = { layer, diffId: digestOf(tar) },
): Promise<MisbehavingServer> {
  const described = (mediaType: string, bytes: Buffer): object => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const platform = { architecture: process.arch === "x64" ? "amd64" : process.arch, os: "linux" };
  const config = Buffer.from(
    JSON.stringify({ ...platform, config: {}, rootfs: { type: "layers", diff_ids: [stated.diffId] } }),
  );
  const manifest = Buffer.from(
    JSON.stringify({
      ...{ schemaVersion: 2, mediaType: MANIFEST_TYPE },
      config: described("application/vnd.oci.image.config.v1+json", config),
      layers: [described("application/vnd.oci.image.layer.v1.tar+gzip", stated.layer)],
    }),
  );
  return startServer(async ({ method, url }, response) => {
    if (url.includes("/manifests/")) {
      const length = String(manifest.length);
      response.writeHead(200, {
        ...{
          "content-type": MANIFEST_TYPE,
          "content-length": length,
          "docker-content-digest": digestOf(manifest),
        },
      });
      response.end(method === "HEAD" ? undefined : manifest);
    } else if (url.endsWith(digestOf(config))) response.end(config);
    else await send(response);
  });
}

for (const account of accounts())
  describe(`a base layer that is downloaded, as ${account.name}`, () => {
    let shop: Workshop;
    beforeEach(async () => {
      shop = await openWorkshop(account);
    });
    afterEach(() => shop[Symbol.dispose]());

    const args = ({ host }: MisbehavingServer): readonly string[] => {
      const dockerfile = `FROM scratch\nCOPY --from=${host}/image:1 /first /copied\n`;
      const context = shop.context("context", { Dockerfile: dockerfile });
      return ["build", "-o", `type=local,dest=${shop.at("out")}`, context];
    };
    const names = (dir: string): readonly string[] =>
      existsSync(shop.at("store", dir)) ? readdirSync(shop.at("store", dir)) : [];
    const isUnpacking = (): boolean =>
      names("active").some((one) => existsSync(shop.at("store", "active", one, "fs", "first")));
    const untilUnpacking = async (): Promise<void> => {
      while (!isUnpacking()) await delay(5);
    };
    const assertNothingLeft = (): void => {
      assert.deepEqual(names("ingest"), []);
      assert.deepEqual(names("active"), []);
      assert.deepEqual(names("layers"), []);
    };
    const whole = (response: ServerResponse): void => void response.end(layer);

    it("is unpacked before its last bytes come", async () => {
      await using server = await serve(async (response) => {
        response.writeHead(200, { "content-length": String(layer.length) });
        response.write(layer.subarray(0, BEGINNING));
        await untilUnpacking();
        response.end(layer.subarray(BEGINNING));
      });
      await shop.ok(args(server));
      assert.equal(readFileSync(shop.at("out", "copied"), "utf8"), text);
      assert.deepEqual(names("active"), []);
    });
    if (account.uid !== self().uid) return; // the rest is the same for all

    it("leaves nothing when its bytes turn out to be others, and an honest answer later is taken", async () => {
      const other = Buffer.from(layer);
      other.fill(0x55, layer.length - 100, layer.length - 50);
      let isHonest = false;
      await using server = await serve(async (response) => {
        if (isHonest) return whole(response);
        response.write(other.subarray(0, BEGINNING));
        await untilUnpacking();
        response.end(other.subarray(BEGINNING));
      });
      const { code, stderr } = await shop.run(args(server));
      assert.equal(code, 1);
      assert.match(stderr, /expected sha256:[0-9a-f]{64}, but the content is sha256:/);
      assertNothingLeft();
      isHonest = true;
      await shop.ok(args(server));
    });

    it("leaves nothing when the rest never comes", async () => {
      let count = 0;
      await using server = await serve(async (response) => {
        if (count++ > 0) return void response.writeHead(404).end();
        response.writeHead(200, { "content-length": String(layer.length) });
        response.write(layer.subarray(0, BEGINNING));
        await untilUnpacking();
        response.destroy();
      });
      const { code, stderr } = await shop.run(args(server));
      assert.equal(code, 1);
      assert.match(stderr, /not found/);
      assertNothingLeft();
    });

    it("leaves nothing when it is not the layer that the image names", async () => {
      await using server = await serve(whole, { layer, diffId: digestOf("another") });
      const { code, stderr } = await shop.run(args(server));
      assert.equal(code, 1);
      assert.match(stderr, /the layer has diff ID sha256:/);
      assert.deepEqual([...names("ingest"), ...names("active"), ...names("layers")], []);
    });

    it("is done again after a kill in the middle", async () => {
      let count = 0;
      await using server = await serve(async (response) => {
        if (count++ > 0) return whole(response);
        response.writeHead(200, { "content-length": String(layer.length) });
        response.write(layer.subarray(0, BEGINNING));
        await untilUnpacking();
        running.kill("SIGKILL");
      });
      const running = shop.start(args(server));
      await running.outcome;
      assert.deepEqual(names("layers"), []);
      await shop.ok(args(server));
      assert.equal(readFileSync(shop.at("out", "copied"), "utf8"), text);
    });
  });
