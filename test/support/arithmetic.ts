// A Worker that calculates instead of building: a file is a number, a layer some files. Everything else is as in a
// real one: results are lists of layers in the store, live directories change meanwhile, steps take time and can fail, and
// no two layers have the same time.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { type Digest, digestOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { FileAction, Op } from "../../solver/graph/op.ts";
import type { CallContext, LayerId, Result } from "../../solver/graph/request.ts";
import { readsOf } from "../../solver/selectors.ts";
import type { Selector } from "../../worker/keeper/messages.ts";
import type { EarlierLayers, Pin, RunOutcome, Worker } from "../../worker/contract.ts";
import type { Store } from "../../cache/contract.ts";

/** Path to number. */
export type Numbers = Readonly<Record<string, number>>;

export interface Arithmetic extends Worker {
  /** Runs of steps, by name: `args[1]` of commands, the path of what is written for file ops, the source's identifier. */
  readonly runs: Map<string, number>;
  readonly pins: string[];
  /** How often content was hashed. */
  hashes: number;
  warmed: number;
  /** Layers that stood for an equal new one. */
  reused: number;
  /** Steps at work now; after a build it must be 0. */
  active: number;
  /** The live directories, by name. */
  readonly live: Map<string, Numbers>;
  /** What tags stand for: `docker-image://NAME` to numbers. */
  readonly images: Map<string, Numbers>;
  /** What commands see besides their inputs (the network, the clock), by name; added to their sum. */
  readonly world: Map<string, number>;
  /** Called inside each run, before it reads anything; may wait, throw, or change live files. */
  during: (name: string, context: CallContext) => Promise<void>;
  /** All files of a result. */
  read(result: Result): Numbers;
}

