// docker buildx history against tsbuildd.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { callUnary, openCall } from "../../bin/wire/client.ts";
import { dialHttp2 } from "../../bin/wire/connection.ts";
import {
  DiskUsageRequestSchema,
  DiskUsageResponseSchema,
  PruneRequestSchema,
  StatusRequestSchema,
  type StatusResponse,
  StatusResponseSchema,
} from "../../bin/wire/messages/moby/buildkit/v1/control_pb.ts";
import { CODE } from "../../bin/wire/status.ts";
import { buildxProgram } from "../support/buildx.ts";
import { type Outcome, type RunningCommand, startTsbuild } from "../support/cli.ts";
import { needs } from "../support/needs.ts";
import { ordinaryUser } from "../support/unprivileged.ts";

const BASE = "FROM scratch AS base\nCOPY busybox /bin/busybox\n";
const sh = (script: string): string => `RUN ["/bin/busybox", "sh", "-c", ${JSON.stringify(script)}]\n`;
const CONTROL = "/moby.buildkit.v1.Control";

const account = ordinaryUser();

describe(`docker buildx history of tsbuildd as ${account.name}`, function () {
  this.timeout(120_000);
  let shop: Workshop;
  let daemon: RunningCommand;

  beforeEach(async () => {
    shop = await openWorkshop(account);
    shop.context("home", { ".keep": "" });
    daemon = await startDaemon();
    await ok("create", "--name", "ts", "--driver", "remote", "--use", `unix://${socket()}`);
  });
  afterEach(async () => {
    const stderr = await stop();
    shop[Symbol.dispose]();
    assert.doesNotMatch(stderr, /internal error|cannot store/);
  });

  const socket = (): string => shop.at("home", "d.sock");
  async function startDaemon(): Promise<RunningCommand> {
    const started = shop.start(["--addr", `unix://${socket()}`], { program: "tsbuildd" });
    await started.says(/listens on unix:/);
    return started;
  }
  async function stop(signal: NodeJS.Signals = "SIGTERM"): Promise<string> {
    daemon.kill(signal);
    const { code, stderr } = await daemon.outcome;
    if (signal === "SIGTERM") assert.equal(code, 0, stderr);
    return stderr;
  }
  const start = (args: readonly string[]): RunningCommand =>
    startTsbuild(args, {
      account: shop.account,
      root: shop.root,
      cwd: shop.dir,
      command: [buildxProgram()],
      env: { HOME: shop.at("home"), DOCKER_CONFIG: shop.at("home"), BUILDX_EXPERIMENTAL: "1" },
    });
  const buildx = (...args: readonly string[]): Promise<Outcome> => start(args).outcome;
  async function ok(...args: readonly string[]): Promise<Outcome> {
    const outcome = await buildx(...args);
    assert.equal(outcome.code, 0, `buildx ${args.join(" ")}:\n${outcome.stdout}${outcome.stderr}`);
    return outcome;
  }
  const history = (...args: readonly string[]): Promise<Outcome> => ok("history", ...args);
  interface Inspected {
    readonly Ref: string;
    readonly Status: string;
    readonly NumCompletedSteps: number;
    readonly NumTotalSteps: number;
    readonly NumCachedSteps: number;
    readonly BuildArgs?: readonly { readonly Name: string; readonly Value: string }[];
    readonly Error?: { readonly Message: string; readonly Name: string; readonly Logs: readonly string[] };
    readonly Attachments?: readonly { readonly Digest: string; readonly Type: string }[];
  }
  const inspect = async (...args: readonly string[]): Promise<Inspected> =>
    JSON.parse(
      (await history("inspect", "--format=json", ...args)).stdout,
      (name, value: unknown) => (name === "Stack" ? undefined : value), // of the client, with its process
    ) as Inspected;
  /** Names and statuses, newest first. */
  const listed = async (...args: readonly string[]): Promise<string[]> =>
    (await history("ls", "--format={{.Name}} {{.Status}}", ...args)).stdout.split("\n").filter(Boolean);
  const context = (name: string, files: Readonly<Record<string, string>>): string => {
    const dir = shop.context(name, files);
    execFileSync("cp", [needs("busybox"), join(dir, "busybox")]);
    return dir;
  };
  const fsck = async (): Promise<string> => (await shop.ok(["fsck"])).stdout;
  const good = (): string => context("good", { Dockerfile: `${BASE}ARG A\n${sh("echo of the step")}` });
  const bad = (): string => context("bad", { Dockerfile: `${BASE}${sh("echo oops; exit 7")}` });
  const connected = async <T>(work: (session: ReturnType<typeof dialHttp2>) => Promise<T>): Promise<T> => {
    const session = dialHttp2(connect(socket()));
    try {
      return await work(session);
    } finally {
      session.destroy();
    }
  };

  it("lists, inspects and replays builds that went well and that did not", async () => {
    const [metadata, archive] = [shop.at("home", "m.json"), shop.at("home", "o.tar")];
    await ok(
      ...[
        "build",
        "--build-arg",
        "A=https://user:pass@host/",
        "-t",
        "app:1",
        "-o",
        `type=oci,dest=${archive}`,
      ],
      ...["--metadata-file", metadata, good()],
    );
    assert.equal((await buildx("build", bad())).code, 1);
    assert.deepEqual(await listed(), ["bad Error", "good Completed"]);
    assert.deepEqual(await listed("--filter", "status=completed"), ["good Completed"]);

    const well = await inspect("^1");
    const { "buildx.build.ref": ref = "" } = JSON.parse(readFileSync(metadata, "utf8")) as Record<
      string,
      string
    >;
    assert.equal(ref, `ts/ts0/${well.Ref}`);
    assert.equal(well.Status, "completed");
    assert.deepEqual([well.NumCompletedSteps, well.NumTotalSteps, well.NumCachedSteps], [6, 6, 0]);
    assert.deepEqual(well.BuildArgs, [{ Name: "A", Value: "https://xxxxx:xxxxx@host/" }]);
    assert.deepEqual(
      well.Attachments?.map(({ Type }) => Type),
      ["application/vnd.oci.image.manifest.v1+json", "https://slsa.dev/provenance/v1"],
    );
    const manifest = (await history("inspect", "attachment", "--type", "manifest", "^1")).stdout;
    const { config, layers } = JSON.parse(manifest) as {
      config: { digest: string };
      layers: { digest: string }[];
    };
    const attachment = (digest: string): Promise<Outcome> =>
      buildx("history", "inspect", "attachment", "^1", digest);
    assert.match((await attachment(config.digest)).stdout, /"rootfs"/);
    assert.match((await attachment(layers[0]?.digest ?? "")).stderr, /not found/);
    const provenance = (await history("inspect", "attachment", "--type", "provenance", "^1")).stdout;
    const { buildDefinition, runDetails } = JSON.parse(provenance) as {
      buildDefinition: {
        externalParameters: { request: unknown };
        internalParameters: { buildConfig: unknown };
      };
      runDetails: { metadata: { buildkit_metadata: { source: { infos: { data: string }[] } } } };
    };
    assert.deepEqual(buildDefinition.externalParameters.request, {
      frontend: "dockerfile.v0",
      args: { "build-arg:A": "https://xxxxx:xxxxx@host/" },
      locals: [{ name: "context" }, { name: "dockerfile" }],
    });
    assert.ok(buildDefinition.internalParameters.buildConfig);
    const [file] = runDetails.metadata.buildkit_metadata.source.infos;
    assert.match(Buffer.from(file?.data ?? "", "base64").toString(), /^ARG A$/m);
    assert.doesNotMatch(provenance, /user:pass/);
    const plain = (await history("logs", "^1")).stderr;
    assert.match(plain, /^#\d+ \d+\.\d+ of the step$/m);
    assert.match(plain, /exporting to oci image format/);
    const raw = (await history("logs", "--progress=rawjson", "^1")).stderr;
    assert.ok(raw.includes(Buffer.from("of the step\n").toString("base64")));

    const failed = await inspect();
    assert.equal(failed.Status, "failed");
    assert.match(failed.Error?.Message ?? "", /did not complete successfully: exit code: 7$/);
    assert.match(failed.Error?.Name ?? "", /^\[2\/2\] RUN/);
    assert.deepEqual(failed.Error?.Logs, ["oops"]);
    const pretty = (await history("inspect")).stdout;
    assert.match(pretty, /^>>>|>>> RUN \["\/bin\/busybox"/m);
    assert.match(pretty, /^Build Steps:\t5\/5 \(20% cached\)$/m);
  });

  it("exports records with their blobs, and says what import and trace lack", async () => {
    await ok("build", "-o", `type=oci,dest=${shop.at("home", "o.tar")}`, good());
    await buildx("build", bad());
    const bundle = shop.at("home", "all.dockerbuild");
    await history("export", "--all", "--finalize", "-o", bundle);
    const [list, index] = ["-tzf", "-xzOf"].map((how) =>
      execFileSync("tar", [how, bundle, ...(how === "-tzf" ? [] : ["index.json"])], { encoding: "utf8" }),
    );
    assert.match(index ?? "", /"manifests"/);
    // Two records with their logs and their manifests, an error, an image's manifest and provenance, and the index of all.
    assert.equal(list?.match(/^blobs\/sha256\/\w{64}$/gm)?.length, 10, list);
    assert.match(
      (await buildx("history", "import", "-f", bundle)).stderr,
      /check if Docker Desktop is running/,
    );
    assert.match((await buildx("history", "trace", "^1")).stderr, /trace/);
  });

  it("shows a build while it runs, and tells a cancelled one", async () => {
    const running = start([
      "build",
      "--progress=plain",
      context("long", { Dockerfile: `${BASE}${sh("echo begun; sleep 1000")}` }),
    ]);
    await running.says(/ begun$/m);
    assert.deepEqual(await listed(), ["long Running"]);
    const during = await inspect();
    assert.equal(during.Status, "running");
    assert.equal(during.NumTotalSteps - during.NumCompletedSteps, 1);
    assert.match((await history("inspect")).stdout, /^Duration:\t\d+\.\ds \(running\)$/m);
    const logs = start(["history", "logs"]);
    await logs.says(/ begun$/m);
    running.kill("SIGINT");
    await running.outcome;
    assert.match((await logs.outcome).stderr, /CANCELED|context canceled/);
    assert.deepEqual(await listed(), ["long Error"]); // this client has no other word for it here
    assert.deepEqual(await listed("--filter", "status=canceled"), ["long Error"]);
    assert.equal((await inspect()).Status, "canceled");
  });

  it("is the same after the daemon was started anew, logs and attachments with it", async () => {
    await ok("build", "-o", `type=oci,dest=${shop.at("home", "o.tar")}`, good());
    await buildx("build", bad());
    const before = await Promise.all([inspect("^1"), inspect("^0"), history("logs", "^1")]);
    assert.doesNotMatch(await stop(), /internal error|cannot store/);
    daemon = await startDaemon();
    const after = await Promise.all([inspect("^1"), inspect("^0"), history("logs", "^1")]);
    assert.deepEqual(after.slice(0, 2), before.slice(0, 2));
    assert.equal(after[2].stderr, before[2].stderr);
    await history("inspect", "attachment", "--type", "manifest", "^1");
    assert.match(await fsck(), /no problems found/);
  });

  it("loses nothing of before when the daemon is killed in the middle of a build", async () => {
    await ok("build", good());
    const running = start([
      "build",
      "--progress=plain",
      context("long", { Dockerfile: `${BASE}${sh("echo begun; sleep 1000")}` }),
    ]);
    await running.says(/ begun$/m);
    await stop("SIGKILL");
    assert.notEqual((await running.outcome).code, 0);
    daemon = await startDaemon();
    assert.deepEqual(await listed(), ["good Completed"]);
    assert.match((await history("logs")).stderr, /of the step$/m);
    assert.match(await fsck(), /no problems found/);
    await ok("build", "--progress=plain", good());
    assert.deepEqual(await listed(), ["good Completed", "good Completed"]);
  });

  it("removes records one by one and all, with their blobs", async () => {
    await ok("build", good());
    await buildx("build", bad());
    const { Ref } = await inspect("^1");
    await history("rm", Ref);
    assert.deepEqual(await listed(), ["bad Error"]);
    assert.match((await buildx("history", "inspect", Ref)).stderr, /no record found/);
    assert.match((await buildx("history", "rm", Ref)).stderr, new RegExp(`no build ${Ref} in the history`));
    await history("rm", "--all");
    assert.deepEqual(await listed(), []);
    assert.deepEqual(readdirSync(join(shop.root, "history")), []);
  });

  it("answers Status of a build that has ended with all of its progress, and of none with NOT_FOUND", async () => {
    await ok("build", good());
    const { Ref } = await inspect();
    const status = (ref: string): Promise<StatusResponse[]> =>
      connected(async (session) => {
        const call = openCall(session, `${CONTROL}/Status`, { signal: new AbortController().signal });
        await call.send(toBinary(StatusRequestSchema, create(StatusRequestSchema, { Ref: ref })));
        call.end();
        const parts: StatusResponse[] = [];
        for await (const bytes of call.messages()) parts.push(fromBinary(StatusResponseSchema, bytes));
        return parts;
      });
    const parts = await status(Ref);
    const texts = parts.flatMap(({ logs }) => logs.map(({ msg }) => Buffer.from(msg).toString()));
    assert.deepEqual(texts, ["of the step\n"]);
    assert.ok(parts.some(({ vertexes }) => vertexes.some(({ completed }) => completed !== undefined)));
    await history("rm", Ref);
    await assert.rejects(status(Ref), { code: CODE.NOT_FOUND });
  });

  it("holds nothing: when all of it is deleted, and all pruned, nothing is left", async () => {
    const dir = good();
    await ok("build", "-o", `type=image,name=app:1`, "-o", `type=oci,dest=${shop.at("home", "o.tar")}`, dir);
    await ok("build", "-o", shop.at("home", "out"), dir);
    await history("rm", "--all");
    const left = await connected(async (session) => {
      const { signal } = new AbortController();
      const usage = async () =>
        await callUnary(
          session,
          { path: `${CONTROL}/DiskUsage`, input: DiskUsageRequestSchema, output: DiskUsageResponseSchema },
          create(DiskUsageRequestSchema, { filter: [""] }),
          { signal },
        );
      const before = (await usage()).record;
      assert.ok(before.length > 3);
      assert.deepEqual(
        before.filter(({ InUse }) => InUse),
        [],
      );
      const prune = openCall(session, `${CONTROL}/Prune`, { signal });
      await prune.send(toBinary(PruneRequestSchema, create(PruneRequestSchema, { all: true })));
      prune.end();
      let removed = 0;
      for await (const _ of prune.messages()) removed++;
      assert.equal(removed, before.length);
      return (await usage()).record;
    });
    assert.deepEqual(left, []);
    assert.equal(existsSync(join(shop.root, "history")), true);
  });
});
