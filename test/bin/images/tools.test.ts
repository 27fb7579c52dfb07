// tree, digest, inspect, export, append, annotate, ls-remote and rm-remote, with skopeo, umoci and tar as readers.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync, readFileSync } from "node:fs";
import { tsbuildOk } from "../../support/cli.ts";
import { needs } from "../../support/needs.ts";
import { startRegistry, startServer } from "../../support/registry.ts";
import { digestOfText, type ImageFixture, openImageFixture } from "./fixture.ts";

interface RawIndex {
  readonly manifests: readonly {
    readonly digest: string;
    readonly platform: { readonly architecture: string };
    readonly annotations?: Readonly<Record<string, string>>;
  }[];
  readonly annotations?: Readonly<Record<string, string>>;
}

describe("image tools", () => {
  let fixture: ImageFixture;
  let big: string; // three layers: /app/x is replaced, /app/d/z deleted by nobody
  before(async () => {
    fixture = await openImageFixture();
    const { dir, registry } = fixture;
    big = `${registry.host}/big:1`;
    const context = dir.at("big");
    mkdirSync(`${context}/d`, { recursive: true });
    writeFileSync(`${context}/x`, Buffer.alloc(300_000, "x"));
    writeFileSync(`${context}/y`, Buffer.alloc(5000, "y"));
    writeFileSync(`${context}/d/z`, "z");
    writeFileSync(`${context}/Dockerfile`, "FROM scratch\nCOPY x y /app/\nCOPY d /app/d/\nCOPY y /app/x\n");
    await tsbuildOk(["build", "-q", "-t", big, "--push", context], { root: dir.at("store") });
  });
  after(() => fixture[Symbol.asyncDispose]());

  it("shows the tree of an image, and its digest", async () => {
    const { app, digest, run, raw } = fixture;
    const { stdout } = await run("image", "tree", app);
    assert.match(stdout, /^localhost:\d+\/app:1 index +\S+ {2}[0-9a-f]{12} {2}\(.+ in all\)$/m);
    assert.match(stdout, /^├── linux\/amd64 manifest/m);
    assert.match(stdout, /^│ {3}└── layer gzip/m);
    assert.match(stdout, /^└── of linux\/arm64 attestation/m);
    assert.match(stdout, /^ {4}└── https:\/\/slsa\.dev\/provenance\/v1 statement/m);
    const format = "{{range .Children}}{{.Kind}}:{{.Digest}} {{end}}";
    const fields = await run("image", "tree", "--format", format, app);
    const index = JSON.parse(raw(`docker://${app}`)) as RawIndex;
    assert.deepEqual(
      fields.stdout
        .trim()
        .split(" ")
        .map((one) => one.replace(/^\w+:/, "")),
      index.manifests.map((one) => one.digest),
    );
    assert.equal((await run("image", "digest", app)).stdout, `${digest}\n`);
    assert.equal(
      (await run("image", "digest", "-p", "linux/arm64", app)).stdout,
      `${index.manifests[1]?.digest}\n`,
    );
  });

  it("inspects images anywhere, and tells by layer what is wasted", async () => {
    const { run, fails, app, digest } = fixture;
    assert.equal(digestOfText((await run("image", "inspect", "--raw", app)).stdout), digest);
    const ids = await run(
      "image",
      "inspect",
      "--format",
      "{{.Os}}/{{.Architecture}} {{json .RepoTags}}",
      `docker://${app}`,
    );
    assert.equal(ids.stdout, `linux/amd64 ["${app}"]\nlinux/arm64 ["${app}"]\n`);
    // As docker: whether it is here.
    assert.match(await fails("image", "inspect", app), /No such image/);
    const layers = await run("image", "inspect", "--layers", big);
    assert.match(layers.stdout, /^3 {7}\S+ +[0-9a-f]{12} {3}COPY y \/app\/x/m);
    const files = await run("image", "inspect", "--files=2", big);
    assert.match(files.stdout, /310kB of files, 300kB of these replaced or deleted again/);
    assert.match(files.stdout, /^5kB {4}3 {7}\/app\/x\n5kB {4}1 {7}\/app\/y\n\n/m);
    assert.match(files.stdout, /^300kB {3}1 {7}3 {9}\/app\/x$/m);
    const json = JSON.parse((await run("image", "inspect", "--files", "--format", "json", big)).stdout) as {
      readonly Layers: readonly { readonly WastedBytes: number; readonly Files: number }[];
    };
    assert.deepEqual(
      json.Layers.map((one) => [one.Files, one.WastedBytes]),
      [
        [2, 300_000],
        [1, 0],
        [1, 0],
      ],
    );
  });

  it("exports the files of an image from anywhere, also of one that is only here", async () => {
    const { run, dir, context } = fixture;
    await run("image", "copy", big, `oci:${dir.at("layout")}:big`);
    for (const from of [`docker://${big}`, `oci:${dir.at("layout")}:big`]) {
      await run("image", "export", "-o", dir.at("rootfs.tar"), from);
      const list = execFileSync("tar", ["tf", dir.at("rootfs.tar")], { encoding: "utf8" });
      assert.deepEqual(list.trim().split("\n").sort(), ["app/", "app/d/", "app/d/z", "app/x", "app/y"]);
    }
    await run("build", "-q", "-t", "here", context);
    assert.match((await run("image", "export", "here")).stdout, /^a\0[^]*one file\n/);
    const { fails } = fixture;
    assert.match(
      await fails("image", "export", "-o", "/proc/rootfs.tar", "here"),
      /cannot write \/proc\/rootfs\.tar/,
    );
  });

  it("adds layers from directories and tars, and leaves out what is no longer true", async () => {
    const { run, dir, app, registry, raw, fails } = fixture;
    const more = dir.at("more");
    mkdirSync(`${more}/etc`, { recursive: true });
    writeFileSync(`${more}/etc/motd`, "hello\n");
    const made = `${registry.host}/app:more`;
    const { stderr } = await run("image", "append", "-f", more, "-t", made, app);
    assert.match(stderr, /attestations left out: 2;/);
    const index = JSON.parse(raw(`docker://${made}`)) as RawIndex;
    assert.deepEqual(
      index.manifests.map(({ platform }) => platform.architecture),
      ["amd64", "arm64"],
    );
    execFileSync("tar", ["czf", dir.at("more.tar.gz"), "-C", more, "etc"]);
    const layout = dir.at("appended");
    await run(
      "image",
      "append",
      "-p",
      "linux/arm64",
      "-f",
      dir.at("more.tar.gz"),
      "-t",
      `oci:${layout}:x`,
      app,
    );
    execFileSync(needs("umoci"), ["unpack", "--rootless", "--image", `${layout}:x`, dir.at("unpacked")], {
      stdio: "ignore",
    });
    const found = execFileSync("find", [dir.at("unpacked", "rootfs"), "-type", "f", "-printf", "%P\n"], {
      encoding: "utf8",
    });
    assert.deepEqual(found.trim().split("\n").sort(), ["a", "etc/motd"]);
    const tar = (name: string, ...args: string[]): string => {
      execFileSync("tar", ["-cPf", dir.at(name), "-C", more, ...args], { stdio: "ignore" });
      return dir.at(name);
    };
    const damaged = (name: string, change: (bytes: Buffer) => Buffer): string => {
      writeFileSync(dir.at(name), change(readFileSync(tar("whole.tar", "etc", "etc/motd"))));
      return dir.at(name);
    };
    for (const [file, words] of [
      [tar("absolute.tar", `${more}/etc`), /absolute\.tar: the member "\/\S+\/etc\/" has an absolute name/],
      [tar("above.tar", "../more/etc"), /the member "\.\.\/more\/etc\/" has a name with "\.\."/],
      [damaged("cut.tar", (bytes) => bytes.subarray(0, 1027)), /behind the member "etc\/motd": .*truncated/],
      [
        damaged("bad.tar", (bytes) => bytes.fill(7, 600, 640)),
        /behind the member "etc\/": .*invalid checksum/,
      ],
    ] as const) {
      const stderr = await fails("image", "append", "-f", file, "-t", made, app);
      assert.match(stderr, words);
      // Without the block of a step that has said nothing.
      assert.match(stderr, /^ERROR: /);
    }
    writeFileSync(dir.at("no.tar"), "not a tar at all".repeat(100));
    assert.match(
      await fails("image", "append", "-f", dir.at("no.tar"), "-t", made, app),
      /no\.tar is not a tar/,
    );
    assert.match(
      await fails("image", "append", "-f", dir.at("nothing"), "-t", made, app),
      /no file or directory/,
    );
  });

  it("sets annotations, and keeps attestations while manifests stay", async () => {
    const { run, app, registry, raw, fails } = fixture;
    const made = `${registry.host}/app:annotated`;
    const of = (): RawIndex => JSON.parse(raw(`docker://${made}`)) as RawIndex;
    const words = ["--annotation", "index:a=b", "--annotation", "manifest-descriptor[linux/arm64]:c=d"];
    const first = await run("image", "annotate", ...words, "-t", made, app);
    assert.equal(first.stderr, "");
    assert.deepEqual(of().annotations, { a: "b" });
    assert.deepEqual(
      of().manifests.map(({ annotations }) => annotations?.["c"]),
      [undefined, "d", undefined, undefined],
    );
    const second = await run("image", "annotate", "--annotation", "manifest[linux/arm64]:e=f", made);
    assert.match(second.stderr, /attestations left out: 1;/);
    const arm = of().manifests[1]?.digest ?? "";
    assert.match(raw(`docker://${registry.host}/app@${arm}`), /"annotations": \{\s+"e": "f"\s+\}/);
    assert.match(
      await fails("image", "annotate", "--annotation", "manifest[linux/s390x]:a=b", made),
      /no image for linux\/s390x/,
    );
    assert.match(await fails("image", "annotate", made), /no annotation is given/);
  });

  it("lists tags over pages, and removes them", async () => {
    const { run, app, registry, fails } = fixture;
    const repository = `${registry.host}/tags`;
    for (const tag of ["1", "2", "10"]) await run("image", "copy", app, `${repository}:${tag}`);
    await run("image", "copy", "-p", "linux/arm64", app, `${repository}:arm`);
    const hex = "0".repeat(64);
    const attached = [`sha256-${hex}`, `sha256-${hex}.att`, `sha256-${hex}.sig`];
    for (const tag of attached) await run("image", "copy", app, `${repository}:${tag}`);
    const plain = ["1", "2", "10", "arm"];
    const listed = async (...flags: string[]): Promise<string[]> =>
      (await run("image", "ls-remote", ...flags, repository)).stdout.trim().split("\n");
    assert.deepEqual(await listed(), plain);
    assert.deepEqual(await listed("--all"), [...plain, ...attached]);
    assert.match((await run("image", "ls-remote", "--digests", repository)).stdout, /^TAG +DIGEST/);
    // This registry cannot remove tags: 1 and 2 are one manifest.
    assert.match(await fails("image", "rm-remote", `${repository}:1`), /2\b.* stands for the same manifest/);
    await run("image", "rm-remote", `${repository}:arm`);
    await run("image", "rm-remote", "--force", `${repository}:1`);
    assert.equal((await run("image", "ls-remote", repository)).stdout, "");
    assert.match(await fails("image", "rm-remote", repository), /name the tag or the digest/);
    await using closed = await startRegistry();
    await run("image", "copy", app, `${closed.host}/app:1`);
    assert.match(
      await fails("image", "rm-remote", `${closed.host}/app:1`),
      /does not allow manifests to be deleted/,
    );
  });

  it("refuses indexes that list each other a thousand times, and documents that are too large", async () => {
    const { dir, fails } = fixture;
    const layout = dir.at("hostile");
    mkdirSync(`${layout}/blobs/sha256`, { recursive: true });
    const put = (text: string, mediaType: string): object => {
      const digest = digestOfText(text);
      writeFileSync(`${layout}/blobs/sha256/${digest.slice(7)}`, text);
      return { mediaType, digest, size: text.length };
    };
    const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
    const INDEX = "application/vnd.oci.image.index.v1+json";
    const config = put("{}", "application/vnd.oci.image.config.v1+json");
    const leaf = put(JSON.stringify({ schemaVersion: 2, config, layers: [] }), MANIFEST);
    const many = (of: object): object =>
      put(JSON.stringify({ schemaVersion: 2, manifests: Array.from({ length: 1000 }, () => of) }), INDEX);
    const entries = {
      bomb: many(many(many(leaf))),
      huge: put(`{"schemaVersion":2,"x":"${"x".repeat(5_000_000)}"}`, MANIFEST),
    };
    const manifests = Object.entries(entries).map(([name, descriptor]) => ({
      ...descriptor,
      annotations: { "org.opencontainers.image.ref.name": name },
    }));
    writeFileSync(`${layout}/index.json`, JSON.stringify({ schemaVersion: 2, manifests }));
    writeFileSync(`${layout}/oci-layout`, '{"imageLayoutVersion":"1.0.0"}');
    assert.match(
      await fails("image", "tree", `oci:${layout}:bomb`),
      /its indexes have more than 50000 entries/,
    );
    assert.match(await fails("image", "tree", `oci:${layout}:huge`), /has more than 4194304 bytes/);
  });

  it("bounds what registries answer", async () => {
    const { fails } = fixture;
    const deep = `{"schemaVersion":2,"manifests":${"[".repeat(100_000)}`;
    const answers: Readonly<Record<string, string>> = {
      "/v2/deep/manifests/latest": deep,
      "/v2/both/manifests/latest": '{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}',
      "/v2/text/manifests/latest": "<html>",
      "/v2/html/tags/list?n=1000": "<html>",
      "/v2/loop/tags/list?n=1000": '{"tags":["a"]}',
    };
    await using server = await startServer((request, response) => {
      if (request.url.startsWith("/v2/loop/tags")) {
        const next = Number(/last=(\d+)/.exec(request.url)?.[1] ?? 0) + 1;
        response.setHeader("link", `</v2/loop/tags/list?n=1000&last=${next}>; rel="next"`);
        response.end(JSON.stringify({ tags: Array.from({ length: 200_000 }, (_, at) => `t${next}-${at}`) }));
        return;
      }
      const body = answers[request.url];
      response.statusCode = body === undefined ? 404 : 200;
      response.setHeader("content-type", "application/vnd.oci.image.index.v1+json");
      response.end(request.method === "HEAD" ? undefined : body);
    });
    for (const [words, message] of [
      [["tree", `${server.host}/deep`], /nested too deeply|not JSON/],
      [["tree", `${server.host}/both`], /both a manifest and an index/],
      [["digest", `${server.host}/text`], /not JSON/],
      [["ls-remote", `${server.host}/html`], /list of tags is not JSON/],
      [["ls-remote", `${server.host}/loop`], /more than 1000000 tags/],
    ] as const)
      assert.match(await fails("image", ...words), message);
  });
});
