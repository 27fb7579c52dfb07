// Properties that must hold for any text: no crash, no hang, and no difference between the parser and a printer of its result.

import assert from "node:assert/strict";
import fc from "fast-check";
import { check, convert } from "../../frontend/frontend.ts";
import { readDockerfile } from "../../frontend/parse.ts";
import { expandWord, expandWords } from "../../frontend/words.ts";
import { BuildError, type SourceRange } from "../../solver/graph/error.ts";
import { CALL, hostOf, optionsOf } from "../frontend/dockerfile.ts";
import { expansions, soup, twoLayouts, VALUES } from "./grammar.ts";
import { meaningOf, printDockerfile } from "./print.ts";

/** Longest time for one text of a few kilobytes. */
const TEXT_MAX_MS = 10_000;

/** Properties by name, each ready for fc.assert. */
export const PROPERTIES: Readonly<Record<string, fc.IAsyncProperty<unknown>>> = {
  "any text is read, or refused with a place in it": fc.asyncProperty(soup, async (text) => {
    const reading = await timed(() => read(text));
    if (reading.error !== null) checkPlace(reading.error.at, text);
  }),
  "what was read is printed to something that is read as the same": fc.asyncProperty(soup, async (text) => {
    const { parsed, error } = await read(text);
    if (error !== null) return;
    const printed = printDockerfile(parsed);
    const again = await read(printed);
    assert.equal(again.error, null, `${again.error?.message} in ${JSON.stringify(printed)}`);
    assert.deepEqual(meaningOf(again.parsed), meaningOf(parsed));
  }),
  "layout does not change the meaning": fc.asyncProperty(twoLayouts, async ({ canonical, laidOut }) => {
    const [first, second] = [await read(canonical), await read(laidOut)];
    assert.equal(first.error, null, first.error?.message);
    assert.equal(second.error, null, second.error?.message);
    assert.deepEqual(meaningOf(second.parsed), meaningOf(first.parsed));
    const printed = await read(printDockerfile(first.parsed));
    assert.deepEqual(meaningOf(printed.parsed), meaningOf(first.parsed));
  }),
  "words expand to what their grammar says": fc.asyncProperty(expansions, async ({ source, result }) => {
    const found = expandWord(source, VALUES, { escape: "\\" });
    assert.equal(found.text, result);
  }),
  "splitting into words loses nothing but blanks": fc.asyncProperty(
    expansions,
    async ({ source, result }) => {
      const { words } = expandWords(source, VALUES, { escape: "\\" });
      assert.equal(words.join("").replace(/\s/g, ""), result.replace(/\s/g, ""));
    },
  ),
  "any text becomes a graph or an error of the user": fc.asyncProperty(soup, async (text) => {
    const options = optionsOf(text, { platforms: [{ os: "linux", architecture: "amd64" }] });
    for (const run of [convert, check]) {
      try {
        await timed(() => run(options, hostOf(), CALL) as Promise<unknown>);
      } catch (error) {
        if (!(error instanceof BuildError)) throw error;
      }
    }
  }),
};

async function read(text: string): ReturnType<typeof readDockerfile> {
  try {
    return await readDockerfile("Dockerfile", new TextEncoder().encode(text));
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    const parsed = {
      file: "",
      source: text,
      escape: "\\",
      directives: [],
      instructions: [],
      warnings: [],
    } as const;
    return { parsed, error };
  }
}

async function timed<T>(work: () => Promise<T>): Promise<T> {
  const start = performance.now();
  try {
    return await work();
  } finally {
    const took = performance.now() - start;
    assert.ok(took < TEXT_MAX_MS, `it took ${Math.round(took)} ms`);
  }
}

function checkPlace(at: SourceRange | null, text: string): void {
  if (at === null) return;
  const lines = text.split("\n").length;
  const isOrdered =
    at.start.line < at.end.line || (at.start.line === at.end.line && at.start.column <= at.end.column);
  assert.ok(at.start.line >= 1 && at.end.line <= lines + 1 && isOrdered, JSON.stringify(at));
}
