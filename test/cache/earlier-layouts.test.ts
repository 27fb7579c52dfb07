// Stores as earlier states of the program laid them out: opened with nothing lost, or refused in words and left as they are
// (docs/releasing.md). All of them say version 1, which has grown: each fixture has what its time had, and lacks what came after.
// How each looked was taken from stores that the program of that time had made.

import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { usage } from "../../cache/collect.ts";
import { IMAGE_SPACE } from "../../cache/image-record.ts";
import { bootId } from "../../cache/owner.ts";
import { type OpenStore, openStore } from "../../cache/store.ts";
import { digestOf, hexOf } from "../../solver/graph/digest.ts";
import type { LayerId } from "../../solver/graph/request.ts";
import type { ImageRecord, ResultRecord } from "../../cache/contract.ts";
import { freshDirectory, never } from "./store-support.ts"; // biome-ignore format: a list

const OTHER_BOOT = "0123456789ab";
const LAYER_BLOB = Buffer.from("a packed layer");
const MANIFEST = Buffer.from(`{"layers":["${digestOf(LAYER_BLOB)}"]}`);
const BASE = `d-${hexOf(digestOf("base"))}` as LayerId;
const STEP = `r-${"1".repeat(32)}` as LayerId;
/** A step whose files the disk had not all got. */
const FRESH = `r-${"2".repeat(32)}` as LayerId;
const NAME = "docker.io/library/app:latest";
const IMAGE: ImageRecord = {
  name: NAME,
  target: {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: digestOf(MANIFEST),
    size: MANIFEST.length,
  },
  createdAtMs: 1_700_000_000_000,
  layers: { "linux/amd64": [BASE, STEP] },
};
const RESULT: ResultRecord = {
  outputs: [[BASE, STEP]],
  createdAtMs: 1_700_000_000_000,
  durationMs: 700,
  lastUsedMs: 1_700_000_000_000,
  name: "RUN make",
  ingredients: { op: "exec" },
};
const RAW = Uint8Array.from([84, 83, 83, 84, 0, 255]);
const REMOTE = {
  descriptor: {
    mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
    digest: digestOf(LAYER_BLOB),
    size: LAYER_BLOB.length,
  },
  from: "docker.io/library/base",
};

interface LayoutOptions {
  readonly root: string;
  readonly boot: string;
}
type Records = Readonly<Record<string, unknown>>;

/** The first that was in use: no names/, no spare, no key of notes; files for everybody to read; lmdb's own files, without room. */
async function first({ root, boot }: LayoutOptions, more: Records = {}): Promise<void> {
  const parts = [
    "tmp",
    "tmp/quarantine",
    "blobs",
    "blobs/sha256",
    "ingest",
    "layers",
    "active",
    "db",
    "mounts",
  ];
  for (const part of ["", ...parts, "locks", "owners", "bin", "bin/net", "bin/root"])
    mkdirSync(join(root, part), { recursive: true, mode: 0o700 });
  writeFileSync(join(root, "version"), "1\n", { mode: 0o600 });
  for (const blob of [LAYER_BLOB, MANIFEST])
    writeFileSync(join(root, "blobs/sha256", hexOf(digestOf(blob))), blob, { mode: 0o444 });
  for (const id of [BASE, STEP, FRESH]) {
    mkdirSync(join(root, "layers", id, "fs"), { recursive: true, mode: 0o755 });
    chmodSync(join(root, "layers", id), 0o700);
    writeFileSync(join(root, "layers", id, "fs", "file"), id);
    writeFileSync(join(root, "layers", id, `boot-${boot}`), "");
  }
  const mount = join(root, "mounts", createHash("sha256").update("go\0").digest("hex"));
  mkdirSync(join(mount, "slot-0", "fs"), { recursive: true });
  chmodSync(join(mount, "slot-0"), 0o700);
  writeFileSync(join(mount, "id"), "go");
  writeFileSync(join(mount, "slot-0", "fs", "kept"), "in the mount");

  const layer = {
    diffId: null,
    unpacked: true,
    createdAtMs: 1_700_000_000_000,
    blobs: {},
    diffIds: {},
    boot,
  };
  await writeRecords(join(root, "db", "data.mdb"), {
    [`layer\0${BASE}`]: {
      ...{ ...layer, id: BASE, diffId: digestOf("base"), sizeBytes: 4096, remotes: [REMOTE] },
      ...{ description: "layer 1 of base", synced: true },
    },
    [`layer\0${STEP}`]: {
      ...{ ...layer, id: STEP, sizeBytes: 8192, remotes: [], description: "RUN make", synced: true },
      ...{ blobs: { gzip: REMOTE.descriptor }, diffId: digestOf("step"), tarBytes: { "": 2048 } },
    },
    [`layer\0${FRESH}`]: {
      ...layer,
      id: FRESH,
      sizeBytes: 1,
      remotes: [],
      description: "RUN last",
      synced: false,
    },
    [`image\0${NAME}`]: IMAGE,
    [`result\0${"3".repeat(64)}`]: RESULT,
    [`output\0${"3".repeat(64)}`]: [[STEP]],
    [`duration\0${"3".repeat(64)}`]: 700,
    [`stat\0${"4".repeat(64)}`]: RAW,
    ...more,
  });
}

