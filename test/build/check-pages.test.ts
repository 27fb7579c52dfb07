// docs/checks: each page's first Dockerfile is warned about by its check, the second is not.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { projectDir } from "../support/project.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

const pages = join(projectDir, "docs", "checks");

describe("pages of the build checks", () => {
  let shop: Workshop;
  before(async () => {
    shop = await openWorkshop();
  });
  after(() => shop[Symbol.dispose]());

  it("are what their table makes of them, one for each check", () => {
    execFileSync(process.execPath, [join(pages, "generate.mjs"), "--verify"], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const source = readFileSync(join(projectDir, "frontend", "check-rules.ts"), "utf8");
    const table = source.slice(source.indexOf("const RULES"), source.indexOf("} as const"));
    const names = [...table.matchAll(/^ {2}([A-Z]\w+):/gm)].map((match) => `${match[1]}.md`);
    assert.ok(names.length > 20);
    assert.deepEqual(
      readdirSync(pages)
        .filter((name) => /^[A-Z][a-z].*\.md$|^JSON/.test(name))
        .sort(),
      names.sort(),
    );
  });

  for (const file of readdirSync(pages).filter((name) => name.endsWith(".md") && name !== "README.md")) {
    const name = file.replace(/\.md$/, "");
    const text = readFileSync(join(pages, file), "utf8");
    const [bad, good] = [...text.matchAll(/```dockerfile\n([^`]*)```/g)].map((match) => match[1] ?? "");
    if (bad === undefined || good === undefined) continue; // needs an image of another platform: shown by no example
    it(`${name} warns about the first example and not about the second`, async () => {
      const experimental = text.includes("experimental:") ? `# check=experimental=${name}\n` : "";
      const ignore = /`\.dockerignore`:\n\n```\n([^`]*)```/.exec(text)?.[1];
      const rulesOf = async (dockerfile: string): Promise<string[]> => {
        const context = shop.context(name, {
          Dockerfile: experimental + dockerfile,
          file: "",
          "notes.md": "",
          ...(ignore === undefined ? {} : { ".dockerignore": ignore }),
        });
        const { stdout, stderr } = await shop.run(["build", "--call=check,format=json", context]);
        assert.ok(stdout.startsWith("{"), stderr);
        return (
          (JSON.parse(stdout) as { warnings?: { ruleName: string }[] }).warnings?.map(
            ({ ruleName }) => ruleName,
          ) ?? []
        );
      };
      assert.ok((await rulesOf(bad)).includes(name), "the first example is not warned about");
      assert.deepEqual(await rulesOf(good), []);
    });
  }
});
