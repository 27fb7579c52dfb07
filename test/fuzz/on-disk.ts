// What strangers send and this machine makes files of: archives of images, and the content of cache mounts. What cannot be used is
// refused and leaves nothing; nothing is made anywhere else; what is taken is what it says.

import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { gunzipSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { openContent } from "../../cache/content.ts";
import { takeArchive } from "../../cache/registry/image-archive.ts";
import { MEDIA_TYPES } from "../../cache/registry/documents.ts";
import { parseMountIndex } from "../../cache/remote-cache/mount-index.ts";
import { packMount } from "../../cache/remote-cache/mount-pack.ts";
import { restoreMount } from "../../cache/remote-cache/mount-restore.ts";
import { type Digest, digestOf, hexOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { isSysError } from "../../worker/sys/libc.ts";
import { makeTar } from "../cache/layers/support.ts";
import { temporaryDir } from "../support/store.ts";
import { woundedJson, woundedOf } from "./wounds.ts";

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value) ?? "null");
const described = (data: Buffer, mediaType: string) => ({
  mediaType,
  digest: digestOf(data),
  size: data.length,
});

const LAYER = makeTar([{ name: "f", content: "text" }]);
const CONFIG = {
  os: "linux",
  architecture: "amd64",
  config: { Env: ["A=b"], Cmd: ["sh"], Labels: { a: "b" }, Volumes: { "/v": {} } },
  rootfs: { type: "layers", diff_ids: [digestOf(LAYER)] },
  history: [{ created_by: "x" }],
};

/** A layout each of whose documents is wounded and then named by its digest, so that it is read. */
const anyLayout = fc
  .record({
    config: fc.oneof(fc.constant(CONFIG), woundedJson([CONFIG])),
    wounds: fc.constantFrom("manifest", "index", "none"),
    seed: fc.nat(),
  })
  .chain(({ config, wounds }) => {
    const configBytes = json(config);
    const manifest = {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      config: described(configBytes, MEDIA_TYPES.ociConfig),
      layers: [described(LAYER, MEDIA_TYPES.ociLayer)],
    };
    return (wounds === "manifest" ? woundedJson([manifest]) : fc.constant(manifest)).chain((made) => {
      const bytes = json(made);
      const target = {
        ...described(bytes, MEDIA_TYPES.ociManifest),
        annotations: { "org.opencontainers.image.ref.name": "host/app:1" },
      };
      const index = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [target] };
      return (wounds === "index" ? woundedJson([index]) : fc.constant(index)).map((top) =>
        makeTar([
          { name: "oci-layout", content: json({ imageLayoutVersion: "1.0.0" }) },
          { name: "index.json", content: json(top) },
          ...[configBytes, bytes, LAYER].map((content) => ({
            name: `blobs/sha256/${hexOf(digestOf(content))}`,
            content,
          })),
        ]),
      );
    });
  });

/** The older form of docker save. */
const anyOlder = fc
  .tuple(
    woundedJson([[{ Config: "c.json", RepoTags: ["host/app:1"], Layers: ["l/layer.tar"] }]]),
    fc.oneof(fc.constant(CONFIG), woundedJson([CONFIG])),
  )
  .map(([manifest, config]) =>
    makeTar([
      { name: "manifest.json", content: json(manifest) },
      { name: "c.json", content: json(config) },
      { name: "l/layer.tar", content: LAYER },
      { name: "link", type: "symlink", link: "/etc/passwd" },
    ]),
  );

async function takesArchive(archive: Buffer): Promise<void> {
  using dir = temporaryDir();
  for (const name of ["blobs", "ingest", "quarantine"]) mkdirSync(dir.at(name));
  writeFileSync(dir.at("archive"), archive);
  const content = openContent({
    blobs: dir.at("blobs"),
    ingest: dir.at("ingest"),
    quarantine: dir.at("quarantine"),
    owner: "o",
  });
  const held = new Set<Digest>();
  const images = await refusing(() =>
    takeArchive(dir.at("archive"), { content }, {
      signal: new AbortController().signal,
      lease: {
        addLayers: () => {},
        addBlobs: (digests) => {
          for (const digest of digests) held.add(digest);
        },
        [Symbol.asyncDispose]: async () => {},
      },
      onBytes: () => {},
    }),
  ); // biome-ignore format: one call
  assert.deepEqual(readdirSync(dir.path).sort(), ["archive", "blobs", "ingest", "quarantine"]);
  assert.deepEqual(readdirSync(dir.at("ingest")), []);
  for (const hex of readdirSync(dir.at("blobs")))
    assert.equal(hexOf(digestOf(readFileSync(dir.at("blobs", hex)))), hex);
  for (const { target, platforms } of images ?? []) {
    const wanted = [target, ...platforms.flatMap(({ layers }) => layers)];
    for (const { digest, size } of wanted) {
      assert.equal(content.size(digest), size);
      assert.ok(held.has(digest), "a blob without a lease");
    }
    for (const { diffIds, layers } of platforms) assert.equal(diffIds.length, layers.length);
  }
}

