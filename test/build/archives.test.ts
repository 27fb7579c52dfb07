// load, save and import.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { needs } from "../support/needs.ts";
import { startRegistry } from "../support/registry.ts";
import { ordinaryUser } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

const sha256 = (data: string | Buffer): string => createHash("sha256").update(data).digest("hex");

const account = ordinaryUser();

describe(`archives of images as ${account.name}`, () => {
  let shop: Workshop;
  let serial = 0;
  before(async () => {
    shop = await openWorkshop(account);
    const app = shop.context("app", {
      Dockerfile: 'FROM base\nRUN echo one > /one\nCMD ["cat", "/one"]\n',
    });
    const other = shop.context("other", {
      Dockerfile: 'FROM base\nRUN echo two > /two\nCMD ["cat", "/two"]\n',
    });
    await shop.ok(["build", "-t", "app", app]);
    await shop.ok(["build", "-t", "localhost:1/other:v2", other]);
  });
  after(() => shop[Symbol.dispose]());
  const elsewhere = () => ({ env: { TSBUILD_ROOT: shop.at(`other-${serial++}`) } });
  const write = (name: string, data: string | Buffer): string => {
    const path = join(shop.context("files", {}), name);
    writeFileSync(path, data);
    return path;
  };

  it("saved go into another store, with their IDs, and run there", async () => {
    const file = shop.at("both.tar");
    await shop.ok(["save", "-o", file, "app", "localhost:1/other:v2"]);
    const there = elsewhere();
    const { stdout } = await shop.ok(["load", "-i", file], there);
    assert.equal(stdout, "Loaded image: app:latest\nLoaded image: localhost:1/other:v2\n");
    const ids = async (more = {}) =>
      (await shop.ok(["images", "--no-trunc", "--format", "{{.ID}}"], more)).stdout.split("\n").sort();
    assert.deepEqual(await ids(there), await ids());
    assert.equal((await shop.ok(["run", "app"], there)).stdout, "one\n");
    assert.equal((await shop.ok(["run", "localhost:1/other:v2"], there)).stdout, "two\n");
  });

  it("that hold several images take no one name", async () => {
    const file = shop.at("several.tar");
    await shop.ok(["save", "-o", file, "app", "localhost:1/other:v2"]);
    const { code, stderr } = await shop.run(["load", "-i", file, "one:1"], elsewhere());
    assert.equal(code, 1);
    assert.match(stderr, /contains 2 images, which cannot share one name/);
  });

  it("are read from standard input, compressed or not", async () => {
    const file = shop.at("piped.tar");
    await shop.ok(["save", "-o", file, "app"]);
    const packed = write("piped.tar.gz", gzipSync(readFileSync(file)));
    for (const inputFile of [file, packed]) {
      const there = elsewhere();
      const { stdout } = await shop.ok(["load", "-q"], { ...there, inputFile });
      assert.equal(stdout, "app:latest\n");
      assert.equal((await shop.ok(["run", "app"], there)).stdout, "one\n");
    }
  });

  it("are written to standard output, and read by skopeo", async () => {
    needs("skopeo");
    const file = shop.at("skopeo.tar");
    await shop.ok(["save", "--output", file, "app"]);
    const layers = (transport: string) =>
      (
        JSON.parse(execFileSync("skopeo", ["inspect", `${transport}:${file}`], { encoding: "utf8" })) as {
          Layers: string[];
        }
      ).Layers;
    assert.equal(layers("docker-archive").length, 2);
    // and the other way round, in docker's older form
    const older = shop.at("older.tar");
    rmSync(older, { force: true });
    execFileSync("skopeo", ["copy", "-q", `docker-archive:${file}`, `docker-archive:${older}:app:older`]);
    const there = elsewhere();
    assert.equal((await shop.ok(["load", "-i", older], there)).stdout, "Loaded image: app:older\n");
    assert.equal((await shop.ok(["run", "app:older"], there)).stdout, "one\n");
  });

  it("of several platforms come whole, or one of them", async () => {
    const context = shop.context("multi", {
      Dockerfile: "FROM scratch\nARG TARGETARCH\nADD $TARGETARCH /\n",
      amd64: "a",
      arm64: "b",
    });
    await shop.ok(["build", "--platform=linux/amd64,linux/arm64", "-t", "multi", context]);
    const [all, one] = [shop.at("all.tar"), shop.at("one.tar")];
    await shop.ok(["save", "-o", all, "multi"]);
    await shop.ok(["save", "--platform=linux/arm64", "-o", one, "multi"]);
    const platforms = async (file: string) => {
      const there = elsewhere();
      await shop.ok(["load", "-i", file], there);
      const { stdout } = await shop.ok(["inspect", "multi"], there);
      return [...stdout.matchAll(/"Architecture": "(\w+)"/g)].map(([, name]) => name);
    };
    assert.ok((await platforms(all)).includes("amd64"));
    assert.deepEqual([...new Set(await platforms(one))], ["arm64"]);
    const { code, stderr } = await shop.run(["save", "--platform=linux/s390x", "-o", one, "multi"]);
    assert.equal(code, 1);
    assert.match(stderr, /multi is not in the local store for linux\/s390x/);
  });

  it("keep the digests that a registry has", async () => {
    await using registry = await startRegistry();
    const context = shop.context("kept", {
      Dockerfile: "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /\n",
      amd64: "a",
      arm64: "b",
    });
    const [both, single] = [`${registry.host}/both:1`, `${registry.host}/single:1`];
    const maker = { env: { TSBUILD_ROOT: shop.at("maker") } };
    const push = ["build", "--push", "--annotation=index,manifest:a=b"];
    await shop.ok([...push, "--platform=linux/amd64,linux/arm64", "-t", both, context], maker);
    await shop.ok(["build", "--push", "--annotation=a=b", "-t", single, context], maker);
    await shop.ok(["pull", "--platform=linux/arm64", both]);
    await shop.ok(["pull", single]);
    const digests = async (more = {}) =>
      (await shop.ok(["inspect", "-f", "{{.Id}}", both, single], more)).stdout;
    const file = shop.at("kept.tar");
    await shop.ok(["save", "-o", file, both, single]);
    const members = execFileSync("tar", ["-tf", file], { encoding: "utf8" });
    const read = (name: string): unknown =>
      JSON.parse(execFileSync("tar", ["-xOf", file, name], { encoding: "utf8" }));
    const { manifests } = read("index.json") as {
      manifests: { digest: string; annotations: Record<string, string> }[];
    };
    for (const [reference, { digest, annotations }] of [both, single].map(
      (one, index) => [one, manifests[index] as (typeof manifests)[number]] as const,
    )) {
      const [path, tag] = reference.slice(registry.host.length + 1).split(":");
      const { headers } = await fetch(`http://${registry.host}/v2/${path}/manifests/${tag}`, {
        headers: {
          accept: "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json",
        },
      });
      assert.equal(digest, headers.get("docker-content-digest"));
      assert.ok(members.includes(digest.slice("sha256:".length)));
      assert.ok(Date.parse(annotations["org.opencontainers.image.created"] ?? "") > 0);
    }
    // Of the index, the one platform that is here is what older programs get.
    const older = read("manifest.json") as { Config: string; RepoTags: string[] }[];
    assert.deepEqual(
      older.map(({ RepoTags }) => RepoTags),
      [[both], [single]],
    );
    const there = elsewhere();
    await shop.ok(["load", "-i", file], there);
    assert.equal(await digests(there), await digests());
    // and its platform alone is the manifest that the index names
    await shop.ok(["save", "--platform=linux/arm64", "-o", file, both]);
    const [entry] = (read("index.json") as { manifests: { digest: string }[] }).manifests;
    const digest = entry?.digest.slice("sha256:".length) ?? "none";
    assert.ok(execFileSync("tar", ["-tf", file], { encoding: "utf8" }).includes(digest));
    assert.notEqual(entry?.digest, manifests[0]?.digest);
  });

  it("keep the annotations, types and digests of what was never pushed", async () => {
    await using registry = await startRegistry();
    const context = shop.context("said", {
      Dockerfile: "FROM base\nARG TARGETARCH\nCOPY $TARGETARCH /\n",
      amd64: "a",
      arm64: "b",
    });
    const plain = shop.context("said-scratch", {
      Dockerfile: "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /\n",
      amd64: "a",
      arm64: "b",
    });
    const file = shop.at("said.tar");
    const metadata = shop.at("said.json");
    const read = (name: string): unknown =>
      JSON.parse(execFileSync("tar", ["-xOf", file, name], { encoding: "utf8" }));
    const blob = (digest: string): unknown => read(`blobs/sha256/${digest.slice("sha256:".length)}`);
    interface Said {
      readonly digest: string;
      readonly mediaType: string;
      readonly annotations?: Record<string, string>;
      readonly manifests?: readonly Said[];
    }
    const entry = (): Said => {
      const [first] = (read("index.json") as { manifests: readonly Said[] }).manifests;
      return first as Said;
    };
    const built = async (...args: readonly string[]): Promise<string> => {
      await shop.ok(["build", "--metadata-file", metadata, ...args]);
      return (JSON.parse(readFileSync(metadata, "utf8")) as Record<string, string>)[
        "containerimage.digest"
      ] as string;
    };

    const single = await built(
      "-t",
      "said:1",
      "--annotation=a=b",
      "--annotation=manifest-descriptor:c=d",
      context,
    );
    await shop.ok(["save", "-o", file, "said:1"]);
    assert.equal(entry().digest, single);
    assert.equal(entry().annotations?.["c"], "d");
    assert.deepEqual((blob(single) as Said).annotations, { a: "b" });

    const types = await built("-o", "type=image,name=said:2,oci-mediatypes=false,annotation.e=f", context);
    await shop.ok(["save", "-o", file, "said:2"]);
    assert.equal(entry().digest, types);
    assert.deepEqual((blob(types) as Said).annotations, { e: "f" });

    const annotations = [
      "index:i=1",
      "manifest[linux/arm64]:m=2",
      "manifest-descriptor:d=3",
      "index-descriptor:x=4",
    ];
    const flags = annotations.map((one) => `--annotation=${one}`);
    const both = await built("-t", "said:3", "--platform=linux/amd64,linux/arm64", ...flags, plain);
    const check = (top: Said, of: (digest: string) => Said): void => {
      assert.deepEqual(top.annotations, { i: "1" });
      assert.deepEqual(
        top.manifests?.map(({ digest, annotations: own }) => [own, of(digest).annotations]),
        [
          [{ d: "3" }, undefined],
          [{ d: "3" }, { m: "2" }],
        ],
      );
    };
    await shop.ok(["save", "-o", file, "said:3"]);
    assert.equal(entry().digest, both);
    assert.equal(entry().annotations?.["x"], "4");
    check(blob(both) as Said, (digest) => blob(digest) as Said);
    await shop.ok(["save", "--platform=linux/arm64", "-o", file, "said:3"]);
    assert.deepEqual((blob(entry().digest) as Said).annotations, { m: "2" });
    assert.equal(entry().annotations?.["d"], "3");

    // A push packs the layers, but says the same.
    const name = `${registry.host}/said:3`;
    await shop.ok(["tag", "said:3", name]);
    await shop.ok(["push", name]);
    const fetched = new Map<string, Said>();
    const pull = async (at: string): Promise<Said> => {
      const accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
      const answer = await fetch(`http://${registry.host}/v2/said/manifests/${at}`, {
        headers: { accept },
      });
      const said = (await answer.json()) as Said;
      fetched.set(at, said);
      return said;
    };
    const top = await pull("3");
    for (const { digest } of top.manifests ?? []) await pull(digest);
    check(top, (digest) => fetched.get(digest) as Said);
  });

  describe("without a name", () => {
    const ID = /^sha256:[0-9a-f]{64}$/;
    let layout = "";
    let older = "";
    let id = "";
    before(async () => {
      layout = shop.at("layout");
      await shop.ok(["build", "-o", `type=oci,tar=false,dest=${layout}`, shop.context("app", {})]);
      id = (await shop.ok(["inspect", "-f", "{{.Id}}", "app"])).stdout.trim();
      const saved = shop.at("saved-by-id.tar");
      await shop.ok(["save", "-o", saved, id]);
      older = shop.at("older-nameless.tar");
      execFileSync(needs("skopeo"), ["copy", "-q", `docker-archive:${saved}`, `docker-archive:${older}`]);
    });
    const rows = async (there: object, ...more: readonly string[]) =>
      (
        await shop.ok(
          ["images", "--no-trunc", "--format", "{{.Repository}} {{.Tag}} {{.ID}}", ...more],
          there,
        )
      ).stdout;

    it("are known by their ID, in layouts and in docker's older form", async () => {
      for (const file of [layout, older]) {
        const there = elsewhere();
        assert.equal((await shop.ok(["load", "-i", file], there)).stdout, `Loaded image ID: ${id}\n`);
        assert.equal((await shop.ok(["load", "-q", "-i", file], there)).stdout, `${id}\n`);
        assert.equal(await rows(there), `<none> <none> ${id}\n`);
        assert.equal(await rows(there, "--filter", "dangling=true"), `<none> <none> ${id}\n`);
        assert.equal(await rows(there, "--filter", "dangling=false"), "");
        for (const text of [id, id.slice(7), id.slice(7, 19), id.slice(0, 15)])
          assert.equal((await shop.ok(["run", text], there)).stdout, "one\n");
        const { stdout } = await shop.ok(["inspect", id.slice(7, 19)], there);
        const [one] = JSON.parse(stdout) as [{ Id: string; RepoTags: string[] }];
        assert.deepEqual([one.Id, one.RepoTags], [id, []]);
        assert.match((await shop.ok(["history", id], there)).stdout, /echo one/);
      }
    });

    it("may be given one, and then are no longer without", async () => {
      const there = elsewhere();
      const named = await shop.ok(["load", "-i", layout, "given:1"], there);
      assert.equal(named.stdout, "Loaded image: given:1\n");
      // What has a name here gets no second row.
      assert.equal((await shop.ok(["load", "-i", layout], there)).stdout, `Loaded image ID: ${id}\n`);
      assert.equal(await rows(there), `given 1 ${id}\n`);
      await shop.ok(["rmi", "given:1"], there);
      assert.equal(await rows(there), "");
      await shop.ok(["load", "-i", layout], there);
      await shop.ok(["tag", id.slice(7, 19), "later:2"], there);
      assert.equal(await rows(there), `later 2 ${id}\n`);
      assert.equal((await shop.ok(["rmi", "later:2"], there)).stdout, "Untagged: later:2\n");
      assert.equal(await rows(there), "");
    });

    it("are removed by a whole ID, with or without its algorithm", async () => {
      const there = elsewhere();
      for (const text of [id, id.slice(7)]) {
        await shop.ok(["load", "-i", layout], there);
        assert.equal((await shop.ok(["rmi", text], there)).stdout, `Deleted: ${id}\n`);
      }
    });

    it("are not hidden by a name that looks like an ID, nor is a digest a name", async () => {
      const there = elsewhere();
      const digest = `sha256:${"ab".repeat(32)}`;
      for (const bad of [`sha256:${id.slice(7, 40)}`, `app@${digest}`]) {
        for (const args of [
          ["load", "-i", layout, bad],
          ["tag", "app", bad],
          ["import", older, bad],
          ["build", "-t", bad, shop.at("app")],
          ["build", "-o", `type=image,name=${bad}`, shop.at("app")],
        ]) {
          const { code, stderr } = await shop.run(args);
          assert.equal(code, 1, args.join(" "));
          assert.match(stderr, /refusing to create an? (?:ambiguous )?tag/, args.join(" "));
        }
        // What an archive says of itself.
        const named = shop.at(`named-${serial++}`);
        cpSync(layout, named, { recursive: true });
        const index = JSON.parse(readFileSync(join(named, "index.json"), "utf8")) as {
          manifests: { annotations?: object }[];
        };
        for (const one of index.manifests)
          one.annotations = { ...one.annotations, "io.containerd.image.name": `docker.io/library/${bad}` };
        writeFileSync(join(named, "index.json"), JSON.stringify(index));
        const { code, stderr } = await shop.run(["load", "-i", named], there);
        assert.equal(code, 1, bad);
        assert.match(stderr, /which is not a valid name/);
      }
      assert.equal(await rows(there), "");
    });

    it("are saved by their ID, and loaded again", async () => {
      const there = elsewhere();
      await shop.ok(["load", "-i", older], there);
      const file = shop.at("again.tar");
      await shop.ok(["save", "-o", file, id.slice(7, 19)], there);
      const third = elsewhere();
      assert.equal((await shop.ok(["load", "-i", file], third)).stdout, `Loaded image ID: ${id}\n`);
      assert.equal((await shop.ok(["run", id], third)).stdout, "one\n");
    });

    it("stay until a prune of everything or rmi takes them", async () => {
      const there = elsewhere();
      await shop.ok(["load", "-i", layout], there);
      for (const kept of [
        ["--filter", "type=regular"],
        ["--filter", "until=1h"],
        ["--keep-storage", "1b"],
      ]) {
        await shop.ok(["prune", "-f", ...kept], there);
        assert.equal((await shop.ok(["run", id], there)).stdout, "one\n", kept.join(" "));
      }
      await shop.ok(["tag", id, "kept:1"], there);
      assert.doesNotMatch((await shop.ok(["prune", "-f"], there)).stdout, /Deleted/);
      await shop.ok(["rmi", "kept:1"], there);
      await shop.ok(["load", "-i", layout], there);
      const { stdout } = await shop.ok(["prune", "-f"], there);
      assert.match(stdout, new RegExp(`^Deleted: ${id}\nRemoved [1-9]`));
      assert.equal(await rows(there), "");
      const { code, stderr } = await shop.run(["run", id], there);
      assert.equal(code, 125);
      assert.match(stderr, /No such image: sha256:/);
      await shop.ok(["load", "-i", layout], there);
      assert.equal((await shop.ok(["rmi", id], there)).stdout, `Deleted: ${id}\n`);
      assert.equal(await rows(there), "");
      assert.match(id, ID);
    });

    it("with or without, are whole for fsck, and are there again when the database is lost", async () => {
      const there = elsewhere();
      await shop.ok(["load", "-i", layout], there);
      await shop.ok(["fsck"], there);
      await shop.ok(["run", id], there);
      const named = elsewhere();
      await shop.ok(["load", "-i", layout, "given:1"], named);
      await shop.ok(["fsck"], named);
      rmSync(join(there.env.TSBUILD_ROOT, "db"), { recursive: true });
      const { stderr, stdout } = await shop.ok(["run", id], there);
      assert.equal(stdout, "one\n");
      assert.match(stderr, /the image sha256:\w+: restored from its file/);
    });
  });

  describe("that are hostile", () => {
    const config = (layers: readonly string[]): string =>
      JSON.stringify({
        os: "linux",
        architecture: "amd64",
        config: {},
        rootfs: { type: "layers", diff_ids: layers.map((hex) => `sha256:${hex}`) },
      });
    /** A tar of docker's older form, made of files that `make` writes. */
    const archive = (make: (dir: string) => void): string => {
      const dir = join(shop.context(`hostile-${serial}`, {}));
      mkdirSync(dir, { recursive: true });
      make(dir);
      const file = `${dir}.tar`;
      execFileSync("tar", ["-cf", file, "-C", dir, "."]);
      execFileSync("chmod", ["644", file]);
      serial++;
      return file;
    };
    const manifest = (dir: string, value: unknown): void =>
      writeFileSync(join(dir, "manifest.json"), JSON.stringify(value));
    const layer = execFileSync("tar", ["-cf", "-", "-C", "/", "--files-from=/dev/null"]);

    for (const [what, make, words] of [
      [
        "a layer that is another",
        (dir: string) => {
          writeFileSync(join(dir, "layer.tar"), layer);
          writeFileSync(join(dir, "c.json"), config([sha256("other")]));
          manifest(dir, [{ Config: "c.json", RepoTags: ["x:1"], Layers: ["layer.tar"] }]);
        },
        /the layer layer\.tar does not match its config/,
      ],
      [
        "a link to a file of this machine",
        (dir: string) => {
          symlinkSync("/etc/passwd", join(dir, "c.json"));
          manifest(dir, [{ Config: "c.json", RepoTags: ["x:1"], Layers: [] }]);
        },
        /"c\.json" is not in it/,
      ],
      [
        "links in a circle",
        (dir: string) => {
          symlinkSync("b", join(dir, "a"));
          symlinkSync("a", join(dir, "b"));
          manifest(dir, [{ Config: "a", RepoTags: ["x:1"], Layers: [] }]);
        },
        /"a" is not in it/,
      ],
      [
        "names that lead out",
        (dir: string) => manifest(dir, [{ Config: "../../etc/passwd", RepoTags: ["x:1"], Layers: [] }]),
        /passwd" is not in it/,
      ],
      [
        "a name that is none",
        (dir: string) => {
          writeFileSync(join(dir, "c.json"), config([]));
          manifest(dir, [{ Config: "c.json", RepoTags: ["../../\u001b[31mX"], Layers: [] }]);
        },
        /which is not a valid name/,
      ],
      [
        "a manifest of another kind",
        (dir: string) => manifest(dir, { a: 1 }),
        /its manifest\.json is not a list/,
      ],
      [
        "a manifest without end",
        (dir: string) => writeFileSync(join(dir, "manifest.json"), Buffer.alloc(5 << 20, " ")),
        /more than 4194304 bytes/,
      ],
    ] as const) {
      it(`with ${what} are refused`, async () => {
        const there = elsewhere();
        const { code, stderr } = await shop.run(["load", "-i", archive(make)], there);
        assert.equal(code, 1);
        assert.match(stderr, words);
        assert.doesNotMatch(stderr, /internal error|\u001b/);
        assert.equal((await shop.ok(["images", "-q"], there)).stdout, "");
      });
    }

    it("or none at all, or cut short, are told so", async () => {
      const whole = shop.at("whole.tar");
      await shop.ok(["save", "-o", whole, "app"]);
      const cut = write("cut.tar", readFileSync(whole).subarray(0, statSync(whole).size >> 1));
      for (const [file, words] of [
        [write("text", "not an archive".repeat(100)), /not an uncompressed tar/],
        [write("empty", ""), /no index\.json/],
        [cut, /the tar is truncated/],
        [shop.at("nowhere.tar"), /cannot open \S+nowhere\.tar: ENOENT/],
        [write("bad.gz", Buffer.concat([Buffer.from("1f8b08", "hex"), Buffer.alloc(100)])), /gzip/],
      ] as const) {
        const { code, stderr } = await shop.run(["load", "-i", file], elsewhere());
        assert.equal(code, 1);
        assert.match(stderr, words);
        assert.doesNotMatch(stderr, /internal error/);
      }
    });
  });

  it("of root file systems become images", async () => {
    const out = shop.at("root.tar");
    await shop.ok(["build", "-o", `type=tar,dest=${out}`, shop.context("app", {})]);
    const packed = write("root.tar.gz", gzipSync(readFileSync(out)));
    const { stdout } = await shop.ok(["import", "-m", "from a tar", packed, "rooted:1"]);
    assert.match(stdout, /^sha256:[0-9a-f]{64}\n$/);
    assert.equal((await shop.ok(["run", "rooted:1", "cat", "/one"])).stdout, "one\n");
    assert.match((await shop.ok(["history", "rooted:1"])).stdout, /from a tar/);
    await shop.ok(["import", "-", "rooted:2"], { inputFile: out });
    assert.equal((await shop.ok(["run", "rooted:2", "cat", "/one"])).stdout, "one\n");
    const bad = await shop.run(["import", write("text", "no tar"), "rooted:3"]);
    assert.equal(bad.code, 1);
    assert.match(bad.stderr, /is not the tar of a root file system/);
  });
});
