// Graphs of clients: what a Go program with BuildKit's client library does, by direct calls.

import { create, fromBinary } from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { ClientHttp2Session } from "node:http2";
import { serveSession, type SessionServer } from "../../bin/remote/session-server.ts";
import { decodeBytes } from "../../bin/wire/bytes-message.ts";
import { callUnary, openCall } from "../../bin/wire/client.ts";
import {
  PruneRequestSchema,
  StatusRequestSchema,
  StatusResponseSchema,
} from "../../bin/wire/messages/moby/buildkit/v1/control_pb.ts";
import {
  PingRequestSchema,
  PongResponseSchema,
  ReturnRequestSchema,
  ReturnResponseSchema,
} from "../../bin/wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import {
  type FinalizeExportRequest,
  FinalizeExportRequestSchema,
  FinalizeExportResponseSchema,
  type FindExportersRequest,
  FindExportersRequestSchema,
  FindExportersResponseSchema,
} from "../../bin/wire/messages/moby/exporter/v1/exporter_pb.ts";
import { DefinitionSchema } from "../../bin/wire/messages/pb/ops_pb.ts";
import { type Handler, unary } from "../../bin/wire/server.ts";
import { CODE, RpcError } from "../../bin/wire/status.ts";
import { toBinary } from "@bufbuild/protobuf";
import { openGraph } from "../../solver/graph/llb.ts";

import { digestOf } from "../../solver/graph/digest.ts";
import { startServer } from "../support/registry.ts";
import { files, messageOf, mkdir, mkfile, openDriven, refOf, symlink } from "./driven.ts";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { type CalledDaemon, openCalledDaemon } from "../support/daemon.ts";
import { accounts } from "../support/unprivileged.ts";

const BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge";
const CONTROL = "/moby.buildkit.v1.Control";

