// Progress of an export: BuildKit's wording, each line with its digest or bytes, in a meaningful order.

import assert from "node:assert/strict";
import { join } from "node:path";
import { runOutputs } from "../../exporters/exporter.ts";
import { parseOutput } from "../../exporters/output-grammar.ts";
import { type Digest, digestOf } from "../../solver/graph/digest.ts";
import type { ProgressEvent } from "../../solver/graph/event.ts";
import type { BuiltImage } from "../../solver/graph/request.ts";
import { startRegistry, type RunningRegistry } from "../support/registry.ts";
import { openFixture, type Fixture } from "./fixture.ts";
import type { ExportOutcome } from "../../exporters/contract.ts";

describe("an export says", () => {
  let fixture: Fixture;
  let registry: RunningRegistry;
  before(async () => {
    registry = await startRegistry();
  });
  after(() => registry[Symbol.asyncDispose]());
  beforeEach(async () => {
    fixture = await openFixture();
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  const vertices = [digestOf("first"), digestOf("second")];
  /** Lines of the step that came to their end, in that order; bytes where there are some. */
  const said = (step = 0): readonly string[] =>
    fixture.events.flatMap((event: ProgressEvent) => {
      if (event.kind === "note" || event.kind === "warning" || event.vertex !== vertices[step]) return [];
      if (event.kind !== "bytes") return [event.kind];
      if (!event.done) return [];
      return [event.total === null ? event.label : `${event.label} ${event.current}/${event.total}`];
    });
  const run = async (
    image: BuiltImage | readonly BuiltImage[],
    ...texts: string[]
  ): Promise<ExportOutcome> => {
    const images = Array.isArray(image) ? (image as readonly BuiltImage[]) : [image as BuiltImage];
    const outputs = texts.map((text) => parseOutput(text));
    const [outcome] = await runOutputs(images, outputs, fixture.deps, fixture.context({ vertices }));
    assert.ok(outcome);
    return outcome;
  };

  it("layers, manifest, config and every name of an image in the store", async () => {
    const image = fixture.image([await fixture.addLayer("a.txt", "one\n")]);
    const { descriptor, configDigest } = await run(
      image,
      'type=image,"name=docker.io/library/app:1,docker.io/library/app:2"',
    );
    assert.deepEqual(said(), [
      "exporting layers",
      `exporting manifest ${descriptor?.digest}`,
      `exporting config ${configDigest}`,
      "naming to docker.io/library/app:1",
      "naming to docker.io/library/app:2",
      "done",
    ]);
  });

  it("what is sent with its size, the config as a config, and each name with its digest", async () => {
    const layers = [await fixture.addLayer("a.txt", "one\n"), await fixture.addLayer("b.txt", "two\n")];
    const name = `${registry.host}/said`;
    const { descriptor, configDigest } = await run(
      fixture.image(layers),
      `type=image,store=false,push=true,"name=${name}:1,${name}:2"`,
    );
    const lines = said();
    const sent = lines.filter((line) => /^pushing (?:layer|config) /.test(line));
    assert.equal(sent.length, 3);
    for (const line of sent) {
      const [, , digest = "", bytes = ""] = line.split(" ");
      const size = fixture.store.content.size(digest as Digest);
      assert.equal(bytes, `${size}/${size}`);
      assert.equal(line.startsWith("pushing config"), digest === configDigest);
    }
    assert.deepEqual(
      lines.filter((line) => !sent.includes(line)),
      [
        "exporting layers",
        `exporting manifest ${descriptor?.digest}`,
        `exporting config ${configDigest}`,
        "pushing layers",
        `pushing manifest for ${name}:1@${descriptor?.digest}`,
        `pushing manifest for ${name}:2@${descriptor?.digest}`,
        "done",
      ],
    );
    fixture.events.length = 0;
    await run(fixture.image(layers), `type=image,store=false,push=true,name=${name}:3`);
    assert.ok(!said().some((line) => /^pushing (?:layer|config) /.test(line)), "what is there is not sent");
  });

  it("the manifest of each platform and the list of them", async () => {
    const layer = await fixture.addLayer("a.txt", "one\n");
    const images = ["amd64", "arm64"].map((architecture) => fixture.image([layer], { architecture }));
    const { descriptor } = await run(images, "type=image,name=app:1");
    const lines = said();
    assert.equal(lines.filter((line) => line.startsWith("exporting manifest sha256:")).length, 2);
    assert.equal(lines.filter((line) => line.startsWith("exporting config sha256:")).length, 2);
    assert.deepEqual(lines.slice(-3), [
      `exporting manifest list ${descriptor?.digest}`,
      "naming to docker.io/library/app:1",
      "done",
    ]);
  });

  it("of a layer that has to be made first which one it is, and how large it became", async () => {
    const [one, two] = [await fixture.addLayer("a.txt", "one\n"), await fixture.addLayer("b.txt", "two\n")];
    const name = `[stage 2/9] RUN http://user:secret@host/ ${"x".repeat(100)}`;
    fixture.store.layers.update(two, { description: name });
    const layers: typeof fixture.layers = {
      ...fixture.layers,
      blob(id, variant, options) {
        if (id === two) options.onBytes?.(0);
        return fixture.layers.blob(id, variant, options);
      },
    };
    const dest = join(fixture.dir, "image.tar");
    const context = fixture.context({ vertices });
    const output = parseOutput(`type=oci,dest=${dest}`);
    await runOutputs([fixture.image([one, two])], [output], { ...fixture.deps, layers }, context);
    const lines = said();
    assert.match(
      lines[0] ?? "",
      /^exporting layer 2\/2 \(RUN http:\/\/xxxxx:xxxxx@host\/ x{20}…\) (\d+)\/\1$/,
    );
    assert.equal(lines[1], "exporting layers");
  });

  it("the bytes of an archive, and each output as a step of its own", async () => {
    const image = fixture.image([await fixture.addLayer("a.txt", "one\n")]);
    const dest = join(fixture.dir, "image.tar");
    await run(image, `type=oci,dest=${dest}`, "type=image,name=app:1");
    assert.equal(said(0).at(-2), "sending tarball");
    assert.equal(said(1).at(-2), "naming to docker.io/library/app:1");
    assert.equal(said(0).at(-1), "done");
    assert.equal(said(1).at(-1), "done");
    const [last] = fixture.events.filter(
      (event) => event.kind === "bytes" && event.label === "sending tarball" && event.done,
    );
    assert.ok(last?.kind === "bytes" && last.current > 1000, "the bytes of all members");
  });

  it("which output failed, and that the others were cancelled", async () => {
    const image = fixture.image([await fixture.addLayer("a.txt", "one\n")]);
    const layers: typeof fixture.layers = {
      ...fixture.layers,
      async blob(_id, _variant, { signal }) {
        await new Promise((_, reject) =>
          signal.addEventListener("abort", () => reject(signal.reason as Error)),
        );
        throw new Error("not reached");
      },
    };
    const outputs = [`type=oci,dest=${fixture.dir}/a.tar`, "type=local,dest=/proc/self/status/x"].map(
      (text) => parseOutput(text),
    );
    const running = runOutputs([image], outputs, { ...fixture.deps, layers }, fixture.context({ vertices }));
    await assert.rejects(running, { code: "OUTPUT_INVALID", vertex: vertices[1] });
    assert.equal(said(0).at(-1), "cancelled");
    assert.equal(said(1).at(-1), "failed");
  });
});
