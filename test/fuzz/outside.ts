// Every parser of external bytes, except the Dockerfile's: any input is parsed or rejected with a BuildError, in time
// that does not grow with the square of the input (threat model D1, I1, T6). Inputs: damaged well-formed ones, and
// prefixes of them followed by many copies of one short piece.

import assert from "node:assert/strict";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execFileSync } from "node:child_process";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { readDecompressed } from "../../cache/layers/decompress.ts";
import { tarReader } from "../../cache/layers/tar.ts";
import { type Challenge, parseChallenges } from "../../cache/registry/auth.ts";
import { dockerCredentials } from "../../cache/registry/docker-config.ts";
import { parseConfig, parseDocument } from "../../cache/registry/documents.ts";
import { openLayout } from "../../cache/registry/layout.ts";
import { formatReference, parseReference } from "../../cache/registry/reference.ts";
import { parseCacheConfig } from "../../cache/remote-cache/config.ts";
import { encodeMountIndex, parseMountIndex } from "../../cache/remote-cache/mount-index.ts";
import { xmlText } from "../../cache/remote-cache/s3-calls.ts";
import { readIgnore } from "../../frontend/dockerignore.ts";
import { parseGitRef } from "../../frontend/git-ref.ts";
import { readBaseImage } from "../../frontend/image-config.ts";
import { parseImageName } from "../../frontend/image-name.ts";
import { ingredientsOf, opText } from "../../solver/cache-key.ts";
import type { Input } from "../../solver/graph/definition.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { decodeOp, encodeHead, encodeOp, openGraph } from "../../solver/graph/llb.ts";
import { STEP_CAPS } from "../../solver/graph/llb-caps.ts";
import { decodeDefinition, encodeDefinition } from "../../solver/graph/llb-definition.ts";
import { compilePatterns } from "../../solver/graph/patterns.ts";
import type { Platform } from "../../solver/graph/op.ts";
import { parsePlatform } from "../../solver/graph/platform.ts";
import { blobs, encode, message } from "../../solver/graph/wire.ts";
import { readsOf } from "../../solver/selectors.ts";
import { runsOf } from "../../worker/ops/file-runs.ts";
import { resolveUser } from "../../worker/sandbox/user.ts";
import { isSysError } from "../../worker/sys/libc.ts";
import { needs } from "../support/needs.ts";
import { projectDir } from "../support/project.ts";
import { makeTar } from "../cache/layers/support.ts";
import { anyOp, anyPlatform } from "../solver/any-op.ts";
import { woundedOf } from "./wounds.ts";

/** Longest time for one input. */
const INPUT_MAX_MS = 2_500;
/** What is linear takes some milliseconds for so many bytes, what is quadratic ten seconds. */
const STRESS_BYTES = 96 * 1024;
const STRESS_SEEDS = 5;

interface Parser {
  readonly seeds: readonly (string | Uint8Array)[];
  read(data: Buffer): unknown;
}

const DIGEST = digestOf("seed");
const json = (value: unknown): string => JSON.stringify(value);
const DESCRIPTOR = {
  mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
  digest: DIGEST,
  size: 7,
  annotations: { a: "b" },
};
const MANIFEST = {
  schemaVersion: 2,
  config: { ...DESCRIPTOR, mediaType: "application/vnd.oci.image.config.v1+json" },
  layers: [DESCRIPTOR],
};
const INDEX = {
  schemaVersion: 2,
  manifests: [{ ...DESCRIPTOR, platform: { os: "linux", architecture: "amd64" } }],
};
const CONFIG = {
  os: "linux",
  architecture: "amd64",
  config: {
    Env: ["A=b"],
    Cmd: ["sh"],
    Labels: { a: "b" },
    Healthcheck: { Test: ["CMD", "x"], Interval: 1 },
    Volumes: { "/v": {} },
  },
  rootfs: { type: "layers", diff_ids: [DIGEST] },
  history: [{ created: "1970-01-01T00:00:00Z", created_by: "x" }],
};
const TAR = makeTar([
  { name: "d/", type: "dir" },
  { name: `d/${"n".repeat(150)}`, content: "text" },
  { name: "link", type: "symlink", link: "d" },
  { name: "xattr", content: "x", xattrs: new Map([["user.a", Buffer.from("b")]]) },
]);
const packedBy = (program: string): Buffer =>
  execFileSync(needs(program), ["-c"], { input: TAR, stdio: ["pipe", "pipe", "ignore"] });