interface PackedSeed {
  readonly index: Buffer;
  readonly packs: ReadonlyMap<string, Buffer>;
}

/** A small mount: directories, files with equal content, a link. */
function packedSeed(): PackedSeed {
  using dir = temporaryDir();
  for (const name of ["mount", "packs", "mount/d", "mount/d/e"]) mkdirSync(dir.at(name));
  writeFileSync(dir.at("mount/d/file"), "content");
  writeFileSync(dir.at("mount/same"), "content");
  writeFileSync(dir.at("mount/d/other"), "other content");
  writeFileSync(dir.at("mount/empty"), "");
  chmodSync(dir.at("mount/same"), 0o640);
  symlinkSync("../same", dir.at("mount/d/link"));
  const packed = packMount({ dir: dir.at("mount"), previous: null, out: dir.at("packs") });
  const file = (digest: Digest): Buffer => readFileSync(dir.at("packs", hexOf(digest)));
  return {
    index: file(packed.index.digest),
    packs: new Map(packed.packs.map(({ digest }) => [digest, file(digest)])),
  };
}

async function restores(index: Buffer, pack: Buffer, packs: PackedSeed["packs"]): Promise<void> {
  using dir = temporaryDir();
  for (const name of ["mount", "packs"]) mkdirSync(dir.at(name));
  writeFileSync(dir.at("index"), index);
  const files = [...packs.keys()].map((digest): [string, string] => {
    writeFileSync(dir.at("packs", hexOf(digest as Digest)), pack);
    return [digest, dir.at("packs", hexOf(digest as Digest))];
  });
  const restored = await refusing(async () =>
    restoreMount({ index: dir.at("index"), packs: Object.fromEntries(files), dir: dir.at("mount") }),
  );
  assert.deepEqual(readdirSync(dir.path).sort(), ["index", "mount", "packs"]);
  assert.equal(readdirSync(dir.at("packs")).length, files.length);
  if (restored === null) {
    assert.deepEqual(readdirSync(dir.at("mount")), []);
    return;
  }
  const { entries } = parseMountIndex(index);
  const summary = ({ kind, path, mode, target }: (typeof entries)[number]): unknown[] => [
    ...[path, kind, target],
    kind === "link" ? null : mode,
  ];
  if (process.getuid?.() !== 0) return; // who is not root cannot look into everything it made
  mkdirSync(dir.at("again"));
  const again = packMount({ dir: dir.at("mount"), previous: null, out: dir.at("again") });
  const found = parseMountIndex(readFileSync(dir.at("again", hexOf(again.index.digest)))).entries;
  const byPath = (rows: unknown[][]): unknown[][] => rows.sort((a, b) => (String(a) < String(b) ? -1 : 1));
  const isRootNamed = entries.some(({ path }) => path === "");
  assert.deepEqual(
    byPath(found.filter(({ path }) => isRootNamed || path !== "").map(summary)),
    byPath(entries.map(summary)),
  );
}

/** null: refused as a stranger's input is. */
async function refusing<T>(work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof BuildError) && !isSysError(error)) throw error;
    return null;
  }
}

const packedOnce = lazily(packedSeed);
const anyPacked = fc.constant(null).chain(() => {
  const { index, packs } = packedOnce();
  const [pack = Buffer.alloc(0)] = packs.values();
  const plain = gunzipSync(pack);
  return fc.record({
    index: fc.oneof({ weight: 3, arbitrary: woundedOf([index]) }, fc.constant(index)),
    pack: fc.oneof(
      { weight: 3, arbitrary: fc.constant(pack) },
      woundedOf([pack]),
      woundedOf([plain]).map((bytes) => gzipSync(bytes)),
    ),
  });
});

function lazily<T extends object>(make: () => T): () => T {
  let made: T | null = null;
  return () => (made ??= make());
}

/** Properties of what becomes files, each ready for fc.assert. Slower than others: each run has a directory of its own. */
export const DISK_PROPERTIES: Readonly<Record<string, fc.IAsyncProperty<unknown>>> = {
  "an archive of images is taken whole or refused": fc.asyncProperty(
    fc.oneof({ weight: 2, arbitrary: anyLayout }, anyOlder),
    takesArchive,
  ),
  "content of a cache mount is restored as it says, or nothing is": fc.asyncProperty(
    anyPacked,
    ({ index, pack }) => restores(index, pack, packedOnce().packs),
  ),
};
