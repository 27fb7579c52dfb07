// Statements that steps have written, whatever they are: what only a scanner or frontend gone wrong would write.

import assert from "node:assert/strict";
import type { TreeEntry } from "../../../worker/keeper/messages.ts";
import { attestationsIn, readBudget, type ReadBudget, type Written } from "../../../bin/engine/statements.ts";
import { BuildError } from "../../../solver/graph/error.ts";

const entry = (name: string): TreeEntry => ({
  ...{ name, type: "file", mode: 0o644, uid: 0, gid: 0, size: 1, mtimeNs: 0n, linkName: "" },
  ...{ rdevMajor: 0, rdevMinor: 0 },
});

/** What attestationsIn() makes of a bundle of these files. */
const read = (
  files: Readonly<Record<string, string | Uint8Array>>,
  {
    written = { kind: "bundle", path: "", predicateType: "" } as Written,
    budget = readBudget() as ReadBudget,
  } = {},
) =>
  attestationsIn(written, {
    ...{ who: "the scanner s", core: "sbom", inlineOnly: false, budget },
    supplement: async (text) => `supplemented ${text}`,
    async look(path, question) {
      if (question.kind === "list") return { kind: "list", entries: Object.keys(files).map(entry) };
      const data = Buffer.from(files[path.slice(1)] ?? "");
      if (question.kind === "file" && data.length > question.maxBytes)
        throw new BuildError("LIMIT_EXCEEDED", "too large");
      return { kind: "file", data };
    },
  });

describe("statements of a bundle", () => {
  it("keep their predicates to the byte, and the bill of materials of the image is supplemented", async () => {
    const type = "https://spdx.dev/Document";
    const statement = `{"predicate": {"a" : 1.0, "predicate": 2}, "predicateType": "${type}", "subject": null}`;
    const [core, extra, bare] = await read({
      "sbom.spdx.json": statement,
      "sbom-x.json": statement,
      "bare.json": '{"predicateType":"t","subject":[{"name":null,"digest":null}]}',
    });
    const image = { layers: null, createdSeconds: null };
    assert.equal(await core?.predicate(image), 'supplemented {"a" : 1.0, "predicate": 2}');
    assert.equal(await extra?.predicate(image), '{"a" : 1.0, "predicate": 2}');
    assert.equal(core?.subjects, undefined);
    assert.equal(await bare?.predicate(image), "null");
    assert.deepEqual(bare?.subjects, [{ name: "_", digest: {} }]);
  });

  it("are refused in one sentence that names the file", async () => {
    for (const [text, words] of [
      ["", "is not JSON"],
      ["{} {}", "is not JSON"],
      ["[]", "is not an in-toto statement"],
      ["null", "is not an in-toto statement"],
      ['{"predicateType":7}', "is not an in-toto statement"],
      ['{"predicateType":"t","subject":{}}', "is not an in-toto statement"],
      ['{"predicateType":"t","subject":[{"digest":{"sha256":1}}]}', "is not an in-toto statement"],
      [
        '{"predicateType":"https://slsa.dev/provenance/v1"}',
        "is provenance, which only the builder can attest",
      ],
      [Uint8Array.of(0x22, 0xff, 0x22), "is not text in UTF-8"],
      [new Uint8Array((40 << 20) + 1), "is larger than 40 MiB"],
    ] as const)
      await assert.rejects(read({ "f\u001b.json": text }), {
        message: `f\\u001b.json, written by the scanner s, ${words}`,
      });
    await assert.rejects(
      read(
        { "a.json": '{"predicateType":"t"}' },
        { written: { kind: "bundle", path: "/", predicateType: "u" } },
      ),
      { message: "a.json, written by the scanner s, is a statement of type t, and u was asked for" },
    );
  });

  it("are bounded, in all and for all of an image", async () => {
    const many = Object.fromEntries(Array.from({ length: 1001 }, (_, index) => [`${index}`, ""]));
    await assert.rejects(read(many), { message: "the scanner s has written 1001 files, more than 1000" });
    const budget = { bytes: 30 };
    await assert.rejects(read({ a: '{"predicateType":"t"}', b: '{"predicateType":"t"}' }, { budget }), {
      message:
        /^b, written by the scanner s, is one too many: the attestations of an image are larger than 256 MiB$/,
    });
    const deep = `${'{"a":'.repeat(200_000)}1${"}".repeat(200_000)}`;
    assert.equal((await read({ a: `{"predicateType":"t","predicate":${deep}}` })).length, 1);
  });

  it("are files beside others under their own names alone", async () => {
    for (const path of ["/..", "/a/..", "/."])
      await assert.rejects(
        read({}, { written: { kind: "in-toto", path, predicateType: "t", subjects: [] } }),
        { message: `${path}, written by the scanner s, is not the name of a file` },
      );
  });
});