/** A calculating worker whose layers are records of the store. */
export function openArithmetic(store: Store): Arithmetic {
  let time = 0;
  const layer = (numbers: Numbers, as?: LayerId): LayerId => {
    const id = as ?? (`r-${randomBytes(16).toString("hex")}` as LayerId);
    if (existsSync(store.dir)) mkdirSync(store.layers.directory(id), { recursive: true });
    time += 1;
    store.layers.update(id, { unpacked: true, createdAtMs: time, description: JSON.stringify(numbers) });
    return id;
  };
  /** A new layer, or an earlier one that is equal but for its time. */
  const made = (numbers: Numbers, earlier: readonly LayerId[] | undefined): LayerId => {
    const text = JSON.stringify(numbers);
    const same = earlier?.find((id) => store.layers.get(id)?.description === text);
    if (same === undefined) return layer(numbers);
    self.reused += 1;
    return same;
  };
  const read = (result: Result): Numbers => {
    if (result.kind === "files") return self.live.get(result.name) ?? {};
    return Object.assign(
      {},
      ...result.layers.map((id) => JSON.parse(store.layers.get(id)?.description ?? "{}") as Numbers),
    ) as Numbers;
  };
  const layersOf = (result: Result | undefined): readonly LayerId[] =>
    result?.kind === "layers" ? result.layers : [];

  function selected(result: Result, selectors: readonly Selector[]): Digest {
    const files = Object.entries(read(result)).sort(([a], [b]) => (a < b ? -1 : 1));
    const picked = selectors.map((selector) => {
      if (selector.kind === "subtree") return files.filter(([path]) => `${path}/`.startsWith(selector.path));
      const found = files.filter(([path]) => path === selector.src);
      if (found.length === 0) throw new BuildError("CONTEXT_PATH_MISSING", `"${selector.src}" is not there`);
      return found;
    });
    return digestOf(JSON.stringify(picked));
  }

  /** Commands: `sum NAME N WHERE` writes at WHERE the sum of all files it sees and N. */
  function command(
    op: Op & { kind: "exec" },
    inputs: readonly Result[],
    earlier: EarlierLayers,
  ): readonly (Result | null)[] {
    const [, name, amount, where] = op.args;
    let sum = Number(amount) + (self.world.get(name as string) ?? 0);
    let root: readonly LayerId[] = [];
    for (const mount of op.mounts) {
      if (mount.kind !== "bind" || mount.input === null) continue;
      const input = inputs[mount.input] as Result;
      for (const [path, number] of Object.entries(read(input))) {
        if (`${path}/`.startsWith(mount.selector)) sum += number;
      }
      if (mount.target === "/") root = layersOf(input);
    }
    return [{ kind: "layers", layers: [...root, made({ [where as string]: sum }, earlier[0])] }];
  }

  function change(action: FileAction, inputs: readonly Result[]): Numbers {
    if (action.kind === "mkfile") return { [action.path]: Number(new TextDecoder().decode(action.data)) };
    if (action.kind !== "copy") throw new Error(`no ${action.kind} here`);
    const number = read(inputs[action.from ?? -1] ?? { kind: "layers", layers: [] })[action.src];
    if (number === undefined) throw new BuildError("COPY_FAILED", `"${action.src}" went away`);
    return { [action.dest]: number };
  }

  const self: Arithmetic = {
    runs: new Map(),
    pins: [],
    hashes: 0,
    warmed: 0,
    reused: 0,
    active: 0,
    live: new Map(),
    images: new Map(),
    world: new Map(),
    during: async () => {},
    read,
    async pin(op): Promise<Pin> {
      self.pins.push(op.identifier);
      const [scheme, name] = op.identifier.split("://") as [string, string];
      if (scheme === "local") {
        if (op.attrs["fetched"] !== undefined) return { digest: null, result: null, material: null };
        return {
          digest: null,
          result: { kind: "files", name, root: "/", excludes: [], includes: [] },
          material: null,
        };
      }
      const numbers = self.images.get(name);
      if (numbers === undefined) throw new BuildError("IMAGE_UNKNOWN", `no image ${name}`);
      const digest = digestOf(JSON.stringify(numbers));
      if (scheme !== "docker-image") return { digest, result: null, material: digest };
      return {
        digest,
        result: { kind: "layers", layers: [layer(numbers, store.layers.idOf(digest))] },
        material: digest,
      };
    },
    async contentDigest(result, selectors, { signal }) {
      self.hashes += 1;
      await turn();
      signal.throwIfAborted();
      return selected(result, selectors);
    },
    readFile: async () => assert.fail("arithmetic has no files"),
    async layersOf(result) {
      assert.equal(result.kind, "layers");
      return result.kind === "layers" ? result.layers : [];
    },
    async run(vertex, inputs, context, _step, earlier): Promise<RunOutcome> {
      const { op } = vertex;
      const name = nameOf(op);
      self.active += 1;
      try {
        self.runs.set(name, (self.runs.get(name) ?? 0) + 1);
        context.emit({ kind: "log", vertex: vertex.digest, atMs: 0, fd: 1, data: Buffer.from(name) });
        await self.during(name, context);
        await turn();
        context.signal.throwIfAborted();
        const isLive = inputs.map((input) => input.kind === "files");
        const readDigest = isLive.includes(true)
          ? selected(
              inputs[isLive.indexOf(true)] as Result,
              readsOf(op, inputs.length)[isLive.indexOf(true)] ?? [{ kind: "subtree", path: "/" }],
            )
          : null;
        switch (op.kind) {
          case "exec":
            return { outputs: command(op, inputs, earlier), readDigest };
          case "file": {
            const base = layersOf(inputs[op.actions[0]?.base ?? -1]);
            const numbers = Object.assign(
              {},
              ...op.actions.map((action) => change(action, inputs)),
            ) as Numbers;
            return {
              outputs: [{ kind: "layers", layers: [...base, made(numbers, earlier[0])] }],
              readDigest,
            };
          }
          case "source": {
            const place = op.identifier.split("://")[1] as string;
            const numbers = self.live.get(place) ?? self.images.get(place) ?? {};
            return { outputs: [{ kind: "layers", layers: [layer(numbers)] }], readDigest: null };
          }
          default:
            return {
              outputs: [{ kind: "layers", layers: [made(read(inputs.at(-1) as Result), earlier[0])] }],
              readDigest,
            };
        }
      } finally {
        self.active -= 1;
      }
    },
    async warm() {
      self.warmed += 1;
    },
    [Symbol.asyncDispose]: async () => {},
  };
  return self;
}

/** What a run of an op is counted under. */
export function nameOf(op: Op): string {
  if (op.kind === "exec") return op.args[1] as string;
  if (op.kind === "source") return op.identifier;
  if (op.kind !== "file") return op.kind;
  return op.actions
    .map((action) => (action.kind === "copy" ? action.dest : "path" in action ? action.path : ""))
    .join();
}
