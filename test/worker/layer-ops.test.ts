// Merge and diff through solver, worker, keeper and a store: what lists of layers cannot express is computed from files, once.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import PQueue from "p-queue";
import { openStore } from "../../cache/store.ts";
import type { Input } from "../../solver/graph/definition.ts";
import { type GraphBuilder, openGraph } from "../../solver/graph/llb.ts";
import type { Op } from "../../solver/graph/op.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import type { CallContext } from "../../solver/graph/request.ts";
import { openSolver } from "../../solver/solver.ts";
import { openWorker } from "../../worker/worker.ts";
import { temporaryDir } from "../support/store.ts";
import { openSandboxUnderTest, type SandboxUnderTest } from "./sandbox-fixture.ts";
import { NO_SESSION } from "../support/session.ts";

describe("merge and diff", () => {
  let sandbox: SandboxUnderTest;
  before(async () => {
    sandbox = await openSandboxUnderTest();
  });
  after(() => sandbox[Symbol.asyncDispose]());

  const note = (name: string) => ({ name, ignoreCache: false, at: [], group: null });
  const add = (graph: GraphBuilder, name: string, op: Op, inputs: readonly Input[]): Input =>
    graph.add(op, null, inputs, note(name));
  const file = (graph: GraphBuilder, path: string, text: string, base: Input | null): Input => {
    const look = { mode: 0o644, owner: null, timestampNs: 0n, output: 0 };
    const action = { kind: "mkfile" as const, path, data: Buffer.from(text), ...look };
    return base === null
      ? add(graph, path, { kind: "file", actions: [{ ...action, base: null }] }, [])
      : add(graph, path, { kind: "file", actions: [{ ...action, base: 0 }] }, [base]);
  };

  /** Solves for a graph's root; the texts of the files asked for, and the steps that ran. */
  async function solve(
    root: string,
    context: string,
    make: (graph: GraphBuilder) => Input,
    paths: readonly string[],
  ): Promise<{ readonly files: readonly (string | null)[]; readonly ran: readonly string[] }> {
    await using store = await openStore(root);
    const { signal } = new AbortController();
    await using worker = openWorker({
      store,
      keeper: () => sandbox.keeper,
      registry: () => Promise.reject(new Error("no registry")),
      transport: () => Promise.reject(new Error("no downloads")),
      gitVariables: async () => ({}),
      entitlements: new Set(),
      resolveMode: "default",
      resolvConf: () => "",
      defaultPlatform: hostPlatform(),
      signal,
    });
    const ran: string[] = [];
    const names = new Map<string, string>();
    const call: CallContext = {
      signal,
      session: { ...NO_SESSION, files: async () => ({ kind: "here", path: context }) },
      emit: (event) => {
        if (event.kind === "vertex") names.set(event.vertex, event.name);
        if (event.kind === "started") ran.push(names.get(event.vertex) ?? "");
      },
    };
    const queue = new PQueue({ concurrency: 2 });
    const limits = async () => ({ exec: queue, file: queue, source: queue });
    const solver = openSolver({ worker, store, limits, nowMs: Date.now });
    const graph = openGraph();
    const wanted = make(graph);
    await using solution = await solver.solve(
      { definition: graph.definition(wanted), noCache: false },
      [wanted],
      call,
    );
    const [result] = solution.results;
    assert.ok(result?.kind === "layers");
    const dirs = await worker.unpacker.directories(result.layers, wanted.vertex, call);
    const files: (string | null)[] = [];
    for (const path of paths) {
      const data = await sandbox.keeper.run({ kind: "read", dirs, path, maxBytes: 100 }, call);
      files.push(data === null ? null : new TextDecoder().decode(data));
    }
    return { files, ran };
  }

  it("take the difference of two unrelated results and apply it to a third", async () => {
    using temp = temporaryDir();
    const make = (graph: GraphBuilder): Input => {
      const from = file(graph, "/gone", "1", file(graph, "/same", "2", null));
      const to = file(graph, "/new", "3", file(graph, "/same", "2", null));
      // Not the same vertices as below `from`, though one of them has the same file.
      const strange = file(graph, "/more", "4", to);
      const diff = add(graph, "diff", { kind: "diff", lower: 0, upper: 1 }, [from, strange]);
      const third = file(graph, "/gone", "5", file(graph, "/third", "6", null));
      return add(graph, "merge", { kind: "merge", inputs: [0, 1] }, [third, diff]);
    };
    const paths = ["/gone", "/same", "/new", "/more", "/third"];
    const first = await solve(temp.at("store"), temp.path, make, paths);
    assert.deepEqual(first.files, [null, null, "3", "4", "6"]);
    assert.ok(first.ran.includes("diff"));
    const again = await solve(temp.at("store"), temp.path, make, paths);
    assert.deepEqual(again.files, first.files);
    assert.ok(!again.ran.includes("diff"));
  });

  it("put files of the user between layers, as they are at the time", async () => {
    using temp = temporaryDir();
    using context = temporaryDir();
    const make = (graph: GraphBuilder): Input => {
      const source: Op = { kind: "source", identifier: "local://context", attrs: {} };
      const live = add(graph, "context", source, []);
      const [below, above] = [file(graph, "/a", "below", null), file(graph, "/b", "above", null)];
      return add(graph, "merge", { kind: "merge", inputs: [0, 1, 2] }, [below, live, above]);
    };
    writeFileSync(context.at("a"), "mine");
    writeFileSync(context.at("b"), "mine");
    writeFileSync(context.at("c"), "mine");
    const paths = ["/a", "/b", "/c"];
    const first = await solve(temp.at("store"), context.path, make, paths);
    assert.deepEqual(first.files, ["mine", "above", "mine"]);
    writeFileSync(context.at("a"), "changed");
    const again = await solve(temp.at("store"), context.path, make, paths);
    assert.deepEqual(again.files, ["changed", "above", "mine"]);
  });
});
