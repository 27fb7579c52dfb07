// Definitions of clients: what Go's LLB library writes, what must be refused, and what is kept as it came.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Input, VertexNote } from "../../solver/graph/definition.ts";
import { type Digest, digestOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { encodeHead, encodeOp, makeVertex, openGraph } from "../../solver/graph/llb.ts";
import { STEP_CAPS } from "../../solver/graph/llb-caps.ts";
import { decodeDefinition, encodeDefinition } from "../../solver/graph/llb-definition.ts";
import type { ExecOp, FileAction, Op } from "../../solver/graph/op.ts";
import { blobs, bytes, encode, flag, map, message, sub } from "../../solver/graph/wire.ts";
import { projectDir } from "../support/project.ts";
import { EXEC } from "./any-op.ts";

/** client/llb of BuildKit wrote it: an image, a local directory, git, http and a layout; a command with all that a command can have; files;
 *  merge, diff and a build step. */
const GO_CLIENT = readFileSync(join(projectDir, "test/golden/go-client.llb"));

const ALL_CAPS = new Set([...STEP_CAPS, "exec.meta.cdi"]);
const A = digestOf("a");
const NOTE: VertexNote = { name: "", ignoreCache: false, at: [], group: null };
const ROOT = { kind: "bind", input: 0, selector: "", target: "/", readonly: false, output: 0 } as const;
const RAW = message({
  def: blobs(1),
  metadata: map(2, sub(2, message({ caps: map(5, flag(2)), rest: bytes(7) }))),
});

describe("a definition of BuildKit's own client", () => {
  const definition = decodeDefinition(GO_CLIENT, { caps: ALL_CAPS });
  const opsOf = <K extends Op["kind"]>(kind: K): Extract<Op, { kind: K }>[] =>
    [...definition.vertices.values()].flatMap(({ op }) =>
      op.kind === kind ? [op as Extract<Op, { kind: K }>] : [],
    );

  it("is understood in all its fields", () => {
    const [run] = opsOf("exec");
    assert.deepEqual(run, {
      kind: "exec",
      args: ["sh", "-c", "true"],
      env: ["A=b", "SSH_AUTH_SOCK=/agent"],
      cwd: "/w",
      user: "u",
      proxyEnv: { httpProxy: "p", httpsProxy: "", ftpProxy: "", noProxy: "", allProxy: "" },
      extraHosts: [{ host: "h", ip: "1.2.3.4" }],
      hostname: "hn",
      ulimits: [{ name: "nofile", soft: 10, hard: 20 }],
      cgroupParent: "cg",
      validExitCodes: [0, 3],
      mounts: [
        ROOT,
        {
          ...{ kind: "cache", id: "cid", input: null, selector: "", target: "/c" },
          ...{ readonly: false, sharing: "locked" },
        },
        { kind: "bind", input: 1, selector: "", target: "/no", readonly: false, output: null },
        { kind: "bind", input: null, selector: "", target: "/out", readonly: false, output: 1 },
        { kind: "bind", input: 2, selector: "/sub", target: "/ro", readonly: true, output: null },
        { kind: "tmpfs", target: "/t", sizeBytes: 4096 },
        { kind: "secret", target: "/s", id: "sid", uid: 1, gid: 2, mode: 0o400, optional: true },
        { kind: "ssh", target: "/agent", id: "ssh", uid: 0, gid: 0, mode: 0o600, optional: false },
      ],
      network: "none",
      security: "insecure",
      secretEnv: [{ id: "se", name: "SE", optional: false }],
      devices: [{ name: "vendor.com/dev=x", optional: true }],
    });
    assert.deepEqual(opsOf("build"), [
      {
        kind: "build",
        builder: -1,
        inputs: { "buildkit.llb.definition": 0 },
        attrs: { "llbbuild.filename": "my.llb" },
      },
    ]);
    assert.deepEqual(opsOf("diff"), [{ kind: "diff", lower: 0, upper: 1 }]);
    const kinds = opsOf("file")[0]?.actions.map(({ kind }) => kind);
    assert.deepEqual(kinds, ["mkdir", "mkfile", "symlink", "rm", "copy"]);
  });

  it("has the names it gives, and for other steps those its builder gives", () => {
    const names = [...definition.notes.values()].map(({ name }) => name);
    assert.ok(names.includes("the base"));
    assert.ok(names.includes("sh -c true"));
    assert.ok(names.includes("mkdir /d, mkfile /d/f, symlink /d/l -> /d/f, rm /d/x, copy /x* /y/"));
    assert.ok(names.includes("diff (the base) -> (sh -c true)"));
    assert.ok(names.includes("build"));
  });

  it("says of a step that it is not to be cached, and which group it belongs to", () => {
    const note = [...definition.notes.values()].find(({ name }) => name === "sh -c true");
    assert.equal(note?.ignoreCache, true);
    assert.deepEqual(note?.group, { id: "pg", name: "group", weak: true });
  });

  it("keeps its digests, and goes on in the bytes it came in", () => {
    for (const { digest, encoded } of definition.vertices.values()) {
      assert.ok(encoded !== undefined);
      assert.equal(digest, digestOf(encoded));
    }
    const again = decodeDefinition(encodeDefinition(definition)); // which says nothing of capabilities
    assert.deepEqual([...again.vertices], [...definition.vertices]);
    assert.deepEqual(again.root, definition.root);
    assert.deepEqual(again.notes, definition.notes);
  });

  it("is refused by the name of a capability that is not offered", () => {
    const caps = new Set<string>();
    for (;;) {
      const { message } = refusal(() => decodeDefinition(GO_CLIENT, { caps })) ?? {};
      if (message === undefined) break;
      const [, name = ""] = /^unknown API capability (\S+)$/.exec(message) ?? [];
      assert.notEqual(name, "", message);
      caps.add(name);
    }
    assert.equal(caps.size, 37, [...caps].sort().join(" "));
    // Of all that this client may ask for, devices alone are not offered.
    assert.deepEqual(
      [...caps].filter((name) => !STEP_CAPS.includes(name)),
      ["exec.meta.cdi"],
    );
    assert.match(
      refusal(() => decodeDefinition(GO_CLIENT))?.message ?? "",
      /^unknown API capability exec\.meta\.cdi$/,
    );
  });
});

describe("a definition from outside", () => {
  it("may be encoded as its client likes: the digest is that of its bytes", () => {
    // The same op with its platform before its source: no encoder of ours writes that.
    const platform = Buffer.from("520e0a05616d64363412056c696e7578", "hex");
    const source = Buffer.from("1a030a0178", "hex");
    const def = [Buffer.concat([platform, source]), Buffer.concat([source, platform])];
    const [one, other] = def.map((data) => {
      const digest = digestOf(data);
      const bytes = encode(RAW, { def: [data, encodeHead({ vertex: digest, output: 0 })] });
      const definition = decodeDefinition(bytes);
      assert.deepEqual([...definition.vertices.keys()], [digest]);
      assert.deepEqual(encodeDefinition(definition).length > bytes.length, true); // with metadata
      assert.deepEqual(decodeDefinition(encodeDefinition(definition)).root, { vertex: digest, output: 0 });
      return definition.vertices.get(digest);
    });
    assert.deepEqual(one?.op, other?.op);
    assert.notEqual(one?.digest, other?.digest);
  });

  it("has platforms in the form that compares equal", () => {
    const graph = openGraph();
    const root = graph.add(EXEC_ROOTED, { os: "Linux", architecture: "x86_64" }, [
      graph.add({ kind: "source", identifier: "docker-image://a", attrs: {} }, { os: "", architecture: "" }, [], NOTE),
    ], NOTE); // biome-ignore format: short
    const { vertices } = decodeDefinition(encodeDefinition(graph.definition(root)));
    const platforms = [...vertices.values()].map(({ platform }) => platform);
    assert.deepEqual(platforms, [null, { os: "linux", architecture: "amd64" }]);
  });

  it("may limit one step, and say whether its result is exported to caches", () => {
    const graph = openGraph();
    const resources = {
      ...{
        memoryBytes: 1 << 26,
        memorySwapBytes: -1,
        cpuShares: 512,
        cpuPeriodUs: 50_000,
        cpuQuotaUs: 10_000,
      },
      ...{ cpusetCpus: "0-1", cpusetMems: null },
    };
    const root = graph.add(EXEC_ROOTED, null, [sourceIn(graph)], {
      ...NOTE,
      name: "x",
      resources,
      exportCache: false,
    });
    const { notes } = decodeDefinition(encodeDefinition(graph.definition(root)));
    assert.deepEqual(notes.get(root.vertex), { ...NOTE, name: "x", resources, exportCache: false });
  });

  it("brings the text of the files its steps come from", () => {
    const graph = openGraph();
    const at = [{ file: "build.go", start: { line: 3, column: 1 }, end: { line: 3, column: 9 } }];
    const root = graph.add(EXEC_ROOTED, null, [sourceIn(graph)], { ...NOTE, name: "x", at });
    const file = { data: Buffer.from("package main"), language: "Go", definition: Buffer.from("its origin") };
    const made = { ...graph.definition(root), sources: new Map([["build.go", file]]) };
    const definition = decodeDefinition(encodeDefinition(made));
    const { data, language, definition: origin } = definition.sources?.get("build.go") ?? assert.fail();
    assert.deepEqual(
      [Buffer.from(data).toString(), language, Buffer.from(origin).toString()],
      ["package main", "Go", "its origin"],
    );
    assert.deepEqual(definition.notes.get(root.vertex)?.at, at);
    // And hands it on.
    assert.deepEqual(decodeDefinition(encodeDefinition(definition)).sources, definition.sources);
  });

  it("is refused when a step wants an output that another does not have", () => {
    for (const [op, output, words] of [
      [EXEC_ROOTED, 1, /step of the kind exec has no output 1/],
      [{ kind: "merge", inputs: [0] }, 1, /kind merge has no output 1/],
      [{ kind: "passthrough", id: "p", outputs: [0] }, 7, /kind passthrough has no output 7/],
    ] as const) {
      assert.match(rejected(op as Op, output), words);
    }
    assert.equal(rejected({ kind: "passthrough", id: "p", outputs: [0, 0] }, 1), "");
  });

  it("is refused with a sentence for each field that cannot be meant", () => {
    const exec = (more: Partial<ExecOp>): Op => ({ ...EXEC_ROOTED, ...more });
    const tmpfs = { kind: "tmpfs", target: "/", sizeBytes: null } as const;
    const secret = {
      kind: "secret",
      id: "s",
      target: "/s",
      uid: 0,
      gid: 0,
      mode: 0o400,
      optional: false,
    } as const;
    const mkdir: FileAction = {
      kind: "mkdir",
      base: null,
      output: 0,
      path: "/a",
      mode: 0o755,
      makeParents: false,
      owner: null,
      timestampNs: null,
    };
    const file = (...actions: FileAction[]): Op => ({ kind: "file", actions });
    const cases: readonly (readonly [Op, RegExp])[] = [
      [exec({ args: [] }), /a command has no arguments/],
      [exec({ args: ["a\0b"] }), /an argument of a command has a zero byte/],
      [exec({ env: ["A"] }), /"A" is not NAME=VALUE/],
      [exec({ env: ["A=b\0"] }), /environment variable has a zero byte/],
      [exec({ hostname: "a b" }), /"a b" is no host name/],
      [exec({ extraHosts: [{ host: "a\nb", ip: "1.2.3.4" }] }), /is no host name/],
      [exec({ extraHosts: [{ host: "a", ip: "1.2.3" }] }), /the host "a" has no IP address: "1.2.3"/],
      [exec({ secretEnv: [{ id: "", name: "A", optional: false }] }), /variable "A" has no id/],
      [exec({ secretEnv: [{ id: "a", name: "A=", optional: false }] }), /no name of an environment variable/],
      [exec({ mounts: [] }), /no root file system/],
      [exec({ mounts: [tmpfs] }), /type tmpfs cannot be the root file system/],
      [exec({ mounts: [ROOT, ROOT] }), /more than one root file system/],
      [exec({ mounts: [ROOT, { ...ROOT, target: "/a" }] }), /two mounts are output 0/],
      [exec({ mounts: [ROOT, { ...tmpfs, target: "/a", sizeBytes: -5 }] }), /cannot have -5 bytes/],
      [exec({ mounts: [ROOT, { ...secret, id: "" }] }), /a secret mount has no id/],
      [exec({ mounts: [ROOT, { ...secret, uid: 2 ** 32 }] }), /4294967296 is no user or group id/],
      [
        exec({ mounts: [ROOT, { ...ROOT, target: "/a", selector: "/x", output: 1, contentCache: "on" }] }),
        /mount at "\/a" cannot be cached by content/,
      ],
      [file(), /a file step has no actions/],
      [file({ ...mkdir, output: null }), /a file step has no outputs/],
      [file({ ...mkdir, output: 1 }), /a file step has no output 0/],
      [file(mkdir, { ...mkdir, base: 1 }), /two actions of a file step are its output 0/],
      [file({ ...mkdir, path: "/a\0" }), /a path to mkdir has a zero byte/],
      [file({ ...mkdir, mode: 2 ** 33 }), /8589934592 is no file mode/],
      [file({ ...mkdir, owner: { user: { kind: "id", id: 2 ** 33 }, group: null } }), /no user or group id/],
      [{ kind: "passthrough", id: "", outputs: [0] }, /a passthrough step has no id/],
      [{ kind: "passthrough", id: "a", outputs: [] }, /a passthrough step has no outputs/],
    ];
    for (const [op, words] of cases) assert.match(rejected(op, 0), words);
    assert.equal(rejected(EXEC_ROOTED, 0), "");
    assert.equal(rejected(file(mkdir), 0), "");
  });

  it("is refused with network and security modes that are not offered, by what they are", () => {
    // meta { args }, mounts { dest "/" }, then network 3 (through a proxy) or security 2.
    const body = "0a030a01611203" + "1a012f";
    for (const [more, words] of [
      ["1803", /invalid network mode 3: it is not supported/],
      ["2002", /invalid security mode 2: it is not supported/],
    ] as const) {
      const raw = Buffer.from(body + more, "hex");
      const data = Buffer.concat([Buffer.from([0x12, raw.length]), raw]);
      const bytes = encode(RAW, { def: [data, encodeHead({ vertex: digestOf(data), output: 0 })] });
      assert.match(refusal(() => decodeDefinition(bytes))?.message ?? "", words);
    }
  });

  it("cannot be made of more steps than there are bytes, nor of a step that is its own input", () => {
    const vertex = makeVertex({ kind: "merge", inputs: [0] }, null, [{ vertex: A, output: 0 }]);
    const data = encodeOp(vertex.op, null, vertex.inputs);
    const bytes = encode(RAW, { def: [data, encodeHead({ vertex: vertex.digest, output: 0 })] });
    assert.match(refusal(() => decodeDefinition(bytes))?.message ?? "", /is missing/);
  });

  it("may be as deep as it is long", () => {
    const graph = openGraph();
    let top = sourceIn(graph);
    for (let index = 0; index < 20_000; index++)
      top = graph.add({ kind: "merge", inputs: [0] }, null, [top], NOTE);
    const { vertices } = decodeDefinition(encodeDefinition(graph.definition(top)));
    assert.equal(vertices.size, 20_001);
  });
});

const EXEC_ROOTED: ExecOp = { ...EXEC, mounts: [ROOT] };

function sourceIn(graph: ReturnType<typeof openGraph>): Input {
  return graph.add({ kind: "source", identifier: "docker-image://a", attrs: {} }, null, [], NOTE);
}

/** What is said of a definition of one op above a source; "": nothing. */
function rejected(op: Op, output: number): string {
  const source = makeVertex({ kind: "source", identifier: "docker-image://a", attrs: {} }, null, []);
  const inputs = [{ vertex: source.digest, output: 0 }];
  const data = encodeOp(op, null, inputs);
  const root: Digest = digestOf(data);
  const def = [encodeOp(source.op, null, []), data, encodeHead({ vertex: root, output })];
  return refusal(() => decodeDefinition(encode(RAW, { def })))?.message ?? "";
}

function refusal(work: () => unknown): BuildError | null {
  try {
    work();
    return null;
  } catch (error) {
    if (error instanceof BuildError) return error;
    throw error;
  }
}
