// Layers in zstd:chunked and eStargz through whole builds: their tables are valid wherever the blobs end up, and what says where they
// are comes along.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readLazily } from "../support/lazy-reader.ts";
import type { DebianRegistry } from "../support/registry.ts";
import { accounts } from "../support/unprivileged.ts";
import { eachWithRegistry, openWorkshop, type Workshop } from "./fixture.ts";

const FORMS = ["zstd:chunked", "estargz"] as const;
type Form = (typeof FORMS)[number];

interface LayerDescriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
}
interface Found {
  readonly digest: string;
  readonly layers: readonly LayerDescriptor[];
  readonly diffIds: readonly string[];
  blob(digest: string): Promise<Buffer>;
}

const DOCKERFILE = "FROM base\nCOPY files /files\n";
const FILES = {
  Dockerfile: DOCKERFILE,
  "files/a": "first\n".repeat(500),
  "files/b": "second\n",
  "files/none": "",
};
const MEDIA_TYPES = { "zstd:chunked": "tar+zstd", estargz: "tar+gzip" };

for (const account of accounts()) {
  describe(`layers that are pulled lazily, by ${account.name}`, () => {
    let shop: Workshop;
    let registry: DebianRegistry;
    let serial: number;
    eachWithRegistry(account, (fresh) => {
      ({ shop, registry, serial } = fresh);
    });
    const name = (tag: string): string => `${registry.host}/lazy-${serial}/${tag}`;

    async function inRegistry(image: string): Promise<Found> {
      const [repository = "", tag = "latest"] = image.slice(registry.host.length + 1).split(":");
      const base = `http://${registry.host}/v2/${repository}`;
      const get = async (path: string): Promise<Buffer> => {
        const accept = "application/vnd.oci.image.manifest.v1+json";
        const response = await fetch(`${base}/${path}`, { headers: { accept } });
        assert.equal(response.status, 200, path);
        return Buffer.from(await response.arrayBuffer());
      };
      return found(await get(`manifests/${tag}`), (digest) => get(`blobs/${digest}`));
    }

    function inLayout(dir: string): Promise<Found> {
      const read = async (digest: string): Promise<Buffer> =>
        readFileSync(join(dir, "blobs", digest.replace(":", "/")));
      const index = JSON.parse(readFileSync(join(dir, "index.json"), "utf8")) as {
        manifests: readonly [{ digest: string }];
      };
      return read(index.manifests[0].digest).then((bytes) => found(bytes, read));
    }

    async function found(manifest: Buffer, blob: Found["blob"]): Promise<Found> {
      const { layers, config } = JSON.parse(manifest.toString()) as {
        layers: readonly LayerDescriptor[];
        config: LayerDescriptor;
      };
      const { rootfs } = JSON.parse((await blob(config.digest)).toString()) as {
        rootfs: { diff_ids: readonly string[] };
      };
      const digest = `sha256:${createHash("sha256").update(manifest).digest("hex")}`;
      return { digest, layers, diffIds: rootfs.diff_ids, blob };
    }

    /** The layer is what its descriptor, its table and the config say; the names in the table. */
    async function checked(
      { layers, diffIds, blob }: Found,
      at: number,
      form: Form,
    ): Promise<readonly string[]> {
      const layer = layers.at(at) as LayerDescriptor;
      assert.equal(layer.mediaType, `application/vnd.oci.image.layer.v1.${MEDIA_TYPES[form]}`);
      const bytes = await blob(layer.digest);
      const path = shop.at("lazy-blob");
      writeFileSync(path, bytes);
      const { sha256, entries } = readLazily(path, layer.annotations ?? {});
      assert.equal(sha256, diffIds.at(at));
      return entries.map((entry) => entry.name);
    }

    // Whose files they are makes no difference to a form: the ordinary user makes each once.
    const isSelf = account.uid === process.getuid?.();
    for (const form of FORMS.filter((one) => isSelf || one === "zstd:chunked")) {
      it(`${form}: from a build to a registry, a layout and an archive, with the base as it is or converted`, async () => {
        const context = shop.context("app", FILES);
        await shop.ok([
          ...["build", "-o", `type=registry,name=${name("app")},compression=${form}`],
          ...["-o", `type=oci,dest=${shop.at("layout")},tar=false,compression=${form}`, context],
        ]);
        const pushed = await inRegistry(name("app"));
        assert.deepEqual(await checked(pushed, -1, form), ["files/", "files/a", "files/b", "files/none"]);
        assert.equal(pushed.layers[0]?.annotations, undefined);
        const layout = await inLayout(shop.at("layout"));
        assert.deepEqual([layout.digest, layout.layers], [pushed.digest, pushed.layers]);
        const copy = shop.at("copied");
        execFileSync("skopeo", ["copy", "-q", `oci:${shop.at("layout")}`, `dir:${copy}`]);

        const force = `compression=${form},compression-level=9,force-compression=true`;
        await shop.ok(["build", "-o", `type=registry,name=${name("forced")},${force}`, context]);
        const forced = await inRegistry(name("forced"));
        for (const [at, layer] of forced.layers.entries()) {
          await checked(forced, at, form);
          assert.ok(layer.annotations);
        }
        // Plain forms are as they were, whatever else there is of the layer.
        const plain = form === "estargz" ? "gzip" : "zstd";
        await shop.ok(["build", "-o", `type=registry,name=${name("plain")},compression=${plain}`, context]);
        const unlisted = await inRegistry(name("plain"));
        assert.equal(unlisted.layers.at(-1)?.annotations, undefined);
        assert.notEqual(unlisted.layers.at(-1)?.digest, pushed.layers.at(-1)?.digest);
      });
    }

    for (const form of FORMS.filter((one) => isSelf || one === "estargz")) {
      it(`${form}: from the store to where it is pushed, saved and built upon`, async () => {
        const context = shop.context("app", FILES);
        const [app, again, above] = [name("app:1"), name("app:2"), name("above:1")];
        const output = `type=image,name=${app},compression=${form},force-compression=true`;
        await shop.ok(["build", "-o", output, context]);
        await shop.ok(["push", app]);
        const pushed = await inRegistry(app);
        await checked(pushed, -1, form);
        await checked(pushed, 0, form);
        const ran = await shop.ok(["run", "--rm", app, "cat", "/files/b"]);
        assert.equal(ran.stdout, "second\n");
        await shop.ok(["save", "-o", shop.at("saved.tar"), app]);
        assert.match(execFileSync("tar", ["tf", shop.at("saved.tar")]).toString(), /^manifest.json$/m);

        using other = await openWorkshop(account);
        await other.ok(["pull", app]);
        await other.ok(["tag", app, again]);
        await other.ok(["push", again]);
        assert.equal((await inRegistry(again)).digest, pushed.digest);
        const next = other.context("next", { Dockerfile: `FROM ${app}\nRUN cat /files/a > /copy\n` });
        await other.ok(["build", "-o", `type=registry,name=${above}`, next]);
        const upon = await inRegistry(above);
        assert.deepEqual(upon.layers.slice(0, -1), pushed.layers);
        assert.deepEqual(upon.diffIds.slice(0, -1), pushed.diffIds);
        await checked(upon, -2, form);
        // Where it was built it is the same base: not the layers that the steps left, which have other diffIds in eStargz.
        const beside = name("beside:1");
        await shop.ok([
          ...["build", "-o", `type=registry,name=${beside}`],
          shop.context("beside", { Dockerfile: `FROM ${app}\nCOPY Dockerfile /\n` }),
        ]);
        const there = await inRegistry(beside);
        assert.deepEqual(there.layers.slice(0, -1), pushed.layers);
        assert.deepEqual(there.diffIds.slice(0, -1), pushed.diffIds);
      });
    }

    for (const form of FORMS.filter((one) => isSelf && one === "estargz")) {
      it(`${form}: to a build cache and back, and the same bytes in every store with --reproducible`, async () => {
        const context = shop.context("app", FILES);
        const cache = shop.at("cache");
        const args = ["build", "--reproducible", "--iidfile", shop.at("id"), context];
        const to = `type=local,dest=${cache},mode=max,compression=${form}`;
        await shop.ok([
          ...args,
          "--cache-to",
          to,
          "-o",
          `type=oci,dest=${shop.at("one")},tar=false,compression=${form}`,
        ]);
        const one = await inLayout(shop.at("one"));
        await checked(one, -1, form);
        using other = await openWorkshop(account);
        const again = [
          ...args.slice(0, 2),
          context,
          "-o",
          `type=oci,dest=${other.at("two")},tar=false,compression=${form}`,
        ];
        await other.ok(again);
        assert.equal((await inLayout(other.at("two"))).digest, one.digest);

        using third = await openWorkshop(account);
        const { stderr } = await third.ok([
          ...["build", "--progress=plain", "--cache-from", `type=local,src=${cache}`],
          ...["-o", `type=oci,dest=${third.at("three")},tar=false,compression=${form}`, context],
        ]);
        assert.match(stderr, /COPY files \/files\n(?:.*\n)*?.*CACHED/);
        await checked(await inLayout(third.at("three")), -1, form);
      });
    }
  });
}
