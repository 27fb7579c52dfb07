// Attestations of complete builds: in the image store, registries, archives and beside files, read by programs of others.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { serveGit } from "../support/git-server.ts";
import { buildxProgram } from "../support/buildx.ts";
import { needs } from "../support/needs.ts";
import { type DebianRegistry, startRegistry, startServer } from "../support/registry.ts";
import { accounts } from "../support/unprivileged.ts";
import { readSpdx } from "../worker/sbom/spdx-reader.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly platform?: { readonly os: string; readonly architecture: string };
  readonly annotations?: Readonly<Record<string, string>>;
}
interface Slsa {
  readonly buildDefinition: {
    readonly externalParameters: {
      readonly configSource: unknown;
      readonly request: {
        readonly frontend?: string;
        readonly args?: Record<string, string>;
        readonly secrets?: unknown;
        readonly locals?: unknown;
      };
    };
    readonly internalParameters: {
      readonly buildConfig?: { readonly llbDefinition: { readonly op: unknown }[] };
    };
    readonly resolvedDependencies?: { readonly uri: string; readonly digest?: Record<string, string> }[];
  };
  readonly runDetails: {
    readonly builder: { readonly id: string };
    readonly metadata: Record<string, unknown> & {
      readonly buildkit_metadata: {
        readonly source?: { readonly infos: { readonly filename: string; readonly data: string }[] };
        readonly layers?: Record<string, Descriptor[][]>;
      };
    };
  };
}
interface Statement {
  readonly subject: { readonly name: string; readonly digest: Record<string, string> }[];
  readonly predicateType: string;
  readonly predicate: Slsa;
}

const DOCKERFILE = `FROM base AS one
ARG WHO=me
RUN --mount=type=secret,id=token,required=false echo $WHO > /who
FROM one
COPY file /file
`;