/** Then layers to be synced had an index, and the size of the store was noted. */
const indexed = (options: LayoutOptions): Promise<void> =>
  first(options, {
    [`unsynced\0${FRESH}`]: 1,
    "ceiling\0last": { atMs: 1_700_000_000_000, totalBytes: 30_000, usedBytes: 10 ** 9 },
  });

/** Then image names had files, layers their makers, and the database room: as it is made now. Records of the time before, which are
 *  still written so where nothing more is known. */
async function named(options: LayoutOptions): Promise<void> {
  await indexed(options);
  await (await openStore(options.root))[Symbol.asyncDispose]();
}

const LAYOUTS: Readonly<Record<string, (options: LayoutOptions) => Promise<void>>> = {
  "before image names had files": first,
  "with an index of layers to be synced": indexed,
  "that today's program has opened": named,
};

async function writeRecords(path: string, records: Records): Promise<void> {
  const lmdb = createRequire(import.meta.url)("lmdb") as typeof import("lmdb");
  const db = lmdb.open<Buffer, Buffer>({ path, encoding: "binary", keyEncoding: "binary", maxDbs: 1 });
  db.transactionSync(() => {
    for (const [key, value] of Object.entries(records))
      db.putSync(
        Buffer.from(key),
        value instanceof Uint8Array
          ? Buffer.concat([Buffer.alloc(1), value])
          : Buffer.from(JSON.stringify(value)),
      );
  });
  await db.close();
}

async function holdsAll(store: OpenStore): Promise<void> {
  for (const blob of [LAYER_BLOB, MANIFEST])
    assert.ok(Buffer.from(store.content.read(digestOf(blob), 1000)).equals(blob));
  for (const [id, sizeBytes] of [[BASE, 4096], [STEP, 8192]] as const) {
    const record = store.layers.get(id);
    assert.deepEqual([record?.unpacked, record?.sizeBytes], [true, sizeBytes], id);
    assert.equal(readFileSync(join(store.layers.directory(id), "file"), "utf8"), id);
    assert.equal(store.layers.isOfOtherIds(id), false);
  } // biome-ignore format: pairs
  assert.deepEqual(store.layers.get(BASE)?.remotes, [REMOTE]);
  assert.deepEqual(store.layers.get(STEP)?.blobs, { gzip: REMOTE.descriptor });
  assert.deepEqual(store.records.get(IMAGE_SPACE, NAME), IMAGE);
  assert.deepEqual(store.records.get("result", "3".repeat(64)), RESULT);
  assert.deepEqual(store.records.get("output", "3".repeat(64)), [[STEP]]);
  assert.equal(store.records.get("duration", "3".repeat(64)), 700);
  assert.deepEqual(new Uint8Array(store.records.get<Uint8Array>("stat", "4".repeat(64)) ?? []), RAW);
  assert.deepEqual(
    store.cacheMounts.list().map(({ id, inUse }) => [id, inUse]),
    [["go", false]],
  );
  await using mount = await store.cacheMounts.acquire("go", "shared", { signal: never(), seedKey: "" });
  assert.equal(mount.fresh, false);
  assert.equal(readFileSync(join(mount.path, "kept"), "utf8"), "in the mount");
}

