// Scans for packages in the keeper: of layers that steps made, and of a directory with ignore rules.

import assert from "node:assert/strict";
import type { Scan } from "../../worker/sbom/contract.ts";
import { temporaryDir } from "../support/store.ts";
import { writeTree } from "./sbom/fixture.ts";
import { openSandboxUnderTest, type SandboxUnderTest } from "./sandbox-fixture.ts";

/** A shell command that writes the manifest of a package. */
const install = (place: string, name: string, version = "1.0.0"): string =>
  `mkdir -p ${place}/node_modules/${name} && echo '{"name":"${name}","version":"${version}"}' > ${place}/node_modules/${name}/package.json`;

describe("a scan for packages", function () {
  this.timeout(60_000);
  let sandbox: SandboxUnderTest;
  const { signal } = new AbortController();
  before(async () => {
    sandbox = await openSandboxUnderTest();
  });
  after(() => sandbox[Symbol.asyncDispose]());

  /** The layers of these steps, above the base. */
  const layersOf = async (scripts: readonly string[]): Promise<readonly string[]> => {
    const layers: string[] = [];
    for (const script of scripts) {
      const { code, err, upper } = await sandbox.sh(script, { layers: [...layers] });
      assert.equal(code, 0, err);
      layers.push(upper);
    }
    return layers;
  };
  const scanned = (layers: readonly string[]): Promise<Scan> =>
    sandbox.keeper.run({ kind: "scan", tree: { kind: "layers", dirs: layers }, layers }, { signal });
  /** "name@version" and where it comes from: path and layer. */
  const found = ({ packages }: Scan): readonly string[] =>
    packages.map(
      ({ name, version, locations }) =>
        `${name}@${version} ${locations.map(({ path, layer }) => `${path}:${layer}`).join(" ")}`,
    );

  it("is told which layer brought a file: the newest with one of that name, whatever is deleted later, and through no link", async () => {
    const layers = await layersOf([
      "mkdir -p /d/e && touch /d/one /d/two /d/e/three && ln -s d /to && mkfifo /pipe && ln -s none /link",
      "rm /d/two /link && touch /d/one && chmod 600 /d/e",
      "rm -r /d/e && mkdir /d/e && printf x > '/d/\u00e9'",
    ]);
    const of = async (...paths: readonly string[]): Promise<readonly (number | null)[]> =>
      await sandbox.keeper.run({ kind: "layer-of", layers, paths }, { signal });
    assert.deepEqual(await of("/d/one", "d/two", "./d/../d/e/three", "/d/\u00e9"), [1, 0, 0, 2]);
    assert.deepEqual(await of("/pipe", "/link", "/d/e", "/to"), [0, 0, 2, 0]);
    const long = "n".repeat(300);
    assert.deepEqual(
      await of("/to/one", "/d/one/x", "/none/one", "/d/none", "", "/", "/d/\0", `/d/${long}`, "/d/one"),
      [...Array.from({ length: 8 }, () => null), 1],
    );
    assert.deepEqual(await of(), []);
  });

  it("sees what steps see: nothing deleted, nothing that an opaque directory covers", async () => {
    const layers = await layersOf([
      [
        install("/a", "kept"),
        install("/a", "removed"),
        install("/b", "covered"),
        install("/c", "below"),
      ].join(" && "),
      `rm -r /a/node_modules/removed && rm -r /b && ${install("/b", "new")} && mv /c /d`,
    ]);
    const scan = await scanned(layers);
    assert.deepEqual(found(scan), [
      "below@1.0.0 /d/node_modules/below/package.json:1",
      "kept@1.0.0 /a/node_modules/kept/package.json:0",
      "new@1.0.0 /b/node_modules/new/package.json:1",
    ]);
    assert.deepEqual(scan.unread, []);
  });

  it("says which layer brought a package: not the last one that touched its file, and none from before it was deleted", async () => {
    const layers = await layersOf([
      [install("/a", "one"), install("/a", "two"), install("/a", "three"), install("/a", "four")].join(
        " && ",
      ),
      `touch /a/node_modules/one/package.json && ${install("/a", "two", "2.0.0")} && rm -r /a/node_modules/three && rm -r /a/node_modules/four`,
      `${install("/a", "three")} && chmod 600 /a/node_modules/two/package.json && rm -rf /a/x && mkdir -p /a/node_modules/four`,
      `${install("/a", "four")}`,
    ]);
    const scan = await scanned(layers);
    assert.deepEqual(found(scan), [
      "four@1.0.0 /a/node_modules/four/package.json:3",
      "one@1.0.0 /a/node_modules/one/package.json:0",
      "three@1.0.0 /a/node_modules/three/package.json:2",
      "two@2.0.0 /a/node_modules/two/package.json:1",
    ]);
    // The copy that is seen is in the last layer that wrote it.
    const files = scan.files.map(({ path, layer }) => [path.split("/")[3], layer]);
    assert.deepEqual(files, [
      ["four", 3],
      ["one", 1],
      ["three", 2],
      ["two", 2],
    ]);
  });

  it("of a single layer that deletes, of layers that are there twice, and of none", async () => {
    const [first = "", second = ""] = await layersOf([
      `${install("/a", "one")} && ${install("/a", "two")}`,
      `rm -r /a/node_modules/one && ${install("/b", "three")}`,
    ]);
    assert.deepEqual(found(await scanned([second])), ["three@1.0.0 /b/node_modules/three/package.json:0"]);
    // As the layers of an image are listed, and what is mounted of them.
    const twice = await sandbox.keeper.run(
      { kind: "scan", tree: { kind: "layers", dirs: [second, first] }, layers: [first, second, first] },
      { signal },
    );
    assert.deepEqual(found(twice), [
      "one@1.0.0 /a/node_modules/one/package.json:2",
      "three@1.0.0 /b/node_modules/three/package.json:1",
      "two@1.0.0 /a/node_modules/two/package.json:0",
    ]);
    assert.deepEqual(await scanned([]), { distro: null, packages: [], files: [], unread: [] });
  });

  it("of a directory leaves out what its rules ignore, and knows no layers", async () => {
    using dir = temporaryDir();
    writeTree(dir.path, {
      "package-lock.json": '{"packages":{"node_modules/declared":{"version":"1.0.0"}}}',
      "inner/node_modules/seen/package.json": '{"name":"seen","version":"1.0.0"}',
      "ignored/node_modules/unseen/package.json": '{"name":"unseen","version":"1.0.0"}',
    });
    const scan = await sandbox.keeper.run(
      {
        kind: "scan",
        tree: { kind: "files", root: dir.path, excludes: ["ignored"], includes: [] },
        layers: [],
      },
      { signal },
    );
    assert.deepEqual(found(scan), [
      "declared@1.0.0 /package-lock.json:null",
      "seen@1.0.0 /inner/node_modules/seen/package.json:null",
    ]);
    assert.deepEqual(
      scan.packages.map(({ declared }) => declared),
      [true, false],
    );
  });

  it("goes as deep as paths can be, and names what is deeper", async () => {
    // A path cannot be as long as that, but half a tree can be moved into the other half.
    const half = Array.from({ length: 125 }, () => "directory-of-a-tree").join("/");
    const layers = await layersOf([
      `${install("/deep", "above")} && mkdir -p /deep/${half} /other/${half} && mv /other /deep/${half}/`,
      `${install("/later", "other")}`,
    ]);
    const scan = await scanned(layers);
    assert.deepEqual(
      scan.packages.map(({ name }) => name),
      ["above", "other"],
    );
    assert.deepEqual(
      scan.unread.map(({ path, reason }) => [path.length > 4000, reason]),
      [[true, "it holds paths that are too long"]],
    );
  });

  it("ends when it is cancelled", async () => {
    const layers = await layersOf(["mkdir /many && cd /many && for i in $(seq 20000); do echo > $i; done"]);
    const aborting = new AbortController();
    const running = sandbox.keeper.run(
      { kind: "scan", tree: { kind: "layers", dirs: layers }, layers },
      { signal: aborting.signal },
    );
    aborting.abort(new Error("enough"));
    await assert.rejects(running, /enough/);
    assert.deepEqual(found(await scanned([])), []);
  });
});
