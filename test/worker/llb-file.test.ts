// File steps, merges, differences and passthroughs of definitions that clients send, run for real. What goes where in a copy:
// copy.test.ts.

import assert from "node:assert/strict";
import { runsOf } from "../../worker/ops/file-runs.ts";
import type { FileAction, Op } from "../../solver/graph/op.ts";
import {
  bind,
  copy,
  type Draft,
  failure,
  type LlbBench,
  mkdir,
  mkfile,
  openLlbBench,
  ROOT,
  rm,
  symlink,
} from "./llb-bench.ts";
import type { Input } from "../../solver/graph/definition.ts";

const OPEN = { output: null } as const;
const then = (base: number) => ({ base, output: null });

describe("actions of a file step that share a layer", () => {
  const shape = (actions: readonly FileAction[], inputs: number) =>
    runsOf(actions, inputs).map(({ actions: some, base, output }) => [
      base,
      some.map((action) => ("path" in action ? action.path : action.dest)),
      output,
    ]);

  it("are those of a chain that nobody looks into", () => {
    const chain = [
      mkdir("/a", { base: 0, output: null }),
      mkdir("/b", then(1)),
      mkdir("/c", { base: 2, output: 0 }),
    ];
    assert.deepEqual(shape(chain, 1), [[0, ["/a", "/b", "/c"], 0]]);
  });

  it("end with an output, and where others start from it or copy it", () => {
    const fork = [
      mkdir("/a", OPEN),
      mkdir("/b", { base: 0, output: 0 }),
      mkdir("/c", { base: 1, output: 1 }),
      copy(0, "/", "/d", { output: 2 }),
    ];
    assert.deepEqual(shape(fork, 0), [
      [null, ["/a"], null],
      [0, ["/b"], 0],
      [1, ["/c"], 1],
      [null, ["/d"], 2],
    ]);
  });

  it("are only those an output needs", () => {
    assert.deepEqual(shape([mkdir("/unused", OPEN), mkdir("/a")], 0), [[null, ["/a"], 0]]);
  });

  it("may look up names where they work", () => {
    const owner = { user: { kind: "name", name: "app", input: 1 }, group: null } as const;
    const [run, ...more] = runsOf(
      [mkdir("/a", { base: 0, output: null }), mkdir("/b", { base: 1, owner })],
      1,
    );
    assert.deepEqual(more, []);
    const last = run?.actions.at(-1);
    assert.ok(last?.kind === "mkdir" && last.owner?.user?.kind === "name");
    assert.ok((last.owner.user.input ?? 0) > 1);
  });
});

