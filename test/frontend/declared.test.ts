import assert from "node:assert/strict";
import { build } from "./dockerfile.ts";

describe("arguments a Dockerfile declares", () => {
  it("come with their plain defaults, continued lines and quotes included", async () => {
    const { declared } = await build(
      [
        "ARG A=1",
        "FROM scratch AS one",
        'ARG B="two words" \\',
        "    C='three'",
        "ARG D=$B E",
        "ENV E=hides \\",
        "    F=more",
        'LABEL x="ARG G=not one"',
        "FROM scratch",
        "ARG A=2",
      ].join("\n"),
    );
    assert.deepEqual([...declared.names].sort(), ["A", "B", "C", "D", "E"]);
    assert.deepEqual([...declared.hidden].sort(), ["E", "F"]);
    assert.deepEqual([...declared.defaults].sort(), [
      ["A", "2"],
      ["B", "two words"],
      ["C", "three"],
    ]);
  });
});
