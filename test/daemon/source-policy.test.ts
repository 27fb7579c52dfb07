// Source policies: in a Solve, from the client's environment, and by a session of the client that judges each source.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { ClientHttp2Session } from "node:http2";
import { connect } from "node:net";
import { join } from "node:path";
import { serveSession, type SessionServer } from "../../bin/remote/session-server.ts";
import { callUnary } from "../../bin/wire/client.ts";
import { dialHttp2 } from "../../bin/wire/connection.ts";
import {
  SolveRequestSchema as ControlSolve,
  SolveResponseSchema as ControlSolved,
} from "../../bin/wire/messages/moby/buildkit/v1/control_pb.ts";
import {
  type ResolveSourceMetaRequest,
  ResolveSourceMetaRequestSchema,
  ResolveSourceMetaResponseSchema,
  ReturnRequestSchema,
  ReturnResponseSchema,
} from "../../bin/wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import { PolicyAction } from "../../bin/wire/messages/moby/buildkit/v1/sourcepolicy/policy_pb.ts";
import {
  type CheckPolicyRequest,
  CheckPolicyRequestSchema,
  CheckPolicyResponseSchema,
} from "../../bin/wire/messages/moby/buildkit/v1/sourcepolicy/policysession/policysession_pb.ts";
import { DefinitionSchema } from "../../bin/wire/messages/pb/ops_pb.ts";
import { unary } from "../../bin/wire/server.ts";
import { CODE, type RpcError } from "../../bin/wire/status.ts";
import { fromBinary } from "@bufbuild/protobuf";
import { encodeDefinition } from "../../solver/graph/llb-definition.ts";
import { openGraph } from "../../solver/graph/llb.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { type DaemonShop, openDaemonShop } from "../support/daemon.ts";
import { needs } from "../support/needs.ts";
import { type DebianRegistry, startRegistry } from "../support/registry.ts";
import { self } from "../support/unprivileged.ts";

const VARIABLE = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY";
const CHECK = "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy";

type Verdict = NonNullable<MessageInitShape<typeof CheckPolicyResponseSchema>["result"]>;

