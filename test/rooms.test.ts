// The table of doors. Reads every import statement of the sources and fails on one that goes up, sideways, or past a door.
// A new door is a line in this file, seen in review.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { projectDir } from "./support/project.ts";

/** Which rooms a room may import from. Its own files it may always import. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  bin: ["frontend", "solver", "exporters", "worker", "cache", "solver/graph"],
  frontend: ["solver/graph"],
  solver: ["worker", "cache", "solver/graph"],
  exporters: ["cache", "solver/graph"],
  worker: ["cache", "worker/sys", "solver/graph"],
  cache: ["worker/sys", "solver/graph"],
  "solver/graph": [],
  "worker/sys": [],
};

/** The files of a room that others may import. The two ground floors are open as a whole. */
const DOORS: readonly string[] = [
  "frontend/frontend.ts",
  "solver/solver.ts",
  "solver/traces.ts", // what --explain looks at
  "solver/graph/*",
  "exporters/exporter.ts",
  "exporters/annotations.ts", // the words of --annotation
  "exporters/cache-early.ts", // layers that leave while the build goes on
  "exporters/cache-export.ts",
  "exporters/output-grammar.ts", // the words of --output
  "worker/worker.ts",
  "worker/cgroup-limits.ts", // the words of --memory and its like
  "worker/probe.ts", // doctor
  "worker/probe-words.ts",
  "worker/keeper/keeper.ts",
  "worker/keeper/messages.ts", // what the keeper can be asked
  "worker/keeper/userns.ts",
  "worker/keeper/network-helper.ts", // which program connects a step
  "worker/sandbox/oci-runtime.ts", // which program runs a step
  "worker/sources/git.ts", // contexts that are fetched before there is a Dockerfile
  "worker/sources/http.ts",
  "worker/sys/*",
  "cache/store.ts",
  "cache/check.ts", // fsck
  "cache/ceiling.ts", // how large a store may become
  "cache/collect.ts", // du and prune
  "cache/prune-filter.ts",
  "cache/registry/proxy.ts",
  "cache/registry/certificates.ts",
  "cache/remote-cache/*", // manifests and places of caches elsewhere
  "cache/selection-files.ts",
  "cache/path-hash.ts", // files as entries: read, filtered, picked, hashed
  "cache/stat-cache.ts",
  "cache/tree.ts",
  "cache/tree-filter.ts",
  "cache/tree-live.ts",
  "cache/tree-select.ts",
  "cache/layers/apply.ts", // layers as tars: what the keeper runs
  "cache/layers/archive.ts",
  "cache/layers/export-tree.ts",
  "cache/layers/listing.ts", // what fsck and the keeper know of a layer's directory
  "cache/layers/implied.ts", // what a stack of layers has to put right
  "cache/layers/owner.ts",
  "cache/layers/pack.ts",
  "cache/layers/remove-tree.ts",
  "cache/layers/tar-fields.ts", // is it a tar, what comes on standard input
  "cache/remote-cache/chain.ts", // what solver and exporters say of a build that becomes a cache
  "cache/remote-cache/config.ts",
  "cache/remote-cache/imports.ts",
  "cache/remote-cache/manifest.ts",
  "cache/remote-cache/mount-index.ts",
  "cache/remote-cache/mount-pack.ts", // what the keeper runs
  "cache/remote-cache/mount-restore.ts",
  "cache/remote-cache/place.ts",
  "cache/registry/client.ts",
  "cache/registry/docker-config.ts",
  "cache/registry/documents.ts",
  "cache/registry/image.ts",
  "cache/registry/layout.ts",
  "cache/registry/reference.ts",
  "cache/registry/transport.ts", // downloads by URL go the same way
];

