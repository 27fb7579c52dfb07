// The table of doors. Checks every import statement of the sources and fails on one that goes up, sideways, or past a door.
// A new door is a line in this file, visible in review.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { projectDir } from "./support/project.ts";

/** Which rooms a room may import from. Its own files it may always import. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  bin: [
    "bin/engine",
    "bin/wire",
    "bin/daemon",
    "bin/remote",
    "frontend",
    "solver",
    "exporters",
    "worker",
    "worker/sbom",
    "cache",
    "solver/graph",
  ],
  "bin/daemon": [
    "bin/engine",
    "bin/wire",
    "bin",
    "frontend",
    "exporters",
    "cache",
    "worker/sys", // a message to the service manager
    "solver/graph",
  ],
  "bin/remote": ["bin/engine", "bin/wire", "frontend", "exporters", "cache", "solver/graph"],
  "bin/wire": ["cache", "solver/graph"],
  "bin/engine": ["frontend", "solver", "exporters", "worker", "worker/sbom", "cache", "solver/graph"],
  frontend: ["solver/graph"],
  solver: ["worker", "cache", "solver/graph"],
  exporters: ["cache", "solver/graph"],
  worker: ["worker/sbom", "cache", "worker/sys", "solver/graph"],
  "worker/sbom": ["cache", "solver/graph"],
  cache: ["worker/sys", "solver/graph"],
  "solver/graph": [],
  "worker/sys": [],
};

/** The files of a room that others may import. The two ground floors are open as a whole. */
const DOORS: readonly string[] = [
  "bin/args.ts", // flags, also of tsbuildd
  "bin/cache-attributes.ts",
  "bin/cache-flags.ts", // caches, also of clients of tsbuildd
  "bin/call-output.ts", // answers of --call, also for clients of tsbuildd
  "bin/config.ts",
  "bin/flags-values.ts",
  "bin/format.ts", // times, as flags and configuration have them
  "bin/local-store.ts",
  "bin/progress-state.ts",
  "bin/ssh-sockets.ts",
  "bin/storage-limit.ts",
  "bin/otlp.ts",
  "bin/tracing.ts", // spans, also of builds of tsbuildd
  "bin/version.ts",
  "bin/without-credentials.ts", // texts for others
  "bin/daemon/buildctl.ts",
  "bin/daemon/main.ts",
  "bin/daemon/own-build.ts", // frontends in images, for builds of the command
  "bin/remote/remote.ts",
  "bin/remote/address.ts", // the words of --builder
  "bin/remote/plan.ts", // what a frontend is told, also one on this machine
  "bin/remote/answer.ts",
  "bin/remote/failure.ts",
  "bin/remote/session-server.ts", // names of sessions
  "bin/remote/control.ts", // who a builder is
  "bin/remote/solve-request.ts", // what only this machine does
  "bin/wire/*",
  "bin/engine/host-platforms.ts",
  "bin/engine/engine.ts",
  "bin/engine/request.ts", // what it is asked and answers
  "bin/engine/contract.ts", // the engine as its users see it
  "bin/engine/bridge-contract.ts", // a build as its frontends see it
  "bin/engine/source-metadata.ts",
  "bin/engine/config.ts", // settings of machine and user
  "bin/engine/defaults.ts", // requests without flags
  "bin/engine/cache-location.ts",
  "bin/engine/cache-mounts.ts",
  "bin/engine/signature-policy.ts", // what images have to be signed by
  "bin/engine/source-policy.ts", // rules about sources
  "bin/engine/strict-json.ts",
  "bin/engine/lock.ts", // what references stand for
  "bin/engine/lock-document.ts", // the file that says so
  "bin/engine/lock-changes.ts",
  "bin/engine/lock-policy.ts", // for builders elsewhere
  "bin/engine/compare/contract.ts", // what was compared and found
  "bin/engine/compare/findings.ts",
  "bin/engine/compare/fix.ts", // patches of Dockerfiles
  "bin/engine/compare/follow-stages.ts",
  "bin/engine/compare/steps.ts", // stages that steps copy from
  "bin/engine/context-files.ts", // how long a Dockerfile may be
  "bin/engine/archives.ts", // load and import, which need the store alone
  "bin/engine/images/address.ts", // the words for where images are
  "bin/engine/images/contract.ts",
  "bin/engine/images/given-descriptor.ts",
  "bin/engine/local-images.ts",
  "bin/engine/local-store.ts",
  "bin/engine/registry-client.ts",
  "frontend/frontend.ts",
  "frontend/contract.ts",
  "frontend/instruction.ts", // a Dockerfile as data
  "frontend/parse.ts", // lines of steps in a Dockerfile that is not built now
  "frontend/changes.ts", // --change of import
  "frontend/git-ref.ts", // which addresses are repositories
  "solver/solver.ts",
  "solver/traces.ts", // what --explain looks at
  "solver/graph/*",
  "exporters/exporter.ts",
  "exporters/contract.ts",
  "exporters/image.ts", // the documents of an image that import makes
  "exporters/annotations.ts", // the words of --annotation
  "exporters/attestation/detail.ts",
  "exporters/attestation/grammar.ts", // the words of --attest
  "exporters/attestation/json-text.ts", // what others wrote stays as it is
  "exporters/attestation/llb-json.ts", // steps as provenance has them
  "exporters/attestation/provenance.ts",
  "exporters/attestation/statement.ts", // what was said of an image, of the same image in another form
  "exporters/cache-early.ts", // layers that leave while the build goes on
  "exporters/early.ts",
  "exporters/cache-export.ts",
  "exporters/docker.ts", // docker load
  "exporters/oci.ts", // archives of copied images
  "exporters/layout-directory.ts", // layouts that builders elsewhere write
  "exporters/go-json.ts", // JSON as docker buildx prints it
  "exporters/referrers.ts", // lists of what refers to an image, in registries that make none
  "exporters/raw-index.ts", // indexes that are joined and cut
  "exporters/file-output.ts", // files that appear whole
  "exporters/signature/*", // keys, signing and verifying, also by commands of their own
  "exporters/writable.ts", // whether they can be
  "exporters/output-grammar.ts", // the words of --output
  "worker/worker.ts",
  "worker/contract.ts",
  "worker/cgroup-limits.ts", // the words of --memory and its like
  "worker/step-conditions.ts", // what verify makes different
  "worker/process-bound.ts", // and how many processes a step may have without them
  "worker/emulation.ts", // the platforms of this machine
  "worker/probe.ts", // doctor
  "worker/probe-words.ts",
  "worker/keeper/keeper.ts",
  "worker/keeper/contract.ts",
  "worker/keeper/messages.ts", // what the keeper can be asked
  "worker/keeper/userns.ts",
  "worker/sandbox/oci-runtime.ts", // which program runs a step
  "worker/sources/git.ts", // contexts that are fetched before there is a Dockerfile
  "worker/sources/http.ts",
  "worker/sources/receive.ts", // contexts that clients send
  "worker/sys/*",
  "worker/sbom/contract.ts",
  "worker/sbom/scan.ts", // what the keeper runs
  "worker/sbom/documents.ts", // what the front writes of it
  "cache/store.ts",
  "cache/contract.ts", // the store as its users see it
  "cache/check.ts", // fsck
  "cache/claims.ts", // what images say of their layers
  "cache/table-annotations.ts", // and of their tables of contents
  "cache/origins.ts", // which repositories have what
  "cache/block-indexes.ts", // which blobs are known block by block
  "cache/ceiling.ts", // how large a store may become
  "cache/collect.ts", // du and prune
  "cache/usage-entry.ts",
  "cache/prune-filter.ts",
  "cache/history-files.ts", // builds of a daemon
  "cache/linear-regexp.ts", // of filters and policies
  "cache/image-record.ts", // names and IDs of images as keys
  "cache/near-image.ts", // what is here in place of an image that is not
  "cache/program.ts", // programs of this machine
  "cache/disk-fault.ts", // the words for disks that take no more
  "cache/outside.ts", // trees and files that others made
  "cache/registry/proxy.ts",
  "cache/registry/certificates.ts",
  "cache/registry/places.ts", // mirrors and other locations
  "cache/registry/toml.ts", // the daemon's configuration
  "cache/remote-cache/*", // manifests and places of caches elsewhere
  "cache/selection-files.ts",
  "cache/path-hash.ts", // files as entries: read, filtered, picked, hashed
  "cache/stat-cache.ts",
  "cache/selection-memory.ts",
  "cache/synced-files.ts",
  "cache/received-files.ts",
  "cache/tree-follow.ts",
  "cache/tree.ts",
  "cache/tree-filter.ts",
  "cache/tree-live.ts",
  "cache/tree-select.ts",
  "cache/layers/decompress.ts", // archives of images
  "cache/layers/compress-block.ts", // what packed layers are made by
  "cache/layers/earlier-blocks.ts",
  "cache/layers/apply.ts", // layers as tars: what the keeper runs
  "cache/layers/archive.ts",
  "cache/layers/export-tree.ts",
  "cache/layers/file-digests.ts",
  "cache/layers/levels.ts", // what may be asked for
  "cache/layers/listing.ts", // what fsck and the keeper know of a layer's directory
  "cache/layers/implied.ts", // what a stack of layers has to put right
  "cache/layers/ids.ts",
  "cache/layers/names.ts", // the marks of layers
  "cache/layers/owner.ts",
  "cache/layers/pack.ts",
  "cache/layers/remove-tree.ts",
  "cache/layers/tar.ts", // members of layers that are counted or compared
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
  "cache/registry/auth.ts", // tokens that a builder asks its client for
  "cache/registry/contract.ts",
  "cache/registry/docker-config.ts",
  "cache/registry/docker-login.ts",
  "cache/registry/documents.ts",
  "cache/registry/image.ts",
  "cache/registry/platform-match.ts", // which of several images is meant
  "cache/registry/image-archive.ts", // load
  "cache/registry/layout.ts",
  "cache/registry/layout-lock.ts", // writers of a layout's index
  "cache/registry/tar-members.ts", // what an archive is of
  "cache/registry/reference.ts",
  "cache/registry/referrers.ts", // the name of a list where registries make none
  "cache/registry/transport.ts", // downloads by URL go the same way
  "cache/registry/exchange.ts",
  "cache/registry/pace.ts",
];

