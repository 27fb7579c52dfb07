import assert from "node:assert/strict";
import type { ExecMount, FileAction } from "../../solver/graph/op.ts";
import { readsOf } from "../../solver/selectors.ts";
import { COPY, EXEC } from "./graphs.ts";

const bind = (input: number, target: string, change: Partial<ExecMount> = {}): ExecMount =>
  ({ kind: "bind", input, selector: "", target, readonly: true, output: null, ...change }) as ExecMount;
const reads = (mounts: readonly ExecMount[]) => readsOf({ ...EXEC, mounts }, mounts.length);
const copies = (...actions: readonly FileAction[]) => readsOf({ kind: "file", actions }, 2);

describe("what an op reads", () => {
  it("of a mount that leaves nothing behind is the part that is mounted", () => {
    assert.deepEqual(reads([bind(0, "/src", { selector: "a//b/" })]), [[{ kind: "subtree", path: "/a/b" }]]);
    const scratchpad = bind(0, "/src", { readonly: false });
    assert.deepEqual(reads([scratchpad]), [[{ kind: "subtree", path: "/" }]]);
  });

  it("of the root and of kept mounts is everything", () => {
    assert.deepEqual(reads([bind(0, "/")]), [null]);
    assert.deepEqual(reads([bind(0, "/src", { readonly: false, output: 1 })]), [null]);
    assert.deepEqual(reads([bind(0, "/src"), bind(0, "/"), bind(1, "/x")])[0], null);
  });

  it("of a mount is what its definition says where that is safe", () => {
    assert.deepEqual(reads([bind(0, "/", { output: 0, readonly: false, contentCache: "on" })]), [
      [{ kind: "subtree", path: "/" }],
    ]);
    assert.deepEqual(reads([bind(0, "/src", { contentCache: "off" })]), [null]);
  });

  it("of a copy is its sources, of its destination everything", () => {
    const [from, base] = copies({
      ...COPY,
      src: "/a",
      from: 0,
      base: 1,
      mode: 0o644,
      excludePatterns: ["*.md"],
    });
    assert.deepEqual(from, [
      {
        ...{ kind: "copy", src: "/a", followSymlink: false, allowWildcard: true },
        ...{ includePatterns: [], excludePatterns: ["*.md"], ignoreOwner: false, ignoreMode: true },
      },
    ]);
    assert.equal(base, null);
    assert.equal(copies({ ...COPY, from: 0, base: 0 })[0], null, "copied onto itself");
  });

  it("of several copies is listed in their order, results of other actions left out", () => {
    const [from] = copies(
      { ...COPY, src: "/b", output: null },
      { ...COPY, src: "/a", base: 2 },
      { ...COPY, from: 2, base: 3 },
    );
    assert.deepEqual(
      from?.map((selector) => selector.kind === "copy" && selector.src),
      ["/b", "/a"],
    );
  });

  it("is everything where names of users are looked up", () => {
    const owner = { user: { kind: "name", name: "app", input: 0 }, group: null } as const;
    assert.equal(copies({ ...COPY, from: 0, base: 1, owner })[0], null);
  });
});
