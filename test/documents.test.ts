// Checks of the documents: links point to existing files, cited rules exist, every page is reachable.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { projectDir } from "./support/project.ts";

const ROOMS = [
  "bench",
  "bin",
  "cache",
  "docs",
  "examples",
  "exporters",
  "frontend",
  "solver",
  "test",
  "worker",
];

function read(file: string): string {
  return readFileSync(join(projectDir, file), "utf8");
}

function filesOf(ending: RegExp): string[] {
  const inRooms = ROOMS.flatMap((room) =>
    readdirSync(join(projectDir, room), { recursive: true, encoding: "utf8" }).map(
      (name) => `${room}/${name}`,
    ),
  );
  const top = readdirSync(projectDir);
  // Contexts of the corpus are inputs and not ours to link.
  return [...top, ...inRooms].filter((file) => ending.test(file) && !file.startsWith("test/corpus"));
}

describe("documents", () => {
  const pages = filesOf(/\.md$/);

  it("link to what is there", () => {
    assert.ok(pages.length > 40);
    const dead = pages.flatMap((page) =>
      [...read(page).matchAll(/\]\(([^)\s]+)\)/g)]
        .map(([, to = ""]) => to.replace(/#.*$/, ""))
        .filter((to) => to !== "" && !/^[a-z]+:/.test(to))
        .filter((to) => !existsSync(join(projectDir, dirname(page), to)))
        .map((to) => `${page}: ${to}`),
    );
    assert.deepEqual(dead, []);
  });

  it("are found from docs/README.md", () => {
    const seen = new Set<string>();
    const follow = (page: string): void => {
      if (seen.has(page)) return;
      seen.add(page);
      for (const [, to = ""] of read(page).matchAll(/\]\(([^)\s#]+\.md)[^)]*\)/g))
        if (!/^[a-z]+:/.test(to)) follow(relative(projectDir, join(projectDir, dirname(page), to)));
    };
    follow("docs/README.md");
    const lost = pages.filter((page) => page.startsWith("docs/") && !seen.has(page));
    assert.deepEqual(lost, []);
  });

  it("have every rule of the threat model that is cited", () => {
    const rules = new Set(
      [...read("docs/threat-model.md").matchAll(/^- ([A-Z]\d+) /gm)].map(([, rule]) => rule),
    );
    assert.ok(rules.size > 40);
    const sources = filesOf(/\.(?:c?ts|md)$/).filter((file) => !/node_modules|^dist/.test(file));
    const cited = sources.flatMap((file) =>
      [...read(file).matchAll(/threat model,? ([A-Z]\d+(?:(?:,| and) [A-Z]\d+)*)/g)].flatMap(
        ([, list = ""]) => (list.match(/[A-Z]\d+/g) ?? []).map((rule) => ({ file, rule })),
      ),
    );
    assert.ok(cited.length > 40);
    assert.deepEqual(
      cited.filter(({ rule }) => !rules.has(rule)),
      [],
    );
  });
});