/** Who may use which package: each one is behind a file or two of ours. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "@bufbuild/protobuf": ["bin/wire", "bin/daemon", "bin/remote"],
  "@noble/ciphers": ["exporters/signature/sigstore-key.ts"],
  "@sigstore/bundle": ["exporters/signature/sigstore-bundle.ts"],
  "@sigstore/protobuf-specs": ["exporters/signature/sigstore-bundle.ts"],
  "@sigstore/verify": ["exporters/signature/sigstore-bundle.ts"],
  "@opentelemetry/api": ["bin/otlp.ts"],
  "@opentelemetry/core": ["bin/otlp.ts"],
  "@opentelemetry/exporter-trace-otlp-proto": ["bin/otlp.ts"],
  "@opentelemetry/resources": ["bin/otlp.ts"],
  "@opentelemetry/sdk-trace-base": ["bin/otlp.ts"],
  "@foxglove/wasm-zstd": ["cache/layers"],
  aws4fetch: ["cache/remote-cache/s3-calls.ts"],
  "dockerfile-ast": ["frontend"],
  fzstd: ["cache/layers"],
  koffi: ["worker/sys"],
  lmdb: ["cache/records.ts", "cache/records-file.ts"],
  "lru-cache": ["cache/registry/remembered.ts"],
  "p-queue": ["bin/engine/engine.ts", "solver"],
  "packageurl-js": ["worker/sbom/purl.ts"],
  pako: ["cache/layers"],
  pbf: ["solver/graph"],
  "prom-client": ["bin/daemon/prometheus.ts"],
  re2js: ["cache/linear-regexp.ts"],
  "smol-toml": ["cache/registry/toml.ts"],
  "spdx-expression-parse": ["worker/sbom/licenses.ts"],
  "sql.js": ["worker/sbom/rpm-sqlite.ts", "worker/sbom/sql-js.d.ts"],
  "tar-stream": ["exporters/tar-bytes.ts"],
  "unbzip2-stream": ["cache/layers"],
  undici: ["cache/registry/carrier-undici.ts", "cache/registry/undici-parts.d.ts"],
  "xz-decompress": ["cache/layers"],
};

/** What reaches outside of a function's arguments belongs to bin/, and to the files that begin a process. */
const AMBIENT = /\bprocess\.(?:env|cwd|exit|argv|chdir|stdout|stderr|stdin)\b|\bconsole\.\w+\(/;
const PROCESSES: readonly string[] = [
  "solver/graph/bundle.cts",
  "bin/daemon/buildctl.ts",
  "bin/daemon/main.ts",
  "worker/keeper/main.ts",
  "worker/keeper/thread.ts",
];

/** Calls of node:fs that act on open files. All others take a path, whose links they follow. */
const BY_DESCRIPTOR: readonly string[] = [
  "closeSync",
  "constants",
  "fchmodSync",
  "fchownSync",
  "fdatasyncSync",
  "fstatSync",
  "fsyncSync",
  "ftruncateSync",
  "futimesSync",
  "readSync",
  "writeSync",
];

/** The files that use calls with paths, and on what. Trees of others (contexts, checkouts, layers, layouts, cache mounts) are
 *  not among it: they are reached through `cache/outside.ts` or `worker/sys/file.ts`, below a descriptor. */
const PATH_CALLS: Readonly<Record<string, readonly string[]>> = {
  "names below a descriptor, each of one component": [
    "bin/context-copy.ts",
    "bin/engine/compare/dir-tree.ts",
    "cache/outside.ts",
    "cache/tree-live.ts",
  ],
  "the store's own files": [
    "bin/engine/archives.ts",
    "bin/engine/build-context.ts",
    "bin/engine/cache-mounts.ts",
    "bin/engine/compare/sides.ts",
    "bin/engine/compare/stored-layer.ts",
    "bin/engine/compare/tar-tree.ts",
    "bin/engine/layer-source.ts",
    "bin/engine/tree-files.ts",
    "cache/cache-mounts.ts",
    "cache/ceiling.ts",
    "cache/check.ts",
    "cache/claim.ts",
    "cache/collect.ts",
    "cache/content.ts",
    "cache/history-files.ts",
    "cache/image-names.ts",
    "cache/layer-store.ts",
    "cache/layers/apply.ts",
    "cache/layers/decompress.ts",
    "cache/layers/earlier-blocks.ts",
    "cache/layers/export-tree.ts",
    "cache/layers/file-digests.ts",
    "cache/layers/implied.ts",
    "cache/layers/pack.ts",
    "cache/leases.ts",
    "cache/locks.ts",
    "cache/note-key.ts",
    "cache/records-file.ts",
    "cache/records.ts",
    "cache/set-aside.ts",
    "cache/spare.ts",
    "cache/store.ts",
    "worker/launcher/install.ts",
    "worker/ops/stack.ts",
    "worker/probe-try.ts",
  ],
  "files and directories the user names": [
    "bin/build-request.ts",
    "bin/builder-choice.ts",
    "bin/remote-build.ts", // the context's real path
    "bin/lock-file.ts", // the file that links lead to
    "bin/local-build.ts",
    "bin/commands/image/append.ts",
    "bin/engine/images/change.ts", // tars that become layers
    "bin/commands/diff.ts",
    "bin/commands/verify.ts",
    "bin/engine/context-files.ts", // says only where a path leads
    "bin/context-source.ts",
    "bin/flags-run.ts",
    "bin/local-session.ts",
    "cache/disk-fault.ts", // says only which file system
    "cache/registry/certificates.ts",
    "cache/registry/docker-login.ts",
    "cache/registry/registries-conf.ts",
    "exporters/file-output.ts",
    "exporters/files.ts",
    "exporters/writable.ts",
    "worker/sandbox/oci-runtime.ts",
    "worker/sources/local.ts", // is the directory there
    "worker/sources/image.ts", // where links lead that stand for a layout
    "bin/daemon/buildctl.ts", // which socket is there
    "bin/daemon/dial.ts",
    "bin/daemon/listen.ts", // sockets and certificates
  ],
  "one file by its path, opened without following it": ["cache/layers/archive.ts"],
  "a private directory made a moment ago": [
    "bin/daemon/remote-session.ts", // sockets of agents
    "bin/engine/context-archive.ts",
    "bin/verify-request.ts",
    "bin/verify.ts",
    "bin/remote/plan.ts",
    "bin/ssh-agent.ts",
    "bin/ssh-sockets.ts",
    "bin/step-log.ts",
    "cache/remote-cache/mount-pack.ts",
    "worker/ops/export.ts",
    "worker/sandbox/launcher-file.ts",
    "worker/sandbox/mount-sources.ts",
    "worker/sandbox/network.ts",
    "worker/sandbox/oci-bundle.ts",
    "worker/sandbox/ssh-relay.ts",
    "worker/sys/mount.ts",
  ],
  "what the kernel and the machine tell: /proc, /sys, /etc, $PATH": [
    "bin/daemon/config.ts", // groups
    "worker/sandbox/builtin.ts", // processors
    "bin/engine/host-network.ts",
    "bin/engine/store-sync.ts",
    "cache/layers/ids.ts",
    "cache/owner.ts",
    "worker/cgroup-place.ts",
    "worker/cgroup.ts",
    "worker/emulation.ts",
    "worker/keeper/network-helper.ts",
    "worker/keeper/userns.ts",
    "worker/killed.ts",
    "worker/probe-files.ts",
    "worker/process-bound.ts",
    "worker/sandbox/forwarder.ts",
    "worker/sandbox/process-bound.ts",
    "worker/sandbox/step.ts",
  ],
  "our own program, and its compiled code in a directory that is looked at first": [
    "bin/version.ts",
    "solver/graph/bundle.cts",
    "solver/graph/code-cache.cts",
  ],
};

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

  it("no file needs itself by way of others, for types either", () => {
    const to = new Map(
      files.map((file) => [file, own.filter((one) => one.file === file).map((one) => one.to)]),
    );
    const isOver = new Set<string>();
    const circles: string[] = [];
    const visit = (file: string, way: readonly string[]): void => {
      if (way.includes(file)) circles.push([...way.slice(way.indexOf(file)), file].join(" -> "));
      if (isOver.has(file) || way.includes(file)) return;
      for (const next of to.get(file) ?? []) visit(next, [...way, file]);
      isOver.add(file);
    };
    for (const file of files) visit(file, []);
    assert.deepEqual(circles, []);
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

  it("trees of others are reached through descriptors: files that use paths are few, and listed", () => {
    const listed = Object.values(PATH_CALLS).flat().sort();
    assert.deepEqual(files.filter((file) => pathCallsOf(file).length > 0).sort(), listed);
  });

  it("no file of ours leaves missing parents to Node's mkdir, which tries for ever below /proc", () => {
    const wrong = files.filter((file) => /mkdir(?:Sync)?\([^;]*recursive/.test(withoutComments(read(file))));
    assert.deepEqual(wrong, []);
  });

  it("an engine is told who calls it, and on what machine", () => {
    const asks = /\bprocess\.|\bisTTY\b|\b(?:homedir|userInfo|hostname)\(/;
    const inside = files.filter((file) => roomOf(file) === "bin/engine");
    assert.ok(inside.length > 20);
    assert.deepEqual(
      inside.filter((file) => asks.test(withoutComments(read(file)))),
      [],
    );
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
  // Lines first: they may speak of "certs/*".
  return text.replace(/(^|\s)\/\/.*$/gm, "$1").replace(/\/\*[^]*?\*\//g, "");
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

/** What a file takes of node:fs that needs a path; "*" when it takes the module. */
function pathCallsOf(file: string): string[] {
  const text = withoutComments(read(file));
  const lists = [...text.matchAll(/^import\s+\{([^}]*)\}\s+from\s+"node:fs(?:\/promises)?"/gm)];
  const named = lists.flatMap((match) => (match[1] ?? "").split(","));
  const whole = [
    ...text.matchAll(
      /^import\s+(?!\{|type\b).*"node:fs(?:\/promises)?"|(?:require|import)\("node:fs(?:\/promises)?"\)/gm,
    ),
  ];
  return [
    ...named
      .map((name) => name.trim())
      .filter((name) => name !== "" && !name.startsWith("type ") && !BY_DESCRIPTOR.includes(name)),
    ...whole.map(() => "*"),
  ];
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