const MOUNT = encodeMountIndex({
  packs: [{ digest: DIGEST, size: 9, pieces: [["a".repeat(64), 4]] }],
  entries: [
    { kind: "directory", path: "", mode: 0o755, uid: 0, gid: 0, mtimeMs: 1, pieces: [], target: "" },
    {
      kind: "file",
      path: "f",
      mode: 0o644,
      uid: 0,
      gid: 0,
      mtimeMs: 1,
      pieces: ["a".repeat(64)],
      target: "",
    },
    { kind: "link", path: "l", mode: 0o777, uid: 0, gid: 0, mtimeMs: 1, pieces: [], target: "f" },
  ],
});
const INPUTS = [0, 1, 2].map((output) => ({ vertex: DIGEST, output }));
const OPS = fc
  .sample(fc.tuple(anyOp, anyPlatform), { numRuns: 60, seed: 1 })
  .map(([op, platform]) => encodeOp(op, platform, INPUTS));
/** The same above a source, as definitions have them. */
const BELOW = encodeOp({ kind: "source", identifier: "https://host/file", attrs: {} }, null, []);
const STEPS = fc
  .sample(fc.tuple(anyOp, anyPlatform), { numRuns: 100, seed: 2 })
  .map(([op, platform]) =>
    encodeOp(op, platform, Array(3).fill({ vertex: digestOf(BELOW), output: 0 }) as Input[]),
  );
const ENTRIES = message({ def: blobs(1) });
const ALL_CAPS: ReadonlySet<string> = new Set([...STEP_CAPS, "exec.meta.cdi"]);

/** Whatever was not refused can be named, keyed and split into work. */
function useStep(data: Uint8Array): void {
  const digest = digestOf(data);
  const def = [BELOW, data, encodeHead({ vertex: digest, output: 0 })];
  const vertex = decodeDefinition(encode(ENTRIES, { def })).vertices.get(digest);
  if (vertex === undefined) throw new Error("the result of the definition is another step");
  const { op, platform, inputs } = vertex;
  opText(ingredientsOf(op, platform));
  readsOf(op, inputs.length);
  if (op.kind !== "file") return;
  const runs = runsOf(op.actions, inputs.length);
  for (const [index, { base }] of runs.entries())
    if (base !== null && base >= inputs.length + index)
      throw new Error("a run starts from one that comes later");
}

const DEFINITION = ((): Uint8Array => {
  const graph = openGraph();
  const at = [{ file: "Dockerfile", start: { line: 1, column: 1 }, end: { line: 1, column: 9 } }];
  const note = { name: "step", ignoreCache: false, at, group: { id: "g", name: "group", weak: true } };
  const base = graph.add(
    { kind: "source", identifier: "https://host/file", attrs: { a: "b" } },
    null,
    [],
    note,
  );
  const root = graph.add({ kind: "merge", inputs: [0, null] }, null, [base], note);
  const file = { data: Buffer.from("FROM a"), language: "Dockerfile", definition: new Uint8Array(0) };
  return encodeDefinition({ ...graph.definition(root), sources: new Map([["Dockerfile", file]]) });
})();

