// tsbuild images with patterns and filters, push --all-tags.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { startRegistry } from "../support/registry.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

describe("lists of images", () => {
  let shop: Workshop;
  before(async () => {
    shop = await openWorkshop();
    const make = async (label: string, epoch: number, ...names: string[]): Promise<void> => {
      const context = shop.context(`of-${label}`, {
        Dockerfile: `FROM scratch\nLABEL team=${label} of.${label}=\n`,
      });
      const tags = names.flatMap((name) => ["-t", name]);
      await shop.ok(["build", "--build-arg", `SOURCE_DATE_EPOCH=${epoch}`, ...tags, context]);
    };
    await make("red", 1_600_000_000, "app:1", "ghcr.io/red/app:1");
    await make("blue", 1_700_000_000, "app:2", "apple", "localhost:5000/blue/tool:dev");
  });
  after(() => shop[Symbol.dispose]());

  it("have sizes of all layers, whichever image they were made for", async () => {
    const context = shop.context("sizes", { data: "x".repeat(300_000), more: "y".repeat(100_000) });
    const make = async (name: string, dockerfile: string): Promise<void> => {
      writeFileSync(join(context, "Dockerfile"), dockerfile);
      await shop.ok(["build", "-t", name, context]);
    };
    const sizeOf = async (name: string): Promise<number> => {
      const { stdout } = await shop.ok(["inspect", name]);
      return (JSON.parse(stdout) as { Size: number }[])[0]?.Size ?? 0;
    };
    await make("sizes:base", "FROM scratch\nCOPY data /data\n");
    await make("sizes:more", "FROM sizes:base\nCOPY more /more\n");
    await make("sizes:same", "FROM sizes:base\nENV a=b\n");
    const base = await sizeOf("sizes:base");
    assert.ok(base >= 300_000, String(base));
    assert.equal(await sizeOf("sizes:same"), base);
    const more = await sizeOf("sizes:more");
    assert.ok(more >= base + 100_000 && more < base + 120_000, `${base} and ${more}`);
    const { stdout } = await shop.ok(["images", "--format", "{{.Tag}} {{.Size}}", "sizes"]);
    const listed = new Map(
      stdout
        .trim()
        .split("\n")
        .map((line) => line.split(" ") as [string, string]),
    );
    assert.equal(listed.get("same"), listed.get("base"));
    for (const name of ["base", "more", "same"]) await shop.ok(["rmi", `sizes:${name}`]);
  });

  const shown = async (...args: string[]): Promise<readonly string[]> => {
    const { stdout } = await shop.ok(["images", "--format", "{{.Repository}}:{{.Tag}}", ...args]);
    return stdout.split("\n").filter(Boolean).toSorted();
  };

  for (const [args, expected] of [
    [["app"], ["app:1", "app:2"]],
    [["app:1"], ["app:1"]],
    [["app*"], ["app:1", "app:2", "apple:latest"]],
    [["app:*"], ["app:1", "app:2"]],
    [["*"], ["app:1", "app:2", "apple:latest"]],
    [["*/*/tool"], ["localhost:5000/blue/tool:dev"]],
    [["ghcr.io/red/[a-c]pp:?"], ["ghcr.io/red/app:1"]],
    [["docker.io/library/app"], ["app:1", "app:2"]],
    [["none"], []],
    [
      ["-f", "reference=apple", "-f", "reference=*:1"],
      ["app:1", "apple:latest"],
    ],
    [
      ["--filter", "label=team=red"],
      ["app:1", "ghcr.io/red/app:1"],
    ],
    [["--filter", "label=of.blue", "app"], ["app:2"]],
    [["--filter", "label=team", "--filter", "label=of.red", "app"], ["app:1"]],
    [
      ["--filter", "before=app:2"],
      ["app:1", "ghcr.io/red/app:1"],
    ],
    [["--filter", "since=app:1", "app"], ["app:2"]],
    [["--filter", "until=2022-01-01", "app"], ["app:1"]],
    [["--filter", "until=1650000000", "app"], ["app:1"]],
    [
      ["--filter", "until=1h", "app"],
      ["app:1", "app:2"],
    ],
    [["--filter", "dangling=true"], []],
    [
      ["--filter", "dangling=false", "app"],
      ["app:1", "app:2"],
    ],
  ] as const) {
    it(`show ${args.join(" ")}`, async () => assert.deepEqual(await shown(...args), expected));
  }

  it("say what is no filter", async () => {
    for (const [filter, words] of [
      ["nonsense", /invalid argument "nonsense" for "-f, --filter" flag/],
      [
        "colour=red",
        /invalid filter 'colour'\nhint: known are before, dangling, label, reference, since, until/,
      ],
      ["before=nothing", /No such image: nothing/],
      ["until=soon", /invalid duration "soon"/],
    ] as const) {
      const { code, stderr } = await shop.run(["images", "--filter", filter]);
      assert.equal(code, 1);
      assert.match(stderr, words);
    }
  });

  it("are pushed with all tags of a repository", async () => {
    await using registry = await startRegistry();
    const name = `${registry.host}/app`;
    for (const tag of ["a", "b"]) await shop.ok(["tag", "app:1", `${name}:${tag}`]);
    await shop.ok(["tag", "app:1", `${registry.host}/application:c`]);
    const { stdout } = await shop.ok(["push", "--all-tags", name]);
    assert.equal(stdout, `${name}:a\n${name}:b\n`);
    const tags = await (await fetch(`http://${name.replace("/", "/v2/")}/tags/list`)).json();
    assert.deepEqual((tags as { tags: string[] }).tags.toSorted(), ["a", "b"]);
    for (const [given, words] of [
      [`${name}:a`, /tag can't be used with --all-tags\/-a/],
      [`${registry.host}/none`, /An image does not exist locally with the tag: /],
    ] as const) {
      const { code, stderr } = await shop.run(["push", "-a", given]);
      assert.equal(code, 1);
      assert.match(stderr, words);
    }
  });
});
