// A store with layers that can be exported: real tars, packed as requested, in its own directory.

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { openStore } from "../../cache/store.ts";
import { openRegistry } from "../../cache/registry/client.ts";
import { type TarDirectory, type TarFile, tarBytes } from "../../exporters/tar-bytes.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import type { ProgressEvent } from "../../solver/graph/event.ts";
import type { BuiltImage, ImageConfig, LayerId } from "../../solver/graph/request.ts";
import type { Registry } from "../../cache/registry/contract.ts";
import type { ExportContext, ExportDeps, LayerSource } from "../../exporters/contract.ts";
import type { Store } from "../../cache/contract.ts";

export interface Fixture extends AsyncDisposable {
  readonly dir: string; // for output
  readonly store: Store;
  readonly registry: Registry;
  readonly layers: LayerSource;
  readonly deps: ExportDeps;
  readonly events: ProgressEvent[];
  /** Adds a layer with one file; the same arguments give the same layer. */
  addLayer(name: string, text: string): Promise<LayerId>;
  image(layers: readonly LayerId[], change?: Partial<ImageConfig>): BuiltImage;
  context(change?: Partial<ExportContext>): ExportContext;
}

export async function openFixture(change: Partial<ExportDeps> = {}): Promise<Fixture> {
  const root = mkdtempSync(join(tmpdir(), "tsbuild-exporters-"));
  const dir = join(root, "out");
  mkdirSync(dir);
  const store = await openStore(join(root, "store"));
  const tars = new Map<LayerId, Buffer>();
  const tarOf = (id: LayerId) => {
    const tar = tars.get(id);
    if (tar === undefined) throw new Error(`no layer ${id}`);
    return tar;
  };
  const layers: LayerSource = {
    async blob(id, { compression, level }) {
      const tar = tarOf(id);
      const data = compression === "gzip" ? gzipSync(tar, level === null ? {} : { level }) : tar;
      const suffix = compression === "gzip" ? "+gzip" : "";
      const digest = store.content.put(data);
      const mediaType = `application/vnd.oci.image.layer.v1.tar${suffix}`;
      return { descriptor: { mediaType, digest, size: data.length }, diffId: digestOf(tar), remote: null };
    },
    async diffId(id) {
      return { diffId: digestOf(tarOf(id)), tarBytes: tarOf(id).length };
    },
  };
  const registry = openRegistry({
    credentials: async () => null,
    sleep: async (_ms, signal) => signal.throwIfAborted(),
  });
  const events: ProgressEvent[] = [];
  const deps: ExportDeps = {
    store,
    layers,
    registry: async () => registry,
    files: async () => {
      throw new Error("no files are exported in this test");
    },
    digests: async () => {
      throw new Error("no files are exported in this test");
    },
    client: null,
    loaders: [],
    env: process.env,
    ...change,
  };
  return {
    dir,
    store,
    registry,
    layers,
    deps,
    events,
    async addLayer(name, text) {
      const members: (TarFile | TarDirectory)[] = [
        { kind: "file", name, size: Buffer.byteLength(text), data: Buffer.from(text) },
      ];
      const chunks: Uint8Array[] = [];
      for await (const chunk of tarBytes(members)) chunks.push(chunk);
      const tar = Buffer.concat(chunks);
      const id = `r-${digestOf(tar).slice(7, 23)}` as LayerId;
      tars.set(id, tar);
      store.layers.update(id, {
        createdAtMs: Date.UTC(2024, 1, 3, 4, 5, 6, 700),
        description: `COPY ${name} /`,
      });
      return id;
    },
    image: (ids, config = {}) => ({
      platform: { os: "linux", architecture: config.architecture ?? "amd64" },
      layers: ids,
      config: {
        architecture: "amd64",
        os: "linux",
        created: "2024-02-03T04:05:06Z",
        config: { Env: ["PATH=/bin"], WorkingDir: "/", Cmd: ["/bin/sh", "-c", "a && b"] },
        history: ids.map((_, index) => ({ created: "2024-02-03T04:05:06Z", created_by: `step ${index}` })),
        ...config,
      },
    }),
    context: (more = {}) => ({
      signal: new AbortController().signal,
      emit: (event) => events.push(event),
      vertices: [digestOf("export")],
      multiPlatform: false,
      epochSeconds: null,
      nowMs: () => 1_700_000_000_000,
      ...more,
    }),
    async [Symbol.asyncDispose]() {
      registry.close();
      await store[Symbol.asyncDispose]();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** All bytes of a stream. */
export async function collect(data: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of data) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** One chunk as a stream. */
export async function* bytesOf(data: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield data;
}