describe("a store of an earlier layout", () => {
  const dir = freshDirectory();
  const root = (): string => join(dir(), "store");

  for (const [about, make] of Object.entries(LAYOUTS)) {
    describe(about, () => {
      it("opens with all that was in it, and again", async () => {
        await make({ root: root(), boot: bootId() });
        for (let opened = 0; opened < 2; opened++) {
          await using store = await openStore(root());
          assert.deepEqual(store.mended, []);
          await holdsAll(store);
          assert.equal(store.layers.get(FRESH)?.unpacked, true);
          assert.deepEqual(await store.layers.orphans(), []);
          const entries = await usage(store);
          assert.ok(entries.some(({ id, sizeBytes }) => id === STEP && sizeBytes === 8192));
        }
      });

      it("opens after the machine was started anew with what was on its disk for certain", async () => {
        await make({ root: root(), boot: OTHER_BOOT });
        await using store = await openStore(root());
        assert.deepEqual(store.mended, []);
        await holdsAll(store);
        assert.equal(store.layers.get(FRESH), null);
        assert.deepEqual(store.layers.unsynced(), []);
      });

      it("is for its owner alone from then on, and keeps its image names when the database is lost", async () => {
        await make({ root: root(), boot: bootId() });
        await (await openStore(root()))[Symbol.asyncDispose]();
        for (const name of readdirSync(join(root(), "db")))
          assert.equal(statSync(join(root(), "db", name)).mode & 0o077, 0, name);
        assert.equal(readFileSync(join(root(), "version"), "utf8"), "1\n");
        rmSync(join(root(), "db"), { recursive: true });
        await using store = await openStore(root());
        assert.match(store.mended.join("\n"), /docker.io\/library\/app:latest: restored/);
        assert.deepEqual(store.records.get(IMAGE_SPACE, NAME), IMAGE);
        for (const id of [BASE, STEP])
          assert.equal(readFileSync(join(store.layers.directory(id), "file"), "utf8"), id);
      });
    });
  }

  it("whose database was made a moment before a kill, of no length, begins with an empty one", async () => {
    await first({ root: root(), boot: bootId() });
    truncateSync(join(root(), "db", "data.mdb"), 0);
    rmSync(join(root(), "db", "data.mdb-lock"));
    await using store = await openStore(root());
    assert.equal(store.records.get(IMAGE_SPACE, NAME), null);
    assert.ok(store.content.has(digestOf(MANIFEST)));
    store.records.put(IMAGE_SPACE, NAME, IMAGE);
    await store.records.flush();
    assert.deepEqual(store.records.get(IMAGE_SPACE, NAME), IMAGE);
  });

  // A newer one is for a newer program; there never was a version 0, so a file that says so is damaged.
  for (const [version, message, hint] of [
    ["0", /the version file .* is damaged/, /fsck --repair/],
    ["2", /has layout version 2, this tsbuild supports 1$/, /newer tsbuild/],
    ["17", /has layout version 17, this tsbuild supports 1$/, /newer tsbuild/],
  ] as const) {
    it(`of version ${version} is refused in words and left as it is`, async () => {
      await first({ root: root(), boot: bootId() });
      writeFileSync(join(root(), "version"), `${version}\n`);
      const before = listing(root());
      await assert.rejects(openStore(root()), { code: "STORE_UNUSABLE", message, hint });
      assert.deepEqual(listing(root()), before);
    });
  }
});

/** Names, modes, times and contents. */
function listing(root: string): string[] {
  return readdirSync(root, { recursive: true, encoding: "utf8" })
    .sort()
    .map((name) => {
      const stat = statSync(join(root, name));
      const content = stat.isFile() ? hexOf(digestOf(readFileSync(join(root, name)))) : "";
      return `${name} ${stat.mode.toString(8)} ${stat.mtimeMs} ${content}`;
    });
}
