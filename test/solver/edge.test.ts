import assert from "node:assert/strict";
import { contentPart, definitionPart, keyOf, type CacheKey } from "../../solver/cache-key.ts";
import {
  advance,
  openEdge,
  type Edge,
  type EdgeFacts,
  type Message,
  type Request,
} from "../../solver/edge.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import type { LayerId, Result } from "../../solver/graph/request.ts";

const [SRC, BASE] = [digestOf("src"), digestOf("base")];
const KEY = "k".repeat(64) as CacheKey;
const layers = (...ids: string[]): Result => ({ kind: "layers", layers: ids as LayerId[] });
const FILES: Result = { kind: "files", name: "context", root: "/", excludes: [], includes: [] };

/** A copy from input 0 onto input 1. */
const COPYING: EdgeFacts = {
  inputs: [
    { vertex: SRC, output: 0 },
    { vertex: BASE, output: 0 },
  ],
  sort: "step",
  op: "copy",
  reads: [[{ kind: "subtree", path: "/a" }], null],
  trust: "all",
  stack: () => null,
};

function follow(
  facts: EdgeFacts,
  ...messages: readonly Message[]
): { edge: Edge; requests: readonly Request[] } {
  let step = openEdge(facts);
  for (const message of messages) step = advance(facts, step.edge, message);
  return { edge: step.edge, requests: step.requests };
}
const kinds = (requests: readonly Request[]): string[] => requests.map(({ kind }) => kind);
const key = (index: number): Message => ({ kind: "input-key", index, key: KEY, result: null });
const want: Message = { kind: "want" };
const missed: Message = { kind: "missed" };

describe("an edge", () => {
  it("makes its key as soon as its inputs have theirs, and asks for nothing until it is wanted", () => {
    assert.deepEqual(kinds(follow(COPYING, key(0)).requests), []);
    const keyed = follow(COPYING, key(0), key(1));
    const expected = keyOf("copy", [definitionPart(KEY, 0), definitionPart(KEY, 0)]);
    assert.deepEqual(keyed.requests, [{ kind: "announce", key: expected, result: null }]);
    assert.equal(keyed.edge.phase, "keyed");
  });

  it("asks for inputs only after a miss by definition", () => {
    const asking = follow(COPYING, key(0), key(1), want);
    assert.deepEqual(kinds(asking.requests), ["look-up"]);
    assert.deepEqual(kinds(advance(COPYING, asking.edge, missed).requests), ["want-input", "want-input"]);
    const found = advance(COPYING, asking.edge, { kind: "found", outputs: [layers("x")] });
    assert.deepEqual(kinds(found.requests), ["settle"]);
  });

  it("asks by result, then by content, then runs", () => {
    const by = (...more: Message[]) =>
      follow(
        COPYING,
        ...[key(0), key(1), want, missed],
        { kind: "input-result", index: 0, result: layers("s") },
        { kind: "input-result", index: 1, result: layers("b") },
        ...more,
      );
    const [byResult] = by().requests;
    assert(byResult?.kind === "look-up" && byResult.by === "result" && byResult.aliases.length === 1);
    assert.deepEqual(kinds(by(missed).requests), ["hash"]);
    const digest: Message = { kind: "digest", index: 0, digest: digestOf("content") };
    const [byContent] = by(missed, digest).requests;
    assert(byContent?.kind === "look-up" && byContent.by === "content" && byContent.aliases.length === 2);
    assert.equal(byContent.key, keyOf("copy", [contentPart(digestOf("content")), "layers:b"]));
    assert.deepEqual(kinds(by(missed, digest, missed).requests), ["run"]);
  });

  it("names live files by content", () => {
    const live = follow(COPYING, { kind: "input-key", index: 0, key: null, result: FILES });
    assert.deepEqual(kinds(live.requests), ["hash"]);
    const keyed = follow(COPYING, { kind: "input-key", index: 0, key: null, result: FILES }, key(1), {
      kind: "digest",
      index: 0,
      digest: digestOf("content"),
    });
    assert(keyed.edge.phase === "keyed");
    assert.equal(keyed.edge.key, keyOf("copy", [contentPart(digestOf("content")), definitionPart(KEY, 0)]));
  });

  it("that is forced asks for its inputs at once and never looks anything up", () => {
    const facts: EdgeFacts = { ...COPYING, trust: "none" };
    assert.deepEqual(kinds(follow(facts, want).requests), ["want-input", "want-input"]);
    const done = follow(
      facts,
      want,
      { kind: "input-result", index: 0, result: layers("s") },
      { kind: "input-result", index: 1, result: layers("b") },
      key(0),
      key(1),
    );
    assert.deepEqual(kinds(done.requests), ["announce", "hash"]);
    const hashed = advance(facts, done.edge, { kind: "digest", index: 0, digest: digestOf("content") });
    assert.deepEqual(kinds(hashed.requests), ["run"]);
  });

  it("above a forced one looks up by what came out, not by how it is made", () => {
    const facts: EdgeFacts = { ...COPYING, trust: "results" };
    const asking = follow(
      facts,
      ...[want, key(0), key(1)],
      { kind: "input-result", index: 0, result: layers("s") },
      { kind: "input-result", index: 1, result: layers("b") },
    );
    assert(asking.edge.phase === "looking-up" && asking.edge.by === "result");
  });

  it("tells its users another name before the result when it read something else", () => {
    const running = follow(
      COPYING,
      ...[key(0), key(1), want, missed],
      { kind: "input-result", index: 0, result: layers("s") },
      { kind: "input-result", index: 1, result: layers("b") },
      missed,
      { kind: "digest", index: 0, digest: digestOf("content") },
      missed,
    );
    const other = "o".repeat(64) as CacheKey;
    const done = advance(COPYING, running.edge, { kind: "ran", outputs: [layers("x")], key: other });
    assert.deepEqual(kinds(done.requests), ["announce", "settle"]);
    const waiting = follow(COPYING, key(0), key(1), want, missed);
    const renamed = advance(COPYING, waiting.edge, { kind: "input-key", index: 1, key: other, result: null });
    assert.deepEqual(renamed.requests, [
      {
        kind: "announce",
        key: keyOf("copy", [definitionPart(KEY, 0), definitionPart(other, 0)]),
        result: null,
      },
    ]);
  });

  it("of a source settles by its pin, or is fetched when it has neither name nor result", () => {
    const facts: EdgeFacts = { ...COPYING, inputs: [], reads: [], sort: "source" };
    const pinned = (digest: typeof SRC | null, result: Result | null) =>
      follow(facts, { kind: "pinned", pin: { digest, result, material: null } });
    assert.deepEqual(kinds(pinned(SRC, layers("d")).requests), ["announce", "settle"]);
    assert.deepEqual(kinds(pinned(SRC, null).requests), ["announce"]);
    assert.deepEqual(pinned(null, FILES).requests[0], { kind: "announce", key: null, result: FILES });
    assert.deepEqual(kinds(pinned(null, null).requests), ["run"]);
  });

  it("refuses messages that make no sense in its state", () => {
    assert.throws(() => follow(COPYING, missed), /keying got "missed"/);
    assert.throws(() => follow(COPYING, { kind: "ran", outputs: [], key: null }), /keying got "ran"/);
  });
});