describe("source policies", function () {
  this.timeout(60_000);
  let shop: Workshop;
  let clients: DaemonShop;
  let registry: DebianRegistry;
  let http: ClientHttp2Session;
  /** An image that no policy here denies, and one in place of others. */
  let image: string;
  let other: string;
  const { signal } = new AbortController();

  before(async () => {
    shop = await openWorkshop(self());
    registry = await startRegistry();
    clients = await openDaemonShop(shop);
    http = dialHttp2(connect({ path: clients.socket }));
    [image, other] = [`${registry.host}/base:1`, `${registry.host}/other:1`];
    for (const [name, text] of [
      [image, "base"],
      [other, "other"],
    ] as const) {
      const dir = shop.context(`image-${text}`, { Dockerfile: "FROM scratch\nCOPY name /\n", name: text });
      await clients.ok("build", "--push", "-t", name, dir);
    }
  });
  after(async () => {
    http.close();
    const { code, stderr } = await clients.stop();
    await clients[Symbol.asyncDispose]();
    await registry[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stderr, /internal error/);
  });

  const policyFile = (...rules: readonly object[]): string =>
    join(shop.context("policy", { "policy.json": JSON.stringify({ rules }) }), "policy.json");
  const rule = (action: string, identifier: string, updates?: object) => ({
    action,
    selector: { identifier },
    ...(updates === undefined ? {} : { updates }),
  });

  /** The three clients of the same Dockerfile: stock buildx, and our command here and there. */
  function builds(dir: string, out: string) {
    const env = { [VARIABLE]: join(shop.at("policy"), "policy.json") };
    return {
      buildx: () => clients.start(["build", "--progress=plain", "-o", out, dir], "", env).outcome,
      here: () => shop.run(["build", "-o", out, dir], { env }),
      elsewhere: () => shop.run(["build", "--builder", `unix://${clients.socket}`, "-o", out, dir], { env }),
    };
  }

  it("of the environment deny images that a Dockerfile names, for buildx and our command", async () => {
    policyFile(rule("DENY", `docker-image://${registry.host}/*`));
    const dir = shop.context("denied", { Dockerfile: `FROM ${image}\n` });
    for (const [client, build] of Object.entries(builds(dir, shop.at("home", "denied")))) {
      const { code, stderr } = await build();
      assert.equal(code, 1, client);
      assert.ok(stderr.includes(`source "docker-image://${image}" denied by policy`), `${client}: ${stderr}`);
    }
  });

  it("build on another image than the one that is named, with its config", async () => {
    policyFile(rule("CONVERT", `docker-image://${image}`, { identifier: `docker-image://${other}` }));
    const dir = shop.context("converted", { Dockerfile: `FROM ${image}\nCOPY Dockerfile /d\n` });
    for (const [client, build] of Object.entries(builds(dir, shop.at("home", `converted`)))) {
      const { code, stderr } = await build();
      assert.equal(code, 0, `${client}: ${stderr}`);
      assert.equal(readFileSync(join(shop.at("home", "converted"), "name"), "utf8"), "other", client);
    }
  });

  it("hold for directories, repositories and downloads", async () => {
    const repository = shop.context("repository", { Dockerfile: "FROM scratch\nCOPY . /\n" });
    execFileSync(needs("git"), ["init", "-q", repository]);
    const cases = [
      ["local://context", shop.context("local", { Dockerfile: "FROM scratch\n" })],
      [
        "https://127.0.0.1*",
        shop.context("added", { Dockerfile: "FROM scratch\nADD https://127.0.0.1:1/f /\n" }),
      ],
      ["http://127.0.0.1*", "http://127.0.0.1:1/context.tar"],
      ["git://127.0.0.1*", "git://127.0.0.1:1/a/b.git"],
    ] as const;
    for (const [identifier, context] of cases) {
      policyFile(rule("DENY", identifier));
      const { code, stderr } = await builds(context, shop.at("home", "none")).here();
      assert.equal(code, 1, identifier);
      assert.match(stderr, /source ".*" denied by policy/, identifier);
    }
  });

  it("make directories of named contexts that are images", async () => {
    policyFile(rule("CONVERT", `docker-image://${image}`, { identifier: "local://other" }));
    const beside = shop.context("beside", { word: "beside" });
    const dir = shop.context("named", { Dockerfile: "FROM scratch\nCOPY --from=some /word /\n" });
    const out = shop.at("home", "named");
    const contexts = [`some=docker-image://${image}`, `other=${beside}`];
    const flags = contexts.flatMap((one) => ["--build-context", one]);
    const env = { [VARIABLE]: join(shop.at("policy"), "policy.json") };
    await shop.ok(["build", ...flags, "-o", out, dir], { env });
    assert.equal(readFileSync(join(out, "word"), "utf8"), "beside");
  });

  const definition = (identifier: string) => {
    const graph = openGraph();
    const note = { name: "source", ignoreCache: false, at: [], group: null };
    const source = graph.add({ kind: "source", identifier, attrs: {} }, hostPlatform(), [], note);
    const copied = graph.add(
      {
        kind: "file",
        actions: [
          {
            ...{ kind: "mkdir", path: "/made", mode: 0o755, makeParents: false },
            ...{ owner: null, timestampNs: null, base: 0, output: 0 },
          },
        ],
      },
      null,
      [source],
      note,
    );
    return fromBinary(DefinitionSchema, encodeDefinition(graph.definition(copied)));
  };
  const control = (message: MessageInitShape<typeof ControlSolve>) =>
    callUnary(
      http,
      { path: "/moby.buildkit.v1.Control/Solve", input: ControlSolve, output: ControlSolved },
      create(ControlSolve, { Ref: randomBytes(8).toString("hex"), ...message }),
      { signal },
    );

  it("hold for the graphs of clients", async () => {
    const rules = [{ action: PolicyAction.DENY, selector: { identifier: "docker-image://*" } }];
    await assert.rejects(
      control({ Definition: definition(`docker-image://${image}`), SourcePolicy: { rules } }),
      {
        message: `error evaluating the source policy: source "docker-image://${image}" denied by policy: source denied by policy`,
      },
    );
    await control({ Definition: definition(`docker-image://${image}`) });
    await assert.rejects(
      control({ Definition: definition("https://a.test/f"), SourcePolicy: { rules: [{ action: 0 }] } }),
      { message: /invalid nil selector/ },
    );
    const selector = { identifier: "*" };
    await assert.rejects(
      control({
        Definition: definition("https://a.test/f"),
        SourcePolicy: { rules: [{ action: 9000 as PolicyAction, selector }] },
      }),
      { message: /unknown type of action: 9000/ },
    );
  });

  describe("of a session", () => {
    let session: SessionServer;
    let asked: CheckPolicyRequest[];
    let verdict: (request: CheckPolicyRequest) => Verdict;
    const id = "judging";

    before(() => {
      const handler = unary(CheckPolicyRequestSchema, CheckPolicyResponseSchema, async (request) => {
        asked.push(request);
        return create(CheckPolicyResponseSchema, { result: verdict(request) });
      });
      const others = { id, sharedKey: "", heard: () => {}, signal };
      session = serveSession(http, [[CHECK, handler]], others);
    });
    after(() => session[Symbol.asyncDispose]());
    beforeEach(() => {
      asked = [];
    });

    const decision = (action: PolicyAction, more: object = {}): Verdict => ({
      case: "decision",
      value: { action, ...more },
    });
    const solve = (identifier: string) =>
      control({ Definition: definition(identifier), Session: id, SourcePolicySession: id });

    it("are asked for each source, and may deny it in words of their own", async () => {
      verdict = () => decision(PolicyAction.DENY, { denyMessages: [{ message: "not today" }] });
      await assert.rejects(solve(`docker-image://${image}`), ({ message, details }: RpcError) => {
        assert.equal(
          message,
          `error evaluating the source policy: source "docker-image://${image}" not allowed by policy: action DENY`,
        );
        const told = details.find(({ typeUrl }) => typeUrl.endsWith("policysession.DecisionResponse+json"));
        assert.deepEqual(JSON.parse(Buffer.from(told?.value ?? []).toString()), {
          action: "DENY",
          denyMessages: [{ message: "not today" }],
        });
        return true;
      });
      assert.deepEqual(
        asked.map(({ Source, Platform }) => [Source?.Source?.identifier, Platform?.OS]),
        [[`docker-image://${image}`, "linux"]],
      );
    });

    it("get the metadata they ask for, and may convert what they have seen", async () => {
      verdict = ({ Source: about }) => {
        if (about?.Source?.identifier !== `docker-image://${image}`) return decision(PolicyAction.ALLOW);
        if (about.Image === undefined)
          return {
            case: "request",
            value: { Source: about.Source, Platform: { OS: "linux", Architecture: "amd64" } },
          };
        return decision(PolicyAction.CONVERT, { update: { identifier: `docker-image://${other}` } });
      };
      await solve(`docker-image://${image}`);
      assert.deepEqual(
        asked.map(({ Source }) => [Source?.Source?.identifier, Source?.Image?.Digest.slice(0, 7) ?? null]),
        [
          [`docker-image://${image}`, null],
          [`docker-image://${image}`, "sha256:"],
          [`docker-image://${other}`, null],
        ],
      );
    });

    it("are refused when they ask for ever, or for something else", async () => {
      verdict = ({ Source: about }) => ({ case: "request", value: { Source: about?.Source ?? {} } });
      await assert.rejects(solve(`docker-image://${image}`), { message: /too many policy requests/ });
      verdict = () => ({ case: "request", value: { Source: { identifier: `docker-image://${other}` } } });
      await assert.rejects(solve(`docker-image://${image}`), {
        message: /policy requested different source/,
      });
    });

    it("that judges nothing lets nothing pass", async () => {
      const mute = "mute";
      await using served = serveSession(http, [], { id: mute, sharedKey: "", heard: () => {}, signal });
      await assert.rejects(
        control({ Definition: definition(`docker-image://${image}`), SourcePolicySession: mute }),
        { code: CODE.UNIMPLEMENTED },
      );
      assert.equal(served.failure(), null);
    });

    it("judge what is only resolved too", async () => {
      verdict = () => decision(PolicyAction.CONVERT, { update: { identifier: `docker-image://${other}` } });
      let rounds = 0;
      const judged = verdict;
      verdict = (request) => (rounds++ === 0 ? judged(request) : decision(PolicyAction.ALLOW));
      const Ref = randomBytes(8).toString("hex");
      const built = control({ Ref, Session: id, SourcePolicySession: id });
      const options = { signal, metadata: { "buildkit-controlapi-buildid": Ref } };
      const BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge";
      const about: ResolveSourceMetaRequest = create(ResolveSourceMetaRequestSchema, {
        Source: { identifier: `docker-image://${image}` },
      });
      const { Source, Image } = await callUnary(
        http,
        {
          path: `${BRIDGE}/ResolveSourceMeta`,
          input: ResolveSourceMetaRequestSchema,
          output: ResolveSourceMetaResponseSchema,
        },
        about,
        options,
      );
      // Clients put a digest of their own behind the name: ref + "@" + digest.
      assert.equal(Source?.identifier, `docker-image://${other}`);
      assert.match(Image?.Digest ?? "", /^sha256:[0-9a-f]{64}$/);
      await callUnary(
        http,
        { path: `${BRIDGE}/Return`, input: ReturnRequestSchema, output: ReturnResponseSchema },
        create(ReturnRequestSchema, { result: { result: { case: "ref", value: { id: "" } } } }),
        options,
      );
      await built;
    });
  });
});