const PARSERS: Readonly<Record<string, Parser>> = {
  "a manifest or an index": {
    seeds: [json(MANIFEST), json(INDEX)],
    read: (data) => parseDocument(data, null, "seed"),
  },
  "an image config": {
    seeds: [json(CONFIG)],
    read: (data) => [
      refused(() => parseConfig(data, null, "seed")),
      settles(
        data,
        (bytes) => readBaseImage(bytes, "seed"),
        ({ image, isEmpty }) => json({ ...image, rootfs: { diff_ids: isEmpty ? [] : [DIGEST] } }),
      ),
    ],
  },
  "a cache config": {
    seeds: [
      json({
        layers: [{ blob: DIGEST, parent: -1 }],
        records: [{ digest: DIGEST, layers: [{ layer: 0 }], inputs: [[{ link: 0 }]] }],
      }),
    ],
    read: (data) => parseCacheConfig(data, [DESCRIPTOR], "seed"),
  },
  "the index of a cache mount": {
    seeds: [Buffer.from(MOUNT)],
    read: (data) => settles(data, parseMountIndex, encodeMountIndex),
  },
  "a tar": {
    seeds: [TAR],
    read(data) {
      const reader = tarReader({ entry: () => {}, data: () => {}, end: () => {} });
      for (let at = 0; at < data.length; at += 1000) reader.push(data.subarray(at, at + 1000));
      reader.finish();
    },
  },
  "a tar of a layout": {
    seeds: [
      makeTar([
        { name: "oci-layout", content: json({ imageLayoutVersion: "1.0.0" }) },
        { name: "index.json", content: json(INDEX) },
      ]),
    ],
    read: (data) => inFile(data, (file) => openLayout(file).find(null)),
  },
  "compressed bytes": {
    seeds: [gzipSync(TAR), ...["zstd", "xz", "bzip2"].map((program) => packedBy(program))],
    read: (data) => inFile(data, (file) => readDecompressed(file, () => true)),
  },
  "challenges of a registry": {
    seeds: [
      'Bearer realm="https://auth/token",service="r",scope="repository:a/b:pull,push", Basic realm="x"',
    ],
    read: (data) => {
      const read = (bytes: Uint8Array) => parseChallenges(Buffer.from(bytes).toString("latin1"));
      if (data.length > 1000)
        read(data); // a long one is cut off, which the written form may be elsewhere
      else settles(data, read, challengeText);
    },
  },
  "an image name": {
    seeds: [`localhost:5000/a/b-c__d:tag@${DIGEST}`, "docker.io/library/x"],
    read: (data) => [
      refused(() => settles(data, (bytes) => parseReference(textOf(bytes)), formatReference)),
      parseImageName(data.toString()),
    ],
  },
  "a git address": {
    seeds: ["https://user:pw@host/a/b.git?ref=x&subdir=y#main:dir", "git@host:a/b.git#tag"],
    read: (data) => parseGitRef(data.toString()),
  },
  "a platform": {
    seeds: ["linux/arm64/v8", "windows(10.0)/amd64"],
    read: (data) => settles(data, (bytes) => parsePlatform(textOf(bytes), LINUX), platformText),
  },
  "an ignore file": {
    seeds: ["# c\n**/*.md\n!a/[b-d]?/**\n\\!x\n"],
    read: (data) => {
      const { patterns } = readIgnore(data);
      return compilePatterns(patterns.slice(0, 50)).matches("a/b/c/README.md");
    },
  },
  "an op": {
    seeds: OPS,
    read: (data) => settles(data, decodeOp, ({ op, platform, inputs }) => encodeOp(op, platform, inputs)),
  },
  "a definition": {
    seeds: [DEFINITION, readFileSync(join(projectDir, "test/golden/go-client.llb"))],
    read: (data) => settles(data, (bytes) => decodeDefinition(bytes, { caps: ALL_CAPS }), encodeDefinition),
  },
  "an op of a definition": { seeds: STEPS, read: useStep },
  "XML of a store of objects": {
    seeds: ["<Error><Code>NoSuchKey</Code><Message>a &amp; b</Message></Error>"],
    read: (data) => xmlText(data.toString(), "Message"),
  },
  "a docker configuration": {
    seeds: [json({ auths: { "localhost:5000": { auth: "dXNlcjpwdw==" } }, credHelpers: {} })],
    read: (data) => {
      const { signal } = new AbortController();
      return inFile(data, (file) => dockerCredentials({ files: [file], env: {}, signal })("localhost:5000"));
    },
  },
  "passwd and group of an image": {
    seeds: ["root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"],
    read: (data) =>
      inFile(data, (file) => {
        const root = join(file, "..", "root");
        mkdirSync(join(root, "etc"), { recursive: true });
        for (const name of ["passwd", "group"]) writeFileSync(join(root, "etc", name), data);
        const fd = openSync(root, "r");
        try {
          return resolveUser(fd, "app");
        } finally {
          closeSync(fd);
        }
      }),
  },
};
const LINUX = { os: "linux", architecture: "amd64" };