/** Who may use which package: each one is behind a file or two of ours. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "@foxglove/wasm-zstd": ["cache/layers"],
  aws4fetch: ["cache/remote-cache/s3-calls.ts"],
  "dockerfile-ast": ["frontend"],
  fzstd: ["cache/layers"],
  koffi: ["worker/sys"],
  lmdb: ["cache/records.ts"],
  "lru-cache": ["cache/registry/remembered.ts"],
  "p-queue": ["bin/engine.ts", "solver"],
  pako: ["cache/layers"],
  pbf: ["solver/graph"],
  "tar-stream": ["exporters/tar-bytes.ts"],
  "unbzip2-stream": ["cache/layers"],
  undici: ["cache/registry/carrier-undici.ts", "cache/registry/undici-parts.d.ts"],
  "xz-decompress": ["cache/layers"],
};

/** What reaches outside of a function's arguments belongs to bin/, and to the files that begin a process. */
const AMBIENT = /\bprocess\.(?:env|cwd|exit|argv|chdir|stdout|stderr|stdin)\b|\bconsole\.\w+\(/;
const PROCESSES: readonly string[] = [
  "solver/graph/bundle.cts",
  "worker/keeper/main.ts",
  "worker/keeper/first-thread.ts",
  "worker/keeper/thread.ts",
];

interface Import {
  readonly file: string;
  readonly to: string;
}

describe("rooms", () => {
  const files = Object.keys(MAY_IMPORT).flatMap((room) => (room.includes("/") ? [] : sources(room)));
  const imports = files.flatMap(importsOf);
  const own = imports
    .filter(({ to }) => to.startsWith("."))
    .map(({ file, to }) => ({ file, to: target(file, to) }));

  it("imports only go down the page", () => {
    const wrong = own.filter(({ file, to }) => {
      const from = roomOf(file);
      return roomOf(to) !== from && !MAY_IMPORT[from]?.includes(roomOf(to));
    });
    assert.deepEqual(wrong.map(show), []);
  });

  it("imports of another room go through a door", () => {
    const wrong = own.filter(({ file, to }) => roomOf(file) !== roomOf(to) && !isDoor(to));
    assert.deepEqual(wrong.map(show), []);
  });

  it("every door in the table is a file that somebody outside its room uses", () => {
    const used = new Set(own.filter(({ file, to }) => roomOf(file) !== roomOf(to)).map(({ to }) => to));
    const unused = DOORS.filter((door) => !door.endsWith("/*") && !used.has(door));
    assert.deepEqual(unused, []);
  });

  it("each package stays behind its files", () => {
    const wrong = imports
      .filter(({ to }) => !to.startsWith(".") && !to.startsWith("node:"))
      .filter(({ file, to }) => {
        const places = Object.entries(PACKAGES).find(
          ([name]) => to === name || to.startsWith(`${name}/`),
        )?.[1];
        return (
          places === undefined || !places.some((place) => file === place || file.startsWith(`${place}/`))
        );
      });
    assert.deepEqual(wrong.map(show), []);
  });

  it("our own files are named with their ending, and there is no index.ts", () => {
    assert.deepEqual(own.filter(({ to }) => !/\.c?ts$/.test(to)).map(show), []);
    assert.deepEqual(
      files.filter((file) => /(^|\/)(index|utils|helpers|common|misc|manager)\.ts$/.test(file)),
      [],
    );
  });

  it("every file that ARCHITECTURE.md and the rooms' READMEs name is there", () => {
    const documents = [
      "ARCHITECTURE.md",
      "README.md",
      ...Object.keys(MAY_IMPORT).map((room) => `${room}/README.md`),
    ];
    const dead = documents
      .filter((document) => existsSync(join(projectDir, document)))
      .flatMap((document) => {
        const named = [...read(document).matchAll(/`((?:[\w-]+\/)*[\w-]+\.c?ts)`/g)].map(
          (match) => match[1] ?? "",
        );
        const places = (name: string) => [name, join(dirname(document), name)];
        return named
          .filter((name) => !places(name).some((place) => existsSync(join(projectDir, place))))
          .map((name) => `${document}: ${name}`);
      });
    assert.deepEqual(dead, []);
  });

  it("environment, working directory, streams and exit belong to bin", () => {
    const wrong = files
      .filter((file) => roomOf(file) !== "bin" && !PROCESSES.includes(file))
      .filter((file) => AMBIENT.test(withoutComments(read(file))));
    assert.deepEqual(wrong, []);
  });
});

function sources(dir: string): string[] {
  return readdirSync(join(projectDir, dir), { recursive: true, encoding: "utf8" })
    .filter((name) => /\.c?ts$/.test(name))
    .map((name) => `${dir}/${name}`)
    .sort();
}

function read(file: string): string {
  return readFileSync(join(projectDir, file), "utf8");
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[^]*?\*\//g, "").replace(/(^|\s)\/\/.*$/gm, "$1");
}

/** Static, dynamic and type imports, and re-exports. */
function importsOf(file: string): Import[] {
  const text = withoutComments(read(file));
  const found = [
    ...text.matchAll(/^(?:import|export)\b[^;"']*?\bfrom\s+"([^"]+)"/gm),
    ...text.matchAll(/^import\s+"([^"]+)"/gm),
    ...text.matchAll(/\bimport\(\s*"([^"]+)"\s*\)/g),
  ];
  return found.map((match) => ({ file, to: match[1] ?? "" }));
}

function target(file: string, to: string): string {
  return relative(projectDir, resolve(projectDir, dirname(file), to));
}

function roomOf(file: string): string {
  const rooms = Object.keys(MAY_IMPORT).filter((room) => file.startsWith(`${room}/`));
  return rooms.sort((a, b) => b.length - a.length)[0] ?? "";
}

function isDoor(file: string): boolean {
  return DOORS.some((door) => (door.endsWith("/*") ? file.startsWith(door.slice(0, -1)) : door === file));
}

function show({ file, to }: Import): string {
  return `${file} -> ${to}`;
}
