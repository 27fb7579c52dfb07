// Dockerfile to graph: every test/golden/NAME.Dockerfile with its result in NAME.graph. UPDATE_GOLDEN=1 rewrites.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { projectDir } from "../support/project.ts";
import { ARM64, AMD64, baseImage, build, graphText, hostOf } from "./dockerfile.ts";

const DIR = join(projectDir, "test/golden");
const IMAGES = {
  "docker.io/library/base:1": [baseImage(), baseImage({}, ARM64)],
  "docker.io/library/tools:2": baseImage({
    User: "builder",
    WorkingDir: "/work",
    OnBuild: ["COPY . /triggered"],
  }),
  "docker.io/library/files:latest": baseImage(),
};

/** "# platforms: linux/amd64 linux/arm64" in the first lines asks for both. */
function platformsOf(dockerfile: string): readonly (typeof AMD64)[] {
  return dockerfile.includes("# platforms: both") ? [AMD64, ARM64] : [];
}

describe("graphs of Dockerfiles", () => {
  const names = readdirSync(DIR).flatMap((file) =>
    file.endsWith(".Dockerfile") ? [file.slice(0, -11)] : [],
  );
  for (const name of names) {
    it(`${name} becomes the graph on record`, async () => {
      const dockerfile = readFileSync(join(DIR, `${name}.Dockerfile`), "utf8");
      const { images } = await build(
        dockerfile,
        {
          platforms: platformsOf(dockerfile),
          dockerignore: { name: ".dockerignore", data: new TextEncoder().encode("*.log\n") },
        },
        hostOf(IMAGES),
      );
      const text = images.map(({ definition }) => graphText(definition)).join("\n");
      const file = join(DIR, `${name}.graph`);
      if (process.env["UPDATE_GOLDEN"] === "1") writeFileSync(file, text);
      assert.equal(text, readFileSync(file, "utf8"));
    });
  }
  it("has graphs to look at", () => assert.ok(names.length >= 8));
});
