// Dockerfiles as real projects write them: each is read, looked at by the build checks and turned into graphs. What comes
// out is in expected.txt beside it; UPDATE_GOLDEN=1 rewrites. The configs of their base images are in corpus/images.json.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check, convert } from "../frontend/frontend.ts";
import { digestOf } from "../solver/graph/digest.ts";
import { AMD64, ARM64, CALL, graphText, hostOf, type Images, optionsOf } from "./frontend/dockerfile.ts";
import { projectDir } from "./support/project.ts";
import type { Converted, FrontendOptions } from "../frontend/contract.ts";

const DIR = join(projectDir, "test", "corpus");
const PLATFORMS = new Map([
  ["linux/amd64", AMD64],
  ["linux/arm64", ARM64],
]);

interface CorpusOptions {
  readonly target?: string;
  readonly platforms?: readonly string[];
  readonly buildArgs?: Readonly<Record<string, string>>;
}

/** Every image there is for both platforms, as official ones are. */
function readImages(): Images {
  const configs = JSON.parse(readFileSync(join(DIR, "images.json"), "utf8")) as Record<string, object>;
  return Object.fromEntries(
    Object.entries(configs).map(([name, config]) => [
      name,
      [AMD64, ARM64].map((platform) => ({
        ...platform,
        config,
        rootfs: { type: "layers", diff_ids: [digestOf(name)] },
        history: [{ created_by: `base ${name}` }],
      })),
    ]),
  );
}

function readOptions(name: string): FrontendOptions {
  const dir = join(DIR, name);
  const file = join(dir, "options.json");
  const more = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as CorpusOptions) : {};
  return optionsOf(readFileSync(join(dir, "Dockerfile"), "utf8"), {
    target: more.target ?? null,
    platforms: (more.platforms ?? []).map((platform) => PLATFORMS.get(platform) ?? AMD64),
    buildArgs: new Map(Object.entries(more.buildArgs ?? {})),
  });
}

function textOf({ images, warnings }: Converted): string {
  const found = warnings.map(({ rule, detail, at }) => `line ${at.start.line}: ${rule}: ${detail}\n`);
  const parts = images.map(({ definition, config }) => {
    const made = config.history.filter(({ comment }) => comment === "buildkit.dockerfile.v0");
    return [
      graphText(definition),
      `config ${JSON.stringify(config.config, null, 2)}\n`,
      ...made.map((entry) => `${entry.empty_layer ? "-" : "+"} ${entry.created_by}\n`),
    ].join("");
  });
  return [...found, ...parts].join("");
}

describe("Dockerfiles of real projects' style", () => {
  const host = hostOf(readImages());
  const names = readdirSync(DIR).filter((name) => existsSync(join(DIR, name, "Dockerfile")));

  for (const name of names) {
    it(name, async () => {
      const options = readOptions(name);
      const converted = await convert(options, host, CALL);
      const text = textOf(converted);
      const file = join(DIR, name, "expected.txt");
      if (process.env["UPDATE_GOLDEN"] === "1") writeFileSync(file, text);
      assert.equal(text, readFileSync(file, "utf8"));
      // The checks alone see the same.
      const checked = await check(options, host, CALL);
      assert.equal(checked.error, null);
      assert.deepEqual(checked.warnings, converted.warnings);
    });
  }

  it("are at least sixty", () => assert.ok(names.length >= 60));
});