for (const account of accounts()) {
  describe(`attestations as ${account.name}`, function () {
    this.timeout(120_000);
    let shop: Workshop;
    let registry: DebianRegistry;
    let context: string;
    let serial = 0;
    before(async () => {
      registry = await startRegistry();
      shop = await openWorkshop(account);
      context = shop.context("app", { Dockerfile: DOCKERFILE, file: "text\n" });
    });
    after(async () => {
      await registry[Symbol.asyncDispose]();
      shop[Symbol.dispose]();
    });

    const nameOf = (): string => `${registry.host}/r${serial++}:1`;
    const raw = (name: string): { manifests: Descriptor[] } =>
      JSON.parse(
        execFileSync(needs("skopeo"), ["inspect", "--raw", "--tls-verify=false", `docker://${name}`], {
          encoding: "utf8",
        }),
      ) as { manifests: Descriptor[] };
    const blob = async (name: string, digest: string): Promise<Buffer> => {
      const path = name.slice(name.indexOf("/") + 1, name.lastIndexOf(":"));
      const answer = await fetch(`http://${registry.host}/v2/${path}/blobs/${digest}`);
      assert.equal(answer.status, 200);
      const data = Buffer.from(await answer.arrayBuffer());
      assert.equal(`sha256:${createHash("sha256").update(data).digest("hex")}`, digest);
      return data;
    };
    /** Statements about each image of a name in the registry, in the order of its index. */
    const statements = async (name: string): Promise<Statement[]> => {
      const { manifests } = raw(name);
      const images = manifests.filter(({ platform }) => platform?.os !== "unknown");
      const attached = manifests.filter(({ platform }) => platform?.os === "unknown");
      assert.equal(attached.length, images.length);
      return await Promise.all(
        attached.map(async ({ digest, annotations }, index) => {
          assert.equal(annotations?.["vnd.docker.reference.type"], "attestation-manifest");
          assert.equal(annotations?.["vnd.docker.reference.digest"], images[index]?.digest);
          const at = name.slice(0, name.lastIndexOf(":"));
          const { layers } = raw(`${at}@${digest}`) as unknown as { layers: Descriptor[] };
          assert.equal(layers.length, 1);
          const statement = JSON.parse((await blob(name, layers[0]?.digest ?? "")).toString()) as Statement;
          assert.equal(statement.subject[0]?.digest["sha256"], images[index]?.digest.slice(7));
          return statement;
        }),
      );
    };

    it("are in --metadata-file as buildx writes them there, also of builds that attest nothing", async () => {
      const file = shop.at("metadata.json");
      const fields = async (mode: string): Promise<Record<string, Record<string, unknown>>> => {
        const args = ["build", "--build-arg", "WHO=somebody", "--metadata-file", file, context];
        await shop.ok(args, { env: { BUILDX_METADATA_PROVENANCE: mode } });
        return JSON.parse(readFileSync(file, "utf8")) as Record<string, Record<string, unknown>>;
      };
      const least = (await fields(""))["buildx.build.provenance"] ?? {};
      assert.deepEqual(Object.keys(least), ["buildType", "materials", "invocation"]);
      assert.equal(least["buildType"], "https://mobyproject.org/buildkit@v1");
      assert.equal((least["materials"] as unknown[]).length, 1);
      assert.ok(!JSON.stringify(least).includes("somebody"), "arguments are for max");
      const most = (await fields("max"))["buildx.build.provenance"] ?? {};
      const { args } = (most["invocation"] as { parameters: { args: Record<string, string> } }).parameters;
      assert.equal(args["build-arg:WHO"], "somebody");
      assert.ok("buildConfig" in most && "metadata" in most);
      assert.equal((await fields("disabled"))["buildx.build.provenance"], undefined);
      const { code, stderr } = await shop.run(["build", "--metadata-file", file, context], {
        env: { BUILDX_METADATA_PROVENANCE: "some" },
      });
      assert.equal(code, 1);
      assert.match(stderr, /invalid BUILDX_METADATA_PROVENANCE: "some"/);
    });

    it("are pushed with the build, and read by docker buildx imagetools and skopeo", async () => {
      const name = nameOf();
      const args = [
        "--build-arg",
        "WHO=you",
        "--build-arg",
        "UNKNOWN=1",
        "--build-arg",
        "HTTPS_PROXY=http://u:p@h",
      ];
      await shop.ok(["build", "--provenance=mode=max", ...args, "--push", "-t", name, context]);
      const [{ predicate, subject, predicateType } = assert.fail()] = await statements(name);
      assert.equal(predicateType, "https://slsa.dev/provenance/v1");
      assert.match(subject[0]?.name ?? "", /^pkg:docker\/localhost%3A\d+\/r\d+@1\?platform=linux%2F/);
      const { externalParameters, internalParameters, resolvedDependencies } = predicate.buildDefinition;
      assert.deepEqual(externalParameters.configSource, { path: "Dockerfile" });
      const { args: given = {}, ...request } = externalParameters.request;
      assert.deepEqual(request, {
        frontend: "dockerfile.v0",
        secrets: [{ id: "token", optional: true }],
        locals: [{ name: "context" }, { name: "dockerfile" }],
      });
      assert.deepEqual(Object.keys(given), ["build-arg:WHO", "context:base"]);
      // A layout is named, and where it lies is not.
      assert.deepEqual(
        resolvedDependencies?.map(({ uri }) => uri.replace(/@sha256.*|digest=sha256:[0-9a-f]+/, "")),
        [`pkg:oci/base@latest?platform=linux%2F${process.arch === "x64" ? "amd64" : "arm64"}`],
      );
      assert.match(resolvedDependencies?.[0]?.digest?.["sha256"] ?? "", /^[0-9a-f]{64}$/);
      const steps = internalParameters.buildConfig?.llbDefinition ?? [];
      assert.ok(steps.length >= 4);
      const { buildkit_metadata: found, ...metadata } = predicate.runDetails.metadata;
      assert.equal(found.source?.infos[0]?.filename, "Dockerfile");
      assert.equal(Buffer.from(found.source?.infos[0]?.data ?? "", "base64").toString(), DOCKERFILE);
      // The stacks of layers of steps lead up to that of the image.
      const stacks = Object.values(found.layers ?? {}).flat();
      const image = raw(`${name.slice(0, -2)}@${raw(name).manifests[0]?.digest}`) as unknown as {
        layers: Descriptor[];
      };
      const whole = stacks.find(({ length }) => length === image.layers.length);
      assert.deepEqual(
        whole?.map(({ digest }) => digest),
        image.layers.map(({ digest }) => digest),
      );
      assert.deepEqual(metadata["buildkit_completeness"], { request: true, resolvedDependencies: false });
      assert.equal(metadata["buildkit_hermetic"], undefined);
      assert.equal(metadata["buildkit_reproducible"], undefined);
      assert.doesNotMatch(JSON.stringify(predicate), /u:p@|UNKNOWN|HTTPS_PROXY/);

      const said = execFileSync(
        buildxProgram(),
        ["imagetools", "inspect", name, "--format", "{{json .Provenance}}"],
        { encoding: "utf8", env: { ...process.env, DOCKER_CONFIG: shop.dir, HOME: shop.dir } },
      );
      assert.deepEqual((JSON.parse(said) as { SLSA: unknown }).SLSA, predicate);
      const copy = shop.at(`copy-${serial++}`);
      execFileSync(needs("skopeo"), [
        ...["copy", "--quiet", "--all", "--src-tls-verify=false", `docker://${name}`, `oci:${copy}:1`],
      ]);
      assert.ok(readdirSync(join(copy, "blobs/sha256")).length >= 6);
    });

    it("stay with an image of the local store, and move to its digest when it is pushed", async () => {
      const name = nameOf();
      await shop.ok(["build", "--provenance=mode=min,builder-id=https://ci.example/7", "-t", name, context]);
      const { stdout } = await shop.ok(["images", "-q", name]);
      assert.equal(stdout.trim().split("\n").length, 1);
      const [inspected] = JSON.parse((await shop.ok(["inspect", name])).stdout) as { Os: string }[];
      assert.equal(inspected?.Os, "linux");
      assert.equal((await shop.ok(["run", name, "cat", "/file"])).stdout, "text\n");
      await shop.ok(["push", name]);
      const [first = assert.fail()] = await statements(name);
      assert.equal(first.predicate.runDetails.builder.id, "https://ci.example/7");
      assert.equal(first.predicate.buildDefinition.internalParameters.buildConfig, undefined);
      // From now on the name stands for what was pushed.
      const [confirmed] = JSON.parse((await shop.ok(["inspect", name])).stdout) as {
        RepoDigests: string[];
      }[];
      assert.equal(confirmed?.RepoDigests.length, 1);
      await shop.ok(["push", name]);
      assert.deepEqual(await statements(name), [first]);
      const archive = shop.at(`saved-${serial++}.tar`);
      await shop.ok(["save", "-o", archive, name]);
      const other = shop.at(`store-${serial++}`);
      await shop.ok(["load", "-i", archive], { root: other });
      assert.equal((await shop.ok(["run", name, "cat", "/file"], { root: other })).stdout, "text\n");
      const again = nameOf();
      await shop.ok(["tag", name, again], { root: other });
      await shop.ok(["push", again], { root: other });
      assert.deepEqual(await statements(again), [first]);
    });

    it("of an image that was saved before it was pushed are about the image in the archive", async () => {
      const name = nameOf();
      await shop.ok(["build", "--provenance=mode=min", "-t", name, context]);
      const archive = shop.at(`unpushed-${serial++}.tar`);
      await shop.ok(["save", "-o", archive, name]);
      const other = { root: shop.at(`store-${serial++}`) };
      await shop.ok(["load", "-i", archive], other);
      await shop.ok(["push", name], other);
      const [statement = assert.fail()] = await statements(name);
      assert.match(statement.subject[0]?.name ?? "", /^pkg:docker\/localhost/);
    });

    it("are there for each platform, in v0.2 where that is asked for", async () => {
      const name = nameOf();
      const plain = shop.context("plain", { Dockerfile: "FROM scratch\nCOPY file /\n", file: "x\n" });
      const args = ["--platform", "linux/amd64,linux/arm64", "--provenance=version=v0.2"];
      await shop.ok(["build", ...args, "--push", "-t", name, plain]);
      const all = await statements(name);
      assert.equal(all.length, 2);
      for (const [index, architecture] of ["amd64", "arm64"].entries()) {
        assert.match(all[index]?.subject[0]?.name ?? "", new RegExp(`platform=linux%2F${architecture}$`));
        assert.equal(all[index]?.predicateType, "https://slsa.dev/provenance/v0.2");
      }
    });

    it("are files beside exported files, about each of them", async () => {
      const out = shop.at(`out-${serial++}`);
      await shop.ok([
        "build",
        "--provenance=true",
        "-o",
        `type=local,dest=${out},attestation-prefix=my-`,
        context,
      ]);
      const file = join(out, "my-provenance.json");
      const text = readFileSync(file, "utf8");
      assert.equal(statSync(file).mode & 0o777, 0o600);
      const { subject, predicate } = JSON.parse(text) as Statement;
      const escaped = (sign: string): string => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`;
      assert.equal(text, JSON.stringify(JSON.parse(text), null, 2).replace(/[<>&]/g, escaped));
      const own = subject.find(({ name }) => name === "file");
      assert.equal(own?.digest["sha256"], createHash("sha256").update("text\n").digest("hex"));
      assert.ok(
        subject.some(({ name }) => name === "bin/busybox"),
        JSON.stringify(subject).slice(0, 300),
      );
      assert.ok(predicate.buildDefinition.internalParameters.buildConfig);
      const tar = shop.at(`out-${serial++}.tar`);
      await shop.ok(["build", "--provenance=filename=p.json", "-o", `type=tar,dest=${tar}`, context]);
      const listed = execFileSync("tar", ["tvf", tar], { encoding: "utf8" });
      assert.match(listed, /^-rw------- 0\/0 .* p\.json$/m);
      // Inline only: not beside files.
      const none = shop.at(`out-${serial++}`);
      await shop.ok(["build", "--provenance=inline-only=true", "-o", none, context]);
      assert.ok(!readdirSync(none).includes("provenance.json"));
      const taken = shop.context("taken", {
        Dockerfile: "FROM scratch\nCOPY . /\n",
        "provenance.json": "{}",
      });
      const { code, stderr } = await shop.run(["build", "--provenance=true", "-o", none, taken]);
      assert.equal(code, 1);
      assert.match(stderr, /the attestation provenance\.json would replace a file of the result/);
    });

    it("have the same bytes for the same inputs with --reproducible", async () => {
      const files = { Dockerfile: DOCKERFILE, file: "text\n" };
      const contexts = [shop.context("one/here", files), shop.context("two/deeper/there", files)];
      const tars: Buffer[] = [];
      const digestOf = async (path: string, store: string, ...more: string[]): Promise<void> => {
        const tar = shop.at(`same-${serial++}.tar`);
        const args = ["--reproducible", "--provenance=mode=max", "-o", `type=oci,dest=${tar}`, "-t", "app:1"];
        await shop.ok(["build", ...args, ...more, path], { root: shop.at(store) });
        tars.push(readFileSync(tar));
      };
      for (const [index, path] of contexts.entries()) await digestOf(path, `same-store-${index}`);
      // Warm, and with one step alone to be run
      const [first = ""] = contexts;
      await digestOf(first, "same-store-0");
      await digestOf(first, "same-store-0", "--no-cache-filter=one");
      for (const tar of tars.slice(1)) assert.ok(tars[0]?.equals(tar), "the archives differ");
      assert.ok(tars[0]?.includes("https://slsa.dev/provenance/v1"));
      assert.ok(!tars[0]?.includes("invocationId"));
    });

    it("name a repository and files of the web with what they stood for, and are hermetic without a network", async () => {
      const tree = shop.at("repo");
      mkdirSync(tree);
      const git = (...args: string[]): string =>
        execFileSync(needs("git"), ["-c", "user.name=t", "-c", "user.email=t@t", ...args], {
          ...{ cwd: tree, encoding: "utf8" },
          env: { PATH: process.env["PATH"], HOME: shop.dir, GIT_CONFIG_NOSYSTEM: "1" },
        }).trim();
      await using server = await startServer(async (request, response) => {
        if (request.url === "/some.txt") response.end("some\n");
        else await serveGit(shop.at("served"), request, response);
      });
      writeFileSync(join(tree, "file"), "x\n");
      const url = `http://${server.host}/some.txt`;
      writeFileSync(join(tree, "Dockerfile"), `FROM scratch\nCOPY file /\nADD ${url} /\n`);
      git("init", "-q", "-b", "main");
      git("add", "--all");
      git("commit", "-q", "-m", "one");
      const commit = git("rev-parse", "HEAD");
      mkdirSync(shop.at("served"));
      execFileSync(needs("git"), ["clone", "-q", "--bare", tree, shop.at("served", "r.git")]);
      const name = nameOf();
      const address = `http://${server.host}/r.git#main`;
      await shop.ok(["build", "--provenance=true", "--reproducible", "--push", "-t", name, address]);
      const [{ predicate } = assert.fail()] = await statements(name);
      assert.deepEqual(predicate.buildDefinition.externalParameters.configSource, {
        ...{ uri: address, digest: { sha1: commit }, path: "Dockerfile" },
      });
      assert.deepEqual(predicate.buildDefinition.resolvedDependencies, [
        { uri: address, digest: { sha1: commit } },
        { uri: url, digest: { sha256: createHash("sha256").update("some\n").digest("hex") } },
      ]);
      const { metadata } = predicate.runDetails;
      assert.deepEqual(metadata["buildkit_completeness"], { request: true, resolvedDependencies: true });
      assert.equal(metadata["buildkit_hermetic"], true);
      assert.equal(metadata["buildkit_reproducible"], true);
    });

    it("are bills of materials too, by the built-in scanner: of images before the provenance, and beside files", async () => {
      const dpkg = "Package: some\nStatus: install ok installed\nArchitecture: all\nVersion: 1.5\n";
      const dir = shop.context("packages", {
        Dockerfile: "FROM base\nCOPY status /var/lib/dpkg/\nRUN echo more > /more\n",
        status: dpkg,
      });
      const name = nameOf();
      const both = ["--sbom=true", "--provenance=true", "--reproducible"];
      await shop.ok(["build", ...both, "--push", "-t", name, dir]);
      const [image, attached, ...others] = raw(name).manifests;
      assert.deepEqual([attached?.platform?.os, others], ["unknown", []]);
      const at = name.slice(0, name.lastIndexOf(":"));
      const { layers } = raw(`${at}@${attached?.digest}`) as unknown as { layers: Descriptor[] };
      assert.deepEqual(
        layers.map(({ annotations }) => annotations?.["in-toto.io/predicate-type"]),
        ["https://spdx.dev/Document", "https://slsa.dev/provenance/v1"],
      );
      const text = (await blob(name, layers[0]?.digest ?? "")).toString();
      const { subject, predicate } = JSON.parse(text) as Statement;
      assert.equal(subject[0]?.digest["sha256"], image?.digest.slice(7));
      const document = readSpdx(JSON.stringify(predicate));
      const found = document.packages.find((one) => one.name === "some");
      assert.equal(found?.versionInfo, "1.5");
      // The layer that brought it, under the diffId it has in this image.
      const { config } = raw(`${at}@${image?.digest}`) as unknown as { config: Descriptor };
      const { rootfs } = JSON.parse((await blob(name, config.digest)).toString()) as {
        rootfs: { diff_ids: string[] };
      };
      assert.ok(JSON.stringify(found).includes(rootfs.diff_ids.at(-2) ?? "none"), JSON.stringify(found));
      // The same image has the same bill, cold or warm.
      const again = nameOf();
      await shop.ok(["build", ...both, "--no-cache", "--push", "-t", again, dir]);
      assert.deepEqual(
        raw(again).manifests.map(({ digest }) => digest)[0],
        raw(name).manifests.map(({ digest }) => digest)[0],
      );

      const out = shop.at(`out-${serial++}`);
      await shop.ok(["build", "--sbom=true", "-o", `type=local,dest=${out}`, dir]);
      const beside = JSON.parse(readFileSync(join(out, "sbom.spdx.json"), "utf8")) as Statement;
      assert.ok(beside.subject.some((one) => one.name === "var/lib/dpkg/status"));
      assert.ok(readSpdx(JSON.stringify(beside.predicate)).packages.some((one) => one.name === "some"));
    });

    it("fail the build that must know all its materials and does not", async () => {
      const { code, stderr } = await shop.run(["build", "--provenance=complete-materials=true", context]);
      assert.equal(code, 1);
      assert.match(
        stderr,
        /provenance materials are incomplete: the directory "context", the directory "dockerfile"/,
      );
    });
  });
}
