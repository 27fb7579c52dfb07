// Sources of definitions that clients send, with the attributes of solver/pb/attr.go: images, single blobs, directories, files by URL.
// Repositories: git-source.test.ts and git-sources.test.ts.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { openRegistry } from "../../cache/registry/client.ts";
import { openTransport } from "../../cache/registry/transport.ts";
import { type Digest, digestOf } from "../../solver/graph/digest.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import type { Session } from "../../solver/graph/session.ts";
import { writeBaseImage } from "../support/base-image.ts";
import { needs } from "../support/needs.ts";
import { type DebianRegistry, startRegistry, startServer } from "../support/registry.ts";
import { NO_SESSION, remoteDirectory, remoteLayout } from "../support/session.ts";
import { temporaryDir, type TemporaryDir } from "../support/store.ts";
import { type Draft, failure, type LlbBench, openLlbBench, type SolveWith } from "./llb-bench.ts";

interface ManifestText {
  readonly layers: readonly { readonly digest: string; readonly size: number }[];
}

describe("a source of a definition", function () {
  this.timeout(90_000);
  let bench: LlbBench;
  let temp: TemporaryDir;
  let layout = "";
  let manifest = "";
  let layers: readonly string[] = [];
  before(async () => {
    bench = await openLlbBench();
    temp = temporaryDir();
    layout = temp.at("layout");
    // The second layer deletes what the first has in a directory of its own, and adds a file.
    await writeBaseImage(layout, {
      layers: [
        { "d/a": "1", "d/b": "2" },
        { "d/.wh.a": "", "d/c": "3" },
      ],
    });
    manifest = (
      JSON.parse(readFileSync(join(layout, "index.json"), "utf8")) as {
        manifests: { digest: string }[];
      }
    ).manifests[0]?.digest as string;
    const text = readFileSync(join(layout, "blobs", manifest.replace(":", "/")), "utf8");
    layers = (JSON.parse(text) as ManifestText).layers.map(({ digest }) => digest);
  });
  after(async () => {
    await bench[Symbol.asyncDispose]();
    temp[Symbol.dispose]();
  });

  const source =
    (identifier: string, attrs: Record<string, string> = {}) =>
    (graph: Draft) =>
      graph.add({ kind: "source", identifier, attrs }, [], { name: identifier }, hostPlatform());

  describe("in a store of the client", () => {
    const inLayout = (attrs: Record<string, string> = {}, digest = manifest) =>
      source(`oci-layout://example.com/app@${digest}`, { "oci.store": "s", ...attrs });
    const serving = (asked: string[] = []): SolveWith => ({
      session: {
        blobs: async (store) => {
          assert.equal(store, "s");
          return remoteLayout(layout, asked);
        },
      },
    });

    it("is an image, of which nothing comes that nobody needs, nor twice", async () => {
      const asked: string[] = [];
      const known = await bench.solve(inLayout(), serving(asked));
      assert.equal(known.result.kind === "layers" && known.result.layers.length, 3);
      assert.ok(layers.every((digest) => !asked.includes(digest)));
      assert.equal(await bench.look(inLayout(), "cat /in/d/b /in/d/c; ls /in/d", serving(asked)), "23b\nc\n");
      assert.equal(await bench.look(inLayout(), "cat /in/d/c; # again", serving(asked)), "3");
      for (const digest of layers) assert.equal(asked.filter((one) => one === digest).length, 1, digest);
    });

    it("may be asked for some of its layers only", async () => {
      const two = inLayout({ "oci.layerlimit": "2" });
      assert.equal(await bench.look(two, "ls /in/d", serving()), "a\nb\n");
      const error = await failure(bench.solve(inLayout({ "oci.layerlimit": "4" }), serving()));
      assert.match(
        error,
        /^SOURCE_FAILED: layer limit 4 is greater than the number of layers in the image 3/,
      );
      assert.match(
        await failure(bench.solve(inLayout({ "oci.layerlimit": "0" }), serving())),
        /^SOURCE_FAILED/,
      );
    });

    it("may be compared with a part of itself: what a layer deletes is no file in it", async () => {
      const change = (graph: Draft) =>
        graph.add({ kind: "diff", lower: 0, upper: 1 }, [
          inLayout({ "oci.layerlimit": "2" })(graph),
          inLayout()(graph),
        ]);
      assert.equal(await bench.look(change, "cd /in; find . | sort", serving()), ".\n./d\n./d/c\n");
    });

    it("is in the session that is named, or else in that of the build", async () => {
      const other: Session = { ...NO_SESSION, blobs: async () => remoteLayout(layout) };
      const sessions: SolveWith = {
        session: {
          blobs: async () => remoteLayout(temp.path),
          other: async (id) => (id === "that" ? other : null),
        },
      };
      assert.equal(await bench.look(inLayout({ "oci.session": "that" }), "cat /in/d/c", sessions), "3");
      const gone = bench.solve(inLayout({ "oci.session": "gone", "oci.layerlimit": "3" }), sessions);
      assert.match(await failure(gone), /^IMAGE_UNKNOWN: .*the client has no sha256:/);
    });

    it("is never a directory of this machine", async () => {
      const named = source(`oci-layout://${layout}@${manifest}`);
      assert.match(await failure(bench.solve(named)), /^CONTEXT_MISSING: the client serves no OCI layout/);
      const empty: SolveWith = { session: { blobs: async () => remoteLayout(temp.path) } };
      assert.match(await failure(bench.solve(named, empty)), /^IMAGE_UNKNOWN/);
      const full: SolveWith = { session: { blobs: async () => remoteLayout(layout) } };
      const tagged = bench.solve(source(`oci-layout://${layout}:latest`), full);
      assert.match(await failure(tagged), /^SOURCE_FAILED: .*is asked for by its digest/);
    });

    it("is refused when it sends something else", async () => {
      const lying: SolveWith = {
        session: {
          blobs: async () => ({
            ...remoteLayout(layout),
            size: async () => 4,
            async *read() {
              yield Buffer.from("lies");
            },
          }),
        },
      };
      const wrong = inLayout({}, digestOf("something"));
      assert.match(await failure(bench.solve(wrong, lying)), /^DIGEST_MISMATCH/);
      const endless: SolveWith = {
        session: { blobs: async () => ({ ...remoteLayout(layout), size: async () => 2 ** 40 }) },
      };
      assert.match(await failure(bench.solve(inLayout({}, digestOf("else")), endless)), /^IMAGE_INVALID/);
    });

    it("may be one blob as a file", async () => {
      const [first = ""] = layers;
      const blob = (attrs: Record<string, string>) =>
        source(`oci-layout+blob://example.com/app@${first}`, { "oci.store": "s", ...attrs });
      const said = await bench.look(
        blob({ "http.filename": "../x/layer.tgz", "http.perm": "0644", "http.uid": "12", "http.gid": "13" }),
        "cd /in; ls; sha256sum layer.tgz; stat -c '%a %u %g %Y' layer.tgz",
        serving(),
      );
      assert.equal(said, `layer.tgz\n${first.slice(7)}  layer.tgz\n644 12 13 0\n`);
      const plain = await bench.look(blob({}), "cd /in; stat -c '%n %a %u' *", serving());
      assert.equal(plain, `${first.slice(7)} 600 0\n`);
      assert.match(await failure(bench.solve(blob({ "oci.store": "" }), serving())), /names no store/);
      const nameless = source("oci-layout+blob://example.com/app:1", { "oci.store": "s" });
      assert.match(await failure(bench.solve(nameless, serving())), /does not end with the digest/);
      // The file is here, but this client does not have the blob.
      const serves: Session = {
        ...NO_SESSION,
        blobs: async () => ({ ...remoteLayout(layout), size: async () => null }),
      };
      assert.match(await failure(bench.solve(blob({}), { session: serves })), /the client has no sha256:/);
    });
  });

  describe("in a registry", () => {
    let registry: DebianRegistry;
    let name = "";
    before(async () => {
      registry = await startRegistry();
      name = `${registry.host}/team/app`;
      execFileSync(needs("skopeo"), [
        ...["copy", "--quiet", "--dest-tls-verify=false", `oci:${layout}:latest`, `docker://${name}:1`],
      ]);
    });
    after(() => registry[Symbol.asyncDispose]());
    const pulling: SolveWith = { registry: async () => openRegistry({ credentials: async () => null }) };

    it("is an image with the digest that is expected, or none", async () => {
      const image = (attrs: Record<string, string>) => source(`docker-image://${name}:1`, attrs);
      assert.equal(await bench.look(image({ "image.checksum": manifest }), "cat /in/d/c", pulling), "3");
      const other = digestOf("other");
      assert.match(
        await failure(bench.solve(image({ "image.checksum": other }), pulling)),
        new RegExp(
          `^CHECKSUM_MISMATCH: image digest ${manifest} for .*/team/app:1 does not match expected checksum ${other}$`,
        ),
      );
      assert.match(
        await failure(bench.solve(image({ "image.checksum": "md5:1" }), pulling)),
        /not a sha256 digest/,
      );
    });

    it("is an image of so many layers, resolved as is asked", async () => {
      const image = (attrs: Record<string, string>) => source(`docker-image://${name}:1`, attrs);
      assert.equal(await bench.look(image({ "image.layerlimit": "2" }), "ls /in/d", pulling), "a\nb\n");
      for (const mode of ["default", "pull", "local"])
        assert.equal(await bench.look(image({ "image.resolvemode": mode }), "cat /in/d/c", pulling), "3");
      const odd = bench.solve(image({ "image.resolvemode": "odd" }), pulling);
      assert.match(await failure(odd), /^SOURCE_FAILED: invalid resolvemode: odd/);
      const record = bench.solve(image({ "image.recordtype": "odd" }), pulling);
      assert.match(await failure(record), /^SOURCE_FAILED: invalid record type odd/);
    });

    it("may be one blob as a file", async () => {
      const last = layers.at(-1) as Digest;
      const blob = source(`docker-image+blob://${name}@${last}`, { "http.filename": "f" });
      // The bytes are here already: those of another registry's blob come from there.
      assert.equal(await bench.look(blob, "sha256sum < /in/f", pulling), `${last.slice(7)}  -\n`);
      const text = "a blob by itself";
      const digest = digestOf(text);
      const base = `http://${name.replace("/", "/v2/")}/blobs/uploads/`;
      const begun = await fetch(base, { method: "POST" });
      const place = new URL(begun.headers.get("location") as string, base);
      place.searchParams.set("digest", digest);
      const put = await fetch(place, {
        method: "PUT",
        body: text,
        headers: { "content-type": "application/octet-stream" },
      });
      assert.equal(put.status, 201);
      const own = source(`docker-image+blob://${name}@${digest}`, { "http.filename": "t" });
      assert.equal(await bench.look(own, "cat /in/t", pulling), text);
      const none = source(`docker-image+blob://${name}@${digestOf("none")}`);
      assert.match(await failure(bench.solve(none, pulling)), /^REGISTRY_NOT_FOUND/);
      // The bytes and the step's result are here, but not from that repository.
      const other = source(`docker-image+blob://${name}-other@${digest}`, { "http.filename": "t" });
      assert.match(await failure(bench.solve(other, pulling)), /^REGISTRY_NOT_FOUND/);
    });
  });

  describe("by URL", () => {
    const direct: SolveWith = { transport: async () => openTransport() };

    it("is a file with the owner, mode and name that are asked for", async () => {
      await using server = await startServer((_request, response) => void response.end("text"));
      const attrs = { "http.perm": "0640", "http.uid": "5", "http.gid": "6", "http.filename": "n" };
      const file = source(`${server.origin}/f`, attrs);
      const said = await bench.look(file, "cd /in; cat n; stat -c ' %a %u %g' n", direct);
      assert.equal(said, "text 640 5 6\n");
      for (const wrong of [
        { "http.perm": "rw" },
        { "http.perm": "0999" },
        { "http.uid": "-1" },
        { "http.gid": "1e3" },
      ])
        assert.match(
          await failure(bench.solve(source(`${server.origin}/f`, wrong), direct)),
          /^SOURCE_FAILED: http\./,
        );
    });

    it("is asked for with the client's headers, and the secret that it names", async () => {
      await using server = await startServer(
        (request, response) => void response.end(`${request.headers.accept}`),
      );
      const session = { secret: async (id: string) => (id === "mine" ? Buffer.from("Custom x") : null) };
      const attrs = {
        "http.header.accept": "text/x",
        "http.header.User-Agent": "me",
        "http.header.cookie": "no",
        "http.authheadersecret": "mine",
      };
      assert.equal(
        await bench.look(source(`${server.origin}/f`, attrs), "cat /in/f", { ...direct, session }),
        "text/x",
      );
      const headers = server.requests[0]?.headers;
      assert.equal(headers?.["user-agent"], "me");
      assert.equal(headers?.authorization, "Custom x");
      assert.equal(headers?.cookie, undefined);
      // Another kind of the same address is another file.
      const kind = source(`${server.origin}/f`, { ...attrs, "http.header.accept": "text/y" });
      assert.equal(await bench.look(kind, "cat /in/f", { ...direct, session }), "text/y");
      const unknown = source(`${server.origin}/f`, { "http.authheadersecret": "none" });
      assert.match(
        await failure(bench.solve(unknown, { ...direct, session })),
        /^SECRET_MISSING: secret none/,
      );
      const injected = source(`${server.origin}/f`, { "http.header.accept": "a\r\nx: y" });
      assert.match(await failure(bench.solve(injected, direct)), /^SOURCE_FAILED: the header accept/);
    });

    it("is not taken without the signature it should have, nor with another checksum", async () => {
      await using server = await startServer((_request, response) => void response.end("text"));
      const signed = source(`${server.origin}/f`, { "http.sig.pubkey": "k", "http.sig.signature": "s" });
      assert.match(await failure(bench.solve(signed, direct)), /^SOURCE_FAILED: sources with http\.sig\./);
      const wrong = source(`${server.origin}/f`, { "http.checksum": digestOf("other") });
      assert.match(await failure(bench.solve(wrong, direct)), /^CHECKSUM_MISMATCH/);
      const right = source(`${server.origin}/f`, { "http.checksum": digestOf("text") });
      assert.equal(await bench.look(right, "cat /in/f", direct), "text");
    });

    it("of a repository is refused by the name of what is not done", async () => {
      for (const name of ["git.sig.pubkey", "git.bundle", "git.checkoutbundle"]) {
        const repository = source("git://h/r.git#main", { "git.fullurl": "https://h/r.git", [name]: "true" });
        assert.match(
          await failure(bench.solve(repository)),
          new RegExp(`^SOURCE_FAILED: sources with ${name}`),
        );
      }
    });

    it("of a kind that is unknown is refused", async () => {
      assert.match(
        await failure(bench.solve(source("ftp://h/x"))),
        /sources of the kind "ftp" are not supported/,
      );
      assert.match(await failure(bench.solve(source("nothing"))), /^SOURCE_FAILED/);
    });
  });

  describe("in a directory of the client", () => {
    const write = (dir: string, files: Readonly<Record<string, string>>): string => {
      for (const [name, text] of Object.entries(files)) {
        mkdirSync(dirname(join(dir, name)), { recursive: true });
        writeFileSync(join(dir, name), text);
      }
      return dir;
    };
    const LIST = "cd /in; find . -type f -o -type l | sort";
    let dir = "";
    before(() => {
      dir = write(temp.at("tree"), { "a.txt": "a", "b.md": "b", "sub/c.txt": "c", "other/d": "d" });
      symlinkSync("../other", join(dir, "sub/link"));
      symlinkSync("sub/link/d", join(dir, "to-d"));
    });
    const list = (attrs: Record<string, string>, session: Partial<Session>) =>
      bench.look(source("local://ctx", attrs), LIST, { session });
    for (const [where, files] of [
      ["here", async () => ({ kind: "here" as const, path: dir })],
      ["elsewhere", async () => remoteDirectory(dir)],
    ] as const) {
      it(`that is ${where} is what its patterns choose, with what links on the way to paths lead to`, async () => {
        const session = { files };
        assert.equal(
          await list(
            { "local.includepattern": '["*.txt", "sub"]', "local.excludepatterns": '["a*"]' },
            session,
          ),
          "./sub/c.txt\n./sub/link\n",
        );
        assert.equal(
          await list({ "local.followpaths": '["to-d"]' }, session),
          "./other/d\n./sub/link\n./to-d\n",
        );
        assert.equal(
          await list({ "local.followpaths": '["to-d"]', "local.includepattern": '["a.txt"]' }, session),
          "./a.txt\n./other/d\n./sub/link\n./to-d\n",
        );
        assert.match(await list({ "local.includepattern": "null" }, session), /a\.txt/);
      });
    }

    it("may be in another session, under the name it has there", async () => {
      const other = (name: string): Session => ({
        ...NO_SESSION,
        files: async (asked) => ({ kind: "here", path: write(temp.at(name), { [asked]: "" }) }),
      });
      const session: Partial<Session> = {
        files: async () => ({ kind: "here", path: dir }),
        other: async (id) => (id === "one" ? other("one") : null),
      };
      assert.equal(await list({ "local.session": "one" }, session), "./ctx\n");
      assert.equal(await list({ "local.session": "pre:one" }, session), "./ctx\n./pre-ctx\n");
      assert.match(await list({ "local.session": "gone" }, session), /a\.txt/);
    });

    it("is sent again as a whole where differences are not to be told, and apart for another hint", async () => {
      const own = write(temp.at("own"), { f: "1", g: "2" });
      const remote = remoteDirectory(own);
      const session = { files: async () => remote };
      await list({}, session);
      assert.deepEqual(remote.take(), ["f", "g"]);
      await list({ "local.unique": "x" }, session);
      assert.deepEqual(remote.take(), []);
      await list({ "local.differ": "none" }, session);
      assert.deepEqual(remote.take(), ["f", "g"]);
      await list({ "local.differ": "metadata", "local.sharedkeyhint": "other" }, session);
      assert.deepEqual(remote.take(), ["f", "g"]);
      await list({ "local.sharedkeyhint": "other", "local.unique": "y" }, session);
      assert.deepEqual(remote.take(), []);
    });

    it("is refused with attributes that cannot be meant", async () => {
      const session = { files: async () => ({ kind: "here" as const, path: dir }) };
      for (const [attrs, words] of [
        [{ "local.includepattern": "{" }, /local\.includepattern is not a list in JSON/],
        [{ "local.excludepatterns": "[1]" }, /local\.excludepatterns is not a list of texts/],
        [{ "local.metadatatransfer": "maybe" }, /neither true nor false/],
        [{ "local.metadatatransfer": "true" }, /sources with local\.metadatatransfer are not supported/],
      ] as const) {
        assert.match(await failure(list(attrs, session)), words);
      }
    });
  });
});