/** One property for each parser. */
export const PARSER_PROPERTIES: Readonly<Record<string, fc.IAsyncProperty<unknown>>> = Object.fromEntries(
  Object.entries(PARSERS).map(([name, parser]) => [
    `${name} is read or refused`,
    fc.asyncProperty(woundedOf(parser.seeds), (data) => within(parser.read, data)),
  ]),
);

/** Pieces that parsers may look at again from each place. */
const UNITS = [
  '\\"',
  '"',
  "[",
  '{"a":',
  "a",
  " ",
  "\n",
  "/",
  "../",
  "*/",
  "**",
  "-",
  "a=",
  "&",
  "<a>",
  "\0",
  "1",
  ":",
  "@",
  ",",
  "\u0001",
];
const CUTS = 4;

/** A piece many times behind each of some beginnings of a seed: what a parser with the square of its input takes minutes for. */
export async function stress(name: string): Promise<void> {
  const { seeds, read } = PARSERS[name] as Parser;
  for (const seed of seeds.slice(0, STRESS_SEEDS).map((one) => Buffer.from(one as string))) {
    for (let cut = 0; cut <= CUTS; cut++) {
      for (const unit of UNITS) {
        const head = seed.subarray(0, Math.floor((cut * seed.length) / CUTS));
        await within(read, Buffer.concat([head, Buffer.from(unit.repeat(STRESS_BYTES / unit.length))]));
      }
    }
  }
}

export const PARSER_NAMES: readonly string[] = Object.keys(PARSERS);

/** What was read is written to something that is read as the same: its bytes stay what they are from the first writing on. */
function settles<T>(
  data: Uint8Array,
  read: (data: Uint8Array) => T,
  write: (value: T) => Uint8Array | string,
): void {
  const first = Buffer.from(write(read(data)) as string);
  let second: Buffer;
  try {
    second = Buffer.from(write(read(first)) as string);
  } catch (cause) {
    throw new Error(`what was written is not read: ${JSON.stringify(first.toString("latin1"))}`, { cause });
  }
  assert.equal(second.toString("latin1"), first.toString("latin1"));
}

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** WWW-Authenticate, RFC 9110 section 11.6.1. */
function challengeText(challenges: readonly Challenge[]): Buffer {
  const texts = challenges.map(({ scheme, params }) => {
    const pairs = [...params].map(([name, value]) => `${name}="${value.replace(/["\\]/g, "\\$&")}"`);
    return `${scheme} ${pairs.join(",")}`;
  });
  return Buffer.from(texts.join(", "), "latin1");
}

function platformText({ os, architecture, variant, osVersion }: Platform): string {
  const version = osVersion ? `(${osVersion})` : "";
  return `${os}${version}/${architecture}${variant ? `/${variant}` : ""}`;
}

async function within(read: Parser["read"], data: Buffer): Promise<void> {
  const start = performance.now();
  try {
    await read(data);
  } catch (error) {
    if (!(error instanceof BuildError) && !isSysError(error)) throw error;
  }
  const took = performance.now() - start;
  const shown = JSON.stringify(data.toString("latin1", 0, 200));
  assert.ok(took < INPUT_MAX_MS, `${data.length} bytes that begin ${shown} took ${Math.round(took)} ms`);
}

/** What it gives, or null where it refuses: for a second parser of the same text. */
function refused<T>(work: () => T): T | null {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    return null;
  }
}

async function inFile<T>(data: Buffer, use: (file: string) => T): Promise<Awaited<T>> {
  const dir = mkdtempSync(join(tmpdir(), "fuzz-"));
  try {
    writeFileSync(join(dir, "file"), data);
    return await use(join(dir, "file"));
  } finally {
    rmSync(dir, { recursive: true });
  }
}