describe("files of a definition", function () {
  this.timeout(60_000);
  let bench: LlbBench;
  before(async () => {
    bench = await openLlbBench();
  });
  after(() => bench[Symbol.asyncDispose]());

  const output = (index: number, make: (graph: Draft) => Input) => (graph: Draft) => ({
    ...make(graph),
    output: index,
  });
  const LIST = "cd /in; find . | sort | tail -n +2";

  it("are made with owners, modes and times, removed and linked", async () => {
    const owner = { user: { kind: "id", id: 3 }, group: { kind: "id", id: 4 } } as const;
    const timestampNs = 1_600_000_000_000_000_000n;
    const said = await bench.look(
      (graph) =>
        graph.file(
          [],
          mkdir("/d/e", { makeParents: true, mode: 0o750, owner, timestampNs, output: null }),
          mkfile("/d/e/f", "data", { ...then(0), mode: 0o4640, owner, timestampNs }),
          mkfile("/d/x1", "", then(1)),
          mkfile("/d/x2", "", then(2)),
          mkfile("/d/y", "", then(3)),
          rm("/d/x*", { ...then(4), allowWildcard: true }),
          rm("/none", { ...then(5), allowNotFound: true }),
          symlink("/d/l", "e/f", { ...then(6), owner }),
          rm("/d/y", { base: 7, output: 0 }),
        ),
      `${LIST}; stat -c '%a %u %g' d/e; stat -c '%a %u %g %Y' d/e/f; stat -c '%u %N' d/l`,
    );
    assert.deepEqual(said.trim().split("\n"), [
      ..."./d ./d/e ./d/e/f ./d/l".split(" "),
      "750 3 4",
      "640 3 4 1600000000",
      "3 'd/l' -> 'e/f'",
    ]);
  });

  it("are not removed where they are not, unless that is allowed", async () => {
    const made = bench.solve((graph) => graph.file([], mkdir("/a", OPEN), rm("/b", { base: 0, output: 0 })));
    assert.match(await failure(made), /^COPY_FAILED: .*\/b: no such file/);
    const root = bench.solve((graph) => graph.file([], mkdir("/a", OPEN), rm("/", { base: 0, output: 0 })));
    assert.match(await failure(root), /^COPY_FAILED: the root directory cannot be removed/);
  });

  it("stay inside, whatever dots and links are on the way", async () => {
    const said = await bench.look(
      (graph) =>
        graph.file(
          [],
          symlink("/up", "../../../..", OPEN),
          mkdir("/tmp", then(0)),
          mkfile("/up/tmp/../../../m", "1", then(1)),
          mkfile("../../n", "2", then(2)),
          copy(3, "/up/up/m", "/../../up/c", { base: 3, output: 0, followSymlink: true }),
        ),
      `${LIST}; cat m n c`,
    );
    assert.equal(said, "./c\n./m\n./n\n./tmp\n./up\n121");
  });

  it("of several outputs are each its own", async () => {
    const make = (graph: Draft) =>
      graph.file(
        [graph.file([], mkfile("/in", "i"))],
        mkfile("/a", "a", { base: 0, output: 1 }),
        mkfile("/b", "b", { base: 1, output: 0 }),
        mkfile("/c", "c", { base: null, output: 2 }),
      );
    assert.equal(await bench.look(output(0, make), LIST), "./a\n./b\n./in\n");
    assert.equal(await bench.look(output(1, make), LIST), "./a\n./in\n");
    assert.equal(await bench.look(output(2, make), LIST), "./c\n");
  });

  it("are copied from results of earlier actions, as those were", async () => {
    const said = await bench.look(
      (graph) =>
        graph.file(
          [],
          mkfile("/a", "1", OPEN),
          mkfile("/a", "2", then(0)),
          copy(0, "/a", "/old", then(1)),
          copy(1, "/a", "/new", { base: 2, output: 0 }),
        ),
      `${LIST}; cat a old new`,
    );
    assert.equal(said, "./a\n./new\n./old\n212");
  });

  it("are copied with the owner a name has in another input", async () => {
    const accounts = (graph: Draft) =>
      graph.file(
        [],
        mkdir("/etc", OPEN),
        mkfile("/etc/passwd", "app:x:77:88::/:\n", then(0)),
        mkfile("/etc/group", "crew:x:99:\n", { base: 1, output: 0 }),
      );
    const owner = {
      user: { kind: "name", name: "app", input: 1 },
      group: { kind: "name", name: "crew", input: 1 },
    } as const;
    const said = await bench.look(
      (graph) =>
        graph.file(
          [graph.file([], mkfile("/f", "f")), accounts(graph)],
          copy(0, "/f", "/f", { owner, modeStr: "u=rw,go=", output: 0 }),
        ),
      "stat -c '%u %g %a' /in/f",
    );
    assert.equal(said, "77 99 600\n");
    const nowhere = { user: { kind: "name", name: "app", input: null }, group: null } as const;
    const made = bench.solve((graph) => graph.file([], mkfile("/f", "f", { owner: nowhere })));
    assert.match(await failure(made), /^USER_UNKNOWN: invalid user index: -1/);
  });

  it("are picked by wildcards, patterns and paths that must be there", async () => {
    const tree = (graph: Draft) =>
      graph.file(
        [],
        mkdir("/s/sub", { makeParents: true, output: null }),
        mkfile("/s/a.txt", "a", then(0)),
        mkfile("/s/b.md", "b", then(1)),
        mkfile("/s/sub/c.txt", "c", { base: 2, output: 0 }),
      );
    const copied = (more: object, src = "/s", dest = "/o/") =>
      bench.look(
        (graph) =>
          graph.file([tree(graph)], copy(0, src, dest, { createDestPath: true, output: 0, ...more })),
        LIST,
      );
    assert.equal(await copied({ allowWildcard: true }, "/s/*.txt"), "./o\n./o/a.txt\n");
    assert.equal(
      await copied({ dirCopyContents: true, includePatterns: ["**/*.txt"], excludePatterns: ["a*"] }),
      "./o\n./o/sub\n./o/sub/c.txt\n",
    );
    assert.equal(await copied({ allowWildcard: true, allowEmptyWildcard: true }, "/s/*.no"), "");
    assert.match(
      await failure(copied({ allowWildcard: true }, "/s/*.no")),
      /^CONTEXT_PATH_MISSING: \/s\/\*\.no not found/,
    );
    assert.match(await failure(copied({ requiredPaths: ["none"] })), /^CONTEXT_PATH_MISSING/);
    assert.match(
      await failure(copied({ createDestPath: false }, "/s", "/o/p/")),
      /^COPY_FAILED: failed to stat/,
    );
  });

  it("replace what is in their way only where that is asked for", async () => {
    const both = (more: object) =>
      bench.look(
        (graph) =>
          graph.file(
            [
              graph.file([], mkdir("/x", OPEN), mkfile("/x/f", "new", { base: 0 })),
              graph.file([], mkdir("/x", OPEN), mkdir("/x/f", { base: 0 })),
            ],
            copy(0, "/", "/", { base: 1, output: 0, dirCopyContents: true, ...more }),
          ),
        "cat /in/x/f",
      );
    assert.equal(await both({ alwaysReplaceExistingDestPaths: true }), "new");
    assert.match(await failure(both({})), /^COPY_FAILED/);
  });

  describe("in merges and differences", () => {
    const one = (graph: Draft) =>
      graph.file([], mkdir("/d", OPEN), mkfile("/d/a", "1", { base: 0, output: 0 }));
    const two = (graph: Draft) =>
      graph.file(
        [one(graph)],
        rm("/d/a", { base: 0, output: null }),
        mkfile("/d/b", "2", { base: 1, output: 0 }),
      );
    const diff = (lower: number | null, upper: number | null): Op => ({ kind: "diff", lower, upper });
    const merge = (...inputs: (number | null)[]): Op => ({ kind: "merge", inputs });

    it("are what was added, and deletions delete where they are merged", async () => {
      const change = (graph: Draft) => graph.add(diff(0, 1), [one(graph), two(graph)]);
      assert.equal(await bench.look(change, LIST), "./d\n./d/b\n");
      const other = (graph: Draft) =>
        graph.file(
          [],
          mkdir("/d", OPEN),
          mkfile("/d/a", "x", then(0)),
          mkfile("/d/z", "z", { base: 1, output: 0 }),
        );
      const applied = (graph: Draft) => graph.add(merge(0, 1), [other(graph), change(graph)]);
      assert.equal(await bench.look(applied, LIST), "./d\n./d/b\n./d/z\n");
    });

    it("leave what they never saw in a directory that was made again", async () => {
      const again = (graph: Draft) =>
        graph.sh(
          "rm -r /out/d && mkdir -p /out/d/in && echo c > /out/d/c",
          {
            mounts: [ROOT, bind(1, "/out", { readonly: false, output: 1 })],
          },
          [deep(graph)],
        );
      const deep = (graph: Draft) =>
        graph.file([one(graph)], mkdir("/d/in", then(0)), mkfile("/d/in/x", "x", { base: 1, output: 0 }));
      const change = (graph: Draft) => graph.add(diff(0, 1), [deep(graph), { ...again(graph), output: 1 }]);
      const other = (graph: Draft) =>
        graph.file(
          [],
          mkdir("/d", OPEN),
          mkdir("/d/in", then(0)),
          mkfile("/d/in/x", "gone", then(1)),
          mkfile("/d/in/y", "y", then(2)),
          mkfile("/d/z", "z", { base: 3, output: 0 }),
        );
      const applied = (graph: Draft) => graph.add(merge(0, 1), [other(graph), change(graph)]);
      assert.equal(await bench.look(applied, LIST), "./d\n./d/c\n./d/in\n./d/in/y\n./d/z\n");
      assert.equal(await bench.look(change, LIST), "./d\n./d/c\n./d/in\n");
    });

    it("may have nothing on either side, or the same on both", async () => {
      assert.equal(await bench.look((graph) => graph.add(diff(null, 0), [two(graph)]), LIST), "./d\n./d/b\n");
      assert.equal(await bench.look((graph) => graph.add(diff(0, 0), [two(graph)]), LIST), "");
      // From something to nothing: all of it goes where that is applied.
      const nothing = (graph: Draft) => graph.add(diff(0, null), [one(graph)]);
      const gone = (graph: Draft) => graph.add(merge(0, 1), [one(graph), nothing(graph)]);
      assert.equal(await bench.look(gone, LIST), "");
      assert.equal(
        await bench.look((graph) => graph.add(merge(null, 0, null), [one(graph)]), LIST),
        "./d\n./d/a\n",
      );
    });

    it("may be differences of differences", async () => {
      const said = await bench.look((graph) => {
        const first = graph.add(diff(null, 0), [two(graph)]);
        const second = graph.add(diff(0, 1), [one(graph), two(graph)]);
        return graph.add(diff(0, 1), [first, second]);
      }, LIST);
      assert.equal(said, "");
    });

    it("pass through in another order", async () => {
      const pass = (index: number) => (graph: Draft) => ({
        ...graph.add({ kind: "passthrough", id: "p", outputs: [1, 0, 1] }, [one(graph), two(graph)]),
        output: index,
      });
      assert.equal(await bench.look(pass(0), LIST), "./d\n./d/b\n");
      assert.equal(await bench.look(pass(1), LIST), "./d\n./d/a\n");
      assert.equal(await bench.look(pass(2), LIST), "./d\n./d/b\n");
    });
  });
});
