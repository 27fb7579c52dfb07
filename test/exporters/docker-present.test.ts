// Images for a docker daemon that has some of their layers. Docker is a program that answers as docker's does: what a daemon makes of such
// archives was tried with one of 20.10 (30 MB that it had: 9 kB were sent).

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runOutputs } from "../../exporters/exporter.ts";
import { parseOutput } from "../../exporters/output-grammar.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { LayerId } from "../../solver/graph/request.ts";
import { openFixture, type Fixture } from "./fixture.ts";

describe("images for docker", () => {
  let fixture: Fixture;
  let layers: readonly LayerId[];
  let diffIds: readonly Digest[];
  beforeEach(async () => {
    fixture = await openFixture();
    layers = [
      await fixture.addLayer("large", "x".repeat(5 << 20)),
      await fixture.addLayer("small", "y"),
      await fixture.addLayer("other", "z"),
    ];
    const signal = new AbortController().signal;
    diffIds = await Promise.all(
      layers.map(async (id) => (await fixture.layers.diffId(id, null, { signal })).diffId),
    );
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  const image = `sha256:${"a".repeat(64)}`;
  /** Loads the image; the files of its layers in what docker was sent, by their place in the image. */
  const load = async (
    answers: Readonly<Record<string, string>>,
    takes = "true",
  ): Promise<readonly number[]> => {
    const directory = join(fixture.dir, "bin");
    const loaded = join(fixture.dir, "loaded.tar");
    rmSync(loaded, { force: true });
    mkdirSync(directory, { recursive: true });
    const cases = Object.entries(answers).map(([command, text]) => `"${command}"*) echo '${text}';;\n`);
    writeFileSync(
      join(directory, "docker"),
      `#!/bin/sh\ncase "$*" in\n${cases.join("")}load) cat > ${loaded}; ${takes};;\n*) exit 1;;\nesac\n`,
    );
    chmodSync(join(directory, "docker"), 0o755);
    await runOutputs(
      [fixture.image(layers)],
      [parseOutput("type=docker,name=app,compression=uncompressed")],
      {
        ...fixture.deps,
        loaders: [["docker", "load"]],
        env: { ...process.env, PATH: `${directory}:${process.env["PATH"]}` },
      },
      fixture.context(),
    );
    assert.ok(existsSync(loaded));
    const tar = (...args: string[]): string => execFileSync("tar", [...args], { encoding: "utf8" });
    const [{ Layers }] = JSON.parse(tar("xOf", loaded, "manifest.json")) as [{ Layers: readonly string[] }];
    assert.equal(Layers.length, layers.length);
    const names = new Set(tar("tf", loaded).split("\n"));
    return Layers.flatMap((path, index) => (names.has(path) ? [index] : []));
  };
  const having = (...lists: readonly (readonly unknown[])[]) => ({
    info: "null",
    "image ls": `${image}\n${image}`,
    "image inspect": lists.map((list) => JSON.stringify(list)).join("\n"),
  });

  it("come without the layers that one of the daemon's begins with", async () => {
    assert.deepEqual(await load(having(diffIds.slice(0, 1), diffIds.slice(0, 2))), [2]);
    assert.deepEqual(await load(having(diffIds)), []);
    assert.deepEqual(await load(having([diffIds[0], diffIds[2]])), [1, 2]);
    assert.deepEqual(
      await load(having([diffIds[1], diffIds[0]])),
      [0, 1, 2],
      "on others it is another layer",
    );
  });

  it("come whole where it is not known what the daemon has", async () => {
    const all = [0, 1, 2];
    assert.deepEqual(await load({}), all);
    assert.deepEqual(
      await load({ ...having(diffIds), info: '[["driver-type","io.containerd.snapshotter.v1"]]' }),
      all,
    );
    assert.deepEqual(await load({ ...having(diffIds), "image inspect": "[1, {" }), all);
    assert.deepEqual(await load({ ...having(diffIds), "image ls": "" }), all);
  });

  it("come whole when the daemon has removed a layer meanwhile", async () => {
    const needsAll = `test $(tar tf ${fixture.dir}/loaded.tar | grep -c 'sha256/.') -ge 5`;
    assert.deepEqual(await load(having(diffIds.slice(0, 1)), needsAll), [0, 1, 2]);
    await assert.rejects(load(having(diffIds.slice(0, 1)), "echo no space >&2; exit 1"), {
      code: "OUTPUT_FAILED",
      message: /no space/,
    });
  });
});
