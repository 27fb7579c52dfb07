// A client whose files are elsewhere: its builds are those of a client on this machine, with what must be sent and no more.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildRequest, type PartialBuildRequest } from "../../../bin/engine/defaults.ts";
import { openEngine } from "../../../bin/engine/engine.ts";
import type { Engine } from "../../../bin/engine/contract.ts";
import type { Output } from "../../../exporters/output-grammar.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import type { ClientFiles, ClientOutputs, Session } from "../../../solver/graph/session.ts";
import { openWorkshop, type Workshop } from "../../build/fixture.ts";
import { NO_SESSION, remoteDirectory } from "../../support/session.ts";
import { testConfig } from "./config.ts";

const DOCKERFILE = `FROM base AS made
COPY . /src/
RUN --mount=target=/context cat /context/sub/b > /read && test ! -e /context/left-out
FROM scratch
COPY --from=made /src /src
COPY --from=made /read /read
COPY --from=more x /x
`;

describe("a client elsewhere", function () {
  this.timeout(120_000);
  let shop: Workshop;
  let engine: Engine;
  let tree: string;
  let more: string;
  let count = 0;

  before(async () => {
    shop = await openWorkshop();
    engine = await openEngine(testConfig(shop.root), { signal: new AbortController().signal });
  });
  after(async () => {
    await engine[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
  });
  beforeEach(() => {
    count++;
    tree = shop.context(`tree-${count}`, {
      Dockerfile: `${DOCKERFILE}LABEL count=${count}\n`,
      ".dockerignore": "left-out\n",
      a: "a",
      "left-out": "not to be sent",
      "sub/b": `b${count}`,
    });
    symlinkSync("a", join(tree, "link"));
    more = shop.context(`more-${count}`, { x: "x", ".dockerignore": "y", y: "y" });
  });

  const sessionOf = (all: Readonly<Record<string, ClientFiles>>, outputs: ClientOutputs | null): Session => ({
    ...NO_SESSION,
    async files(name) {
      const files = all[name];
      if (files === undefined) throw new BuildError("CONTEXT_MISSING", `no build context named "${name}"`);
      return files;
    },
    blobs: async (path) => ({ kind: "here", path }), // the base image
    outputs,
  });
  const here = (path: string): ClientFiles => ({ kind: "here", path });

  async function build(
    asked: Partial<PartialBuildRequest>,
    context: ClientFiles,
    named: ClientFiles = here(more),
    outputs: ClientOutputs | null = null,
  ): Promise<{ digest: string; names: string[] }> {
    const names: string[] = [];
    const request = buildRequest({
      context: { kind: "client", key: "test" },
      buildContexts: new Map([
        ["base", `oci-layout://${shop.at("base")}`],
        ["more", "local:more"],
      ]),
      session: sessionOf({ context, more: named }, outputs),
      ...asked,
    });
    const report = await engine.build(request, {
      signal: new AbortController().signal,
      onSource: () => {},
      emit(event) {
        if (event.kind === "vertex") names.push(event.name);
      },
    });
    return { digest: report.imageDigest ?? "", names };
  }

  it("gets the image that one here gets, and sends nothing that is ignored", async () => {
    const [remote, remoteMore] = [remoteDirectory(tree), remoteDirectory(more)];
    const far = await build({}, remote, remoteMore);
    // Dockerfile and ignore files also by themselves, before it is known what else is wanted.
    const before = [".dockerignore", "Dockerfile"];
    assert.deepEqual(remote.take().sort(), [...before, ".dockerignore", "Dockerfile", "a", "sub/b"].sort());
    // Of the other directory a step takes one file alone.
    assert.deepEqual(remoteMore.take().sort(), [".dockerignore", "x"]);
    assert.equal((await build({}, here(tree))).digest, far.digest);
    const near = await build({ context: { kind: "directory", path: tree } }, here(tree));
    assert.equal(near.digest, far.digest);
  });

  it("sends nothing for a build that has nothing new, and what has changed for another", async () => {
    const remote = remoteDirectory(tree);
    const first = await build({}, remote);
    remote.take();
    assert.equal((await build({}, remote)).digest, first.digest);
    assert.deepEqual(remote.take(), []);
    writeFileSync(join(tree, "sub/b"), "something else");
    assert.notEqual((await build({}, remote)).digest, first.digest);
    assert.deepEqual(remote.take(), ["sub/b"]);
  });

  it("names its Dockerfile in its own directory", async () => {
    mkdirSync(join(tree, "docker"));
    writeFileSync(join(tree, "docker/My"), "FROM scratch\nCOPY a /only\n");
    writeFileSync(join(tree, "docker/My.dockerignore"), "*\n!a\n");
    const remote = remoteDirectory(tree);
    await build({ dockerfile: { kind: "path", path: "docker/My" } }, remote);
    assert.deepEqual(remote.take().sort(), [".dockerignore", "a", "docker/My", "docker/My.dockerignore"]);
    await assert.rejects(build({ dockerfile: { kind: "path", path: "no/such" } }, remote), {
      code: "DOCKERFILE_MISSING",
      message: "failed to read dockerfile: open no/such: no such file or directory",
    });
  });

  it("may build twice at one time, with files that have changed in between", async () => {
    const other = shop.at(`other-${count}`);
    cpSync(tree, other, { recursive: true, verbatimSymlinks: true });
    writeFileSync(join(other, "a"), "changed");
    const both = await Promise.all([
      build({}, remoteDirectory(tree, "one key")),
      build({}, remoteDirectory(other, "one key")),
    ]);
    const apart = [await build({}, here(tree)), await build({}, here(other))];
    assert.deepEqual(
      both.map(({ digest }) => digest),
      apart.map(({ digest }) => digest),
    );
  });

  it("is told when it does not have a directory", async () => {
    const request = buildRequest({ context: { kind: "client", key: "test" }, session: sessionOf({}, null) });
    await assert.rejects(
      engine.build(request, { signal: new AbortController().signal, onSource: () => {}, emit: () => {} }),
      { code: "CONTEXT_MISSING", message: 'no build context named "context"' },
    );
  });

  it("gets its outputs, as files and as directories", async () => {
    const got = shop.at(`got-${count}`);
    mkdirSync(got);
    const outputs: ClientOutputs = {
      async file(name, data) {
        const pieces: Uint8Array[] = [];
        for await (const piece of data) pieces.push(piece);
        writeFileSync(join(got, name), Buffer.concat(pieces));
      },
      async directory(name, path) {
        cpSync(path, join(got, name), { recursive: true, verbatimSymlinks: true });
      },
    };
    const client = (name: string) => ({ kind: "client", name }) as const;
    const files = { kind: "files", platformSplit: null, epochSeconds: null, attestationPrefix: "" } as const;
    const asked: Output[] = [
      { ...files, form: "tar", dest: client("0") },
      { ...files, form: "directory", dest: client("1") },
    ];
    await build({ outputs: asked }, remoteDirectory(tree), here(more), outputs);
    const names = execFileSync("tar", ["-tf", join(got, "0")], { encoding: "utf8" })
      .split("\n")
      .sort();
    assert.ok(names.includes("src/sub/b"), names.join(" "));
    assert.deepEqual(readdirSync(join(got, "1")).sort(), ["read", "src", "x"]);
    assert.equal(readFileSync(join(got, "1/read"), "utf8"), `b${count}`);
    await assert.rejects(build({ outputs: asked }, here(tree)), { code: "OUTPUT_INVALID" });
  });
});