for (const account of accounts()) {
  describe(`graphs of clients, built by tsbuildd as ${account.name}`, function () {
    this.timeout(60_000);
    let shop: Workshop;
    let daemon: CalledDaemon;
    let http: ClientHttp2Session;
    const { signal } = new AbortController();

    before(async () => {
      shop = await openWorkshop(account);
      daemon = await openCalledDaemon(shop);
      ({ http } = daemon);
    });
    after(async () => {
      await daemon[Symbol.asyncDispose]();
      shop[Symbol.dispose]();
    });

    const { control, driven, bridgeOf } = openDriven(() => http, signal);

    it("are looked into, range by range and name by name", async () => {
      await driven(async (bridge) => {
        const ref = await bridge.solve(
          files([
            mkdir("/dir", 0o755),
            mkfile("/dir/a.txt", "hello world", 0o640),
            mkfile("/dir/b.md", "b", 0o755),
            symlink("/link", "dir/a.txt"),
          ]),
        );
        assert.equal(await bridge.read(ref.id, "/dir/a.txt"), "hello world");
        assert.equal(await bridge.read(ref.id, "link", { Offset: 6n, Length: 3n }), "wor");
        assert.deepEqual(
          (await bridge.list(ref.id, "/dir")).map(({ path, mode, size }) => [path, mode, size]),
          [
            ["a.txt", 0o640, 11n],
            ["b.md", 0o755, 1n],
          ],
        );
        assert.deepEqual(
          (await bridge.list(ref.id, "/dir", "*.md")).map(({ path }) => path),
          ["b.md"],
        );
        assert.deepEqual(
          (await bridge.list(ref.id, "/")).map(({ path, mode, linkname }) => [path, mode >>> 27, linkname]),
          [
            ["dir", 1 << 4, ""],
            ["link", 1, "dir/a.txt"],
          ],
        );
        assert.equal((await bridge.stat(ref.id, "/dir")).mode, 2 ** 31 + 0o755);
        await assert.rejects(bridge.read(ref.id, "/dir/none"), (error: RpcError) => {
          assert.equal(error.code, CODE.UNKNOWN);
          assert.match(error.message, /\/dir\/none: no such file or directory$/);
          return true;
        });
        return refOf(ref);
      });
    });

    it("run when they are asked for, and once", async () => {
      const name = randomBytes(8).toString("hex");
      const solved = control({ Ref: name });
      const bridge = bridgeOf(name);
      const forced = files([mkfile("/x", randomBytes(8).toString("hex"), 0o644)], { ignoreCache: true });
      const ref = await bridge.solve(forced);
      assert.deepEqual(await namesSoFar(name), []);
      await bridge.evaluate(ref.id);
      const first = await bridge.read(ref.id, "/x");
      const again = await bridge.solve(forced);
      assert.equal(await bridge.read(again.id, "/x"), first);
      await bridge.give(refOf(again));
      await solved;
      assert.equal((await eventsOf(name)).filter(({ completed }) => completed !== undefined).length, 1);
    });

    it("come back as definitions that mean the same", async () => {
      await driven(async (bridge) => {
        const ref = await bridge.solve(files([mkfile("/x", "x", 0o600)]));
        assert.ok(ref.def);
        const again = await bridge.solve(files([mkfile("/x", "x", 0o600)]));
        assert.deepEqual(again.def, ref.def);
        return refOf(ref);
      });
    });

    describe("with exporters of the client's session", () => {
      const id = "exporting";
      let found: FindExportersRequest[];
      let finalized: FinalizeExportRequest[];
      let fails: RpcError | null;
      let received: Buffer[];
      let session: SessionServer;
      /** What the client does before it answers. */
      let looks: (request: FindExportersRequest) => Promise<void>;

      before(() => {
        const handlers: readonly (readonly [string, Handler])[] = [
          [
            "/moby.exporter.v1.Exporter/FindExporters",
            unary(FindExportersRequestSchema, FindExportersResponseSchema, async (request) => {
              found.push(request);
              await looks(request);
              return create(FindExportersResponseSchema, { exporters: [{ Type: "oci", Attrs: {} }] });
            }),
          ],
          [
            "/moby.exporter.v1.Exporter/FinalizeExport",
            unary(FinalizeExportRequestSchema, FinalizeExportResponseSchema, async (request) => {
              finalized.push(request);
              if (fails !== null) throw fails;
              return create(FinalizeExportResponseSchema);
            }),
          ],
          [
            "/moby.filesync.v1.FileSend/DiffCopy",
            async (call) => {
              assert.deepEqual(call.header("buildkit-attachable-exporter-id"), ["0"]);
              call.begin();
              for await (const message of call.messages()) received.push(Buffer.from(decodeBytes(message)));
            },
          ],
        ];
        session = serveSession(http, handlers, { id, sharedKey: "", heard: () => {}, signal });
      });
      after(() => session[Symbol.asyncDispose]());
      beforeEach(() => {
        [found, finalized, received, fails] = [[], [], [], null];
        looks = async () => {};
      });

      const exported = (name: string) =>
        driven(
          async (bridge) => ({
            ...refOf(await bridge.solve(files([mkfile("/x", name, 0o644)]))),
            metadata: { "my.key": Buffer.from("said") },
          }),
          { Ref: name, Session: id, EnableSessionExporter: true },
        );

      it("are asked for when the result is there, which they can look into, and take what is made", async () => {
        const name = randomBytes(8).toString("hex");
        let content = "";
        looks = async ({ refs: [ref = ""] }) => {
          content = await bridgeOf(name).read(ref, "/x");
        };
        const response = await exported(name);
        assert.equal(content, name);
        assert.deepEqual(
          found.map(({ metadata }) => Buffer.from(metadata["my.key"] ?? []).toString()),
          ["said"],
        );
        const tar = execFileSync("tar", ["-xOf-", "index.json"], { input: Buffer.concat(received) });
        const digest = response["containerimage.digest"];
        assert.ok(digest !== undefined && tar.toString().includes(digest), tar.toString());
        assert.deepEqual(
          finalized.map(({ exporterResponse }) => exporterResponse),
          [response],
        );
      });

      it("fail the build when they do not take its end, unless they have nothing to say", async () => {
        fails = new RpcError(CODE.UNAVAILABLE, "no callback");
        await exported(randomBytes(8).toString("hex"));
        fails = new RpcError(CODE.UNKNOWN, "not like this");
        await assert.rejects(exported(randomBytes(8).toString("hex")), { message: /not like this/ });
      });
    });

    it("are exported as images with the config that is returned, one for each platform", async () => {
      const names = ["linux/amd64", "linux/arm64"];
      const response = await driven(
        async (bridge) => {
          const refs = await Promise.all(
            names.map(
              async (name) => [name, await bridge.solve(files([mkfile("/of", name, 0o644)]))] as const,
            ),
          );
          const json = (value: unknown) => Buffer.from(JSON.stringify(value));
          const platform = (name: string) => ({ os: "linux", architecture: name.split("/")[1] });
          return {
            metadata: {
              "refs.platforms": json({
                Platforms: names.map((name) => ({ ID: name, Platform: platform(name) })),
              }),
              ...Object.fromEntries(
                names.map((name) => [
                  `containerimage.config/${name}`,
                  json({ ...platform(name), config: { Cmd: [name] } }),
                ]),
              ),
            },
            result: { case: "refs", value: { refs: Object.fromEntries(refs) } },
          };
        },
        { Exporters: [{ Type: "image", Attrs: { name: "gateway:1", store: "true" } }] },
      );
      assert.match(response["containerimage.digest"] ?? "", /^sha256:/);
      const { stdout, stderr } = await shop.run(["inspect", "gateway:1"]);
      assert.match(`${stdout}${stderr}`, /"Cmd": \[\s*"linux\/arm64"/);
    });

    it("come with the name, the annotations and the words for the client that the frontend gives", async () => {
      const text = (value: string) => Buffer.from(value);
      const response = await driven(
        async () => ({
          metadata: {
            "image.name": text("words:1"),
            "annotation-manifest.of": text("the frontend"),
            "annotation-manifest.other": text("the frontend"),
            "frontend.said": text("hello"),
            "not-frontend.said": text("nothing"),
          },
        }),
        {
          Exporters: [
            {
              Type: "image",
              Attrs: {
                ...{ name: "*", store: "true", "annotation-manifest.other": "the output" },
                "containerimage.config": JSON.stringify({ config: { Cmd: ["given"] } }),
              },
            },
          ],
        },
      );
      assert.equal(response["image.name"], "words:1");
      assert.equal(response["frontend.said"], "hello");
      assert.equal(response["not-frontend.said"], undefined);
      const descriptor = Buffer.from(response["containerimage.descriptor"] ?? "", "base64").toString();
      assert.match(descriptor, /"digest":/);
      const { stdout } = await shop.run(["inspect", "words:1"]);
      assert.match(stdout, /"Cmd": \[\s*"given"/);
      const raw = await shop.run(["save", "-o", shop.at("home", "words.tar"), "words:1"]);
      assert.equal(raw.code, 0, raw.stderr);
      const archive = readFileSync(shop.at("home", "words.tar"), "latin1");
      assert.match(archive, /"of": ?"the frontend"/);
      assert.match(archive, /"other": ?"the output"/);
    });

    it("are built on the file that a client was told of, though all was pruned meanwhile", async () => {
      let body = "first";
      await using server = await startServer((request, response) => {
        response.writeHead(200, { etag: '"same"' }).end(request.method === "HEAD" ? undefined : body);
      });
      const identifier = `${server.origin}/file`;
      await driven(async (bridge) => {
        const { HTTP } = await bridge.meta(identifier);
        assert.equal(HTTP?.Checksum, digestOf(body));
        await pruneAll();
        body = "second";
        const graph = openGraph();
        const note = { name: "fetch", ignoreCache: false, at: [], group: null };
        const root = graph.add({ kind: "source", identifier, attrs: {} }, null, [], note);
        const ref = await bridge.solve(graph.definition(root));
        assert.equal(await bridge.read(ref.id, "/file"), "first");
        return refOf(ref);
      });
    });

    it("are warned of when they are for other platforms than was asked for", async () => {
      const warned = async (platform: string): Promise<string[]> => {
        const name = randomBytes(8).toString("hex");
        const solved = control({ Ref: name, FrontendAttrs: platform === "" ? {} : { platform } });
        solved.catch(() => {});
        const bridge = bridgeOf(name);
        const ref = await bridge.solve(files([mkfile("/x", "x", 0o644)]));
        const told = warningsOf(name);
        await bridge.give(refOf(ref));
        await solved;
        return await told;
      };
      assert.deepEqual(await warned(""), []);
      assert.deepEqual(await warned("linux/amd64,linux/arm64"), [
        "Multiple platforms requested but result is not multi-platform",
      ]);
      assert.match((await warned("linux/s390x")).join(), /^Requested platform "linux\/s390x" does not match/);
    });

    it("are built without a gateway too", async () => {
      const response = (
        await control({
          Ref: randomBytes(8).toString("hex"),
          Definition: messageOf(files([mkfile("/x", "x", 0o644)])),
          Exporters: [{ Type: "image", Attrs: { name: "direct:1" } }],
        })
      ).ExporterResponse;
      assert.equal(response["image.name"], "direct:1");
    });

    it("may be empty, which is not one that the client drives", async () => {
      const response = (
        await control({
          Ref: randomBytes(8).toString("hex"),
          Definition: {},
          Exporters: [{ Type: "image", Attrs: { name: "empty:1" } }],
        })
      ).ExporterResponse;
      assert.equal(response["image.name"], "empty:1");
      await driven(async (bridge) => {
        const nothing = await bridge.solve({ vertices: new Map(), notes: new Map(), root: null });
        assert.equal(nothing.id, "");
        return {};
      });
    });

    it("may have a config without a platform where they name one themselves", async () => {
      const said = {
        "refs.platforms": {
          Platforms: [{ ID: "linux/amd64", Platform: { os: "linux", architecture: "amd64" } }],
        },
        "containerimage.config": { architecture: "amd64" },
      };
      const metadata = Object.fromEntries(
        Object.entries(said).map(([key, value]) => [key, Buffer.from(JSON.stringify(value))]),
      );
      await driven(async () => ({ metadata }));
    });

    it("are refused with platforms and configs that say nothing", async () => {
      for (const [key, value, words] of [
        ["refs.platforms", { Platforms: [] }, /invalid empty platforms index for exporter/],
        ["refs.platforms", { Platforms: [{ ID: "", Platform: {} }] }, /invalid empty platform key/],
        ["refs.platforms", { Platforms: [{ ID: "a", Platform: { os: "" } }] }, /invalid platform value/],
        ["containerimage.config", null, /invalid null image config for export/],
        [
          "containerimage.config",
          { architecture: "amd64" },
          /os and architecture must be specified together/,
        ],
      ] as const) {
        const metadata = { [key]: Buffer.from(JSON.stringify(value)) };
        await assert.rejects(
          driven(async () => ({ metadata })),
          words,
        );
      }
    });

    it("are those of a build that is named", async () => {
      const ping = (metadata: Readonly<Record<string, string>>) =>
        callUnary(
          http,
          { path: `${BRIDGE}/Ping`, input: PingRequestSchema, output: PongResponseSchema },
          create(PingRequestSchema),
          { signal, metadata },
        );
      await assert.rejects(ping({}), /no buildid found in context/);
    });

    it("are refused when they are broken, in words", async () => {
      const broken = create(DefinitionSchema, { def: [Buffer.from("nonsense"), Buffer.from("more")] });
      await assert.rejects(
        control({ Ref: randomBytes(8).toString("hex"), Definition: broken }),
        /LLB|definition/,
      );
      await driven(async (bridge) => {
        await assert.rejects(bridge.read("no-such-result", "/"), /no result no-such-result/);
        return {};
      });
    });

    it("end with the error that a frontend returns", async () => {
      const name = randomBytes(8).toString("hex");
      const solved = control({ Ref: name });
      solved.catch(() => {});
      await callUnary(
        http,
        { path: `${BRIDGE}/Return`, input: ReturnRequestSchema, output: ReturnResponseSchema },
        create(ReturnRequestSchema, { error: { code: CODE.NOT_FOUND, message: "not here" } }),
        { signal, metadata: { "buildkit-controlapi-buildid": name } },
      );
      await assert.rejects(solved, (error: RpcError) => {
        assert.equal(error.code, CODE.NOT_FOUND);
        assert.equal(error.message, "not here");
        return true;
      });
    });

    async function pruneAll(): Promise<void> {
      const call = openCall(http, `${CONTROL}/Prune`, { signal });
      await call.send(toBinary(PruneRequestSchema, create(PruneRequestSchema, { all: true })));
      call.end();
      for await (const _ of call.messages());
    }

    async function warningsOf(name: string): Promise<string[]> {
      const call = openCall(http, `${CONTROL}/Status`, { signal });
      await call.send(toBinary(StatusRequestSchema, create(StatusRequestSchema, { Ref: name })));
      call.end();
      const all = [];
      for await (const bytes of call.messages())
        all.push(...fromBinary(StatusResponseSchema, bytes).warnings);
      return all.map(({ short }) => Buffer.from(short).toString());
    }

    async function eventsOf(name: string) {
      const call = openCall(http, `${CONTROL}/Status`, { signal });
      await call.send(toBinary(StatusRequestSchema, create(StatusRequestSchema, { Ref: name })));
      call.end();
      const all = [];
      for await (const bytes of call.messages())
        all.push(...fromBinary(StatusResponseSchema, bytes).vertexes);
      return all;
    }

    /** What the progress of a running build has told. */
    async function namesSoFar(name: string): Promise<string[]> {
      const controller = new AbortController();
      const call = openCall(http, `${CONTROL}/Status`, { signal: controller.signal });
      await call.send(toBinary(StatusRequestSchema, create(StatusRequestSchema, { Ref: name })));
      call.end();
      const names: string[] = [];
      setTimeout(() => controller.abort(), 300);
      try {
        for await (const bytes of call.messages())
          names.push(...fromBinary(StatusResponseSchema, bytes).vertexes.map(({ name }) => name));
      } catch {
        // It goes on for as long as the build.
      }
      return names;
    }
  });
}
