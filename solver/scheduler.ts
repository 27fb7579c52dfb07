// Executes what advance() decides, until the roots are settled, something fails, or the client cancels.

import { setMaxListeners } from "node:events";
import { debuglog } from "node:util";
import { type CacheKey, keyOf, resultPart } from "./cache-key.ts";
import { advance, type Edge, keysOf, type Message, type Request, waitsFor } from "./edge.ts";
import type { Input, Vertex } from "./graph/definition.ts";
import type { Digest } from "./graph/digest.ts";
import { BuildError, locate, withLeft } from "./graph/error.ts";
import type { BuildOp } from "./graph/op.ts";
import { type CallContext, type Result, SCRATCH } from "./graph/request.ts";
import type { Flights } from "./flight.ts";
import { chainsMs, type Job, loadJob, type Node, release } from "./job.ts";
import { fetchUnnamed, keysAsRead, type Made, make, type Means, type Task } from "./making.ts";
import { BUILD_OPS_MAX, readNested } from "./nested.ts";
import { type Found, openResultRecords, type ResultRecords } from "./records.ts";
import { openReadings, type Reading } from "./readings.ts";
import { openReporter } from "./reporter.ts";
import { noteParts } from "./trace.ts";
import type { Pin } from "../worker/contract.ts";
import { sourcePaths } from "./selectors.ts";
import type { Selector } from "../worker/keeper/messages.ts";

/** Called for every result that a root or another step uses, as soon as it exists. cached: nothing had to run for it. */
export type OnResult = (input: Input, result: Result, cached: boolean) => void;

/** What is done once in a build, however many of its graphs need it: steps that no record is asked for, and what sources stand for. */
export interface DoneOnce {
  readonly forced: Map<string, Made>;
  /** Steps of graphs that other builds made, of which this build's are. */
  readonly foreign: Set<Digest>;
  readonly pins: Map<string, Pin>;
  /** Build ops so far. */
  nested: number;
}

export interface RunOptions {
  readonly means: Means;
  readonly once: DoneOnce;
  readonly flights: Flights<Made>;
  readonly records: ResultRecords;
  /** What the builds that are open have run once, with their terms. A graph that is an input of another build has its steps in both, and perhaps
   *  only one of their clients has what they need: the other takes the result. */
  readonly open: ReadonlySet<{ readonly once: DoneOnce; readonly terms: string }>;
  /** Separates forced runs of this build from those of others. */
  readonly name: string;
  readonly onResult: OnResult | null;
  readonly noCache: boolean;
  /** The build ops whose definitions this one is in, outermost first. */
  readonly within: readonly Digest[];
}

type LookUp = Request & { readonly kind: "look-up" };

const debug = debuglog("tsbuild:solver");

/**
 * Results of the job's roots, in their order. Throws the first BuildError, located, after everything it started has
 * stopped; rejects with `signal.reason` when the client cancels.
 */
export async function runJob(
  job: Job,
  context: CallContext,
  options: RunOptions,
): Promise<readonly Result[]> {
  const { means, flights, records, onResult, once } = options;
  const { worker } = means;
  const reporter = openReporter(job.nodes.values(), context.emit, means.nowMs);
  const readings = openReadings(reporter, means.nowMs);
  const controller = new AbortController();
  const { signal } = controller;
  setMaxListeners(0, signal); // one for each step at work or waiting
  const inner: CallContext = { signal, session: context.session, emit: reporter.emit };
  const digests = new Map<string, Promise<Digest>>();
  const inbox: { readonly node: Node; readonly message: Message }[] = [];
  /** Requests that wait for the imported caches to be read. */
  const asked: { readonly node: Node; readonly request: LookUp }[] = [];
  let chains: ReadonlyMap<Digest, number> | null = null;
  let running = 0;
  let failure: { readonly error: unknown } | null = null;
  let isWarm = false;
  let finish = (): void => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });

  const isSettled = (): boolean =>
    job.roots.every((root) => job.nodes.get(root.vertex)?.edge.phase === "settled");

  function warm(): void {
    if (isWarm) return;
    isWarm = true;
    void worker.warm([...job.nodes.values()].some(isConnectedStep));
  }
  /** Not finished yet, and with its own network. */
  function isConnectedStep({ vertex: { op }, edge }: Node): boolean {
    return op.kind === "exec" && op.network === "sandbox" && edge.phase !== "settled";
  }

  /** The first failure: everything else is stopped. */
  function fail(node: Node | null, thrown: unknown): void {
    if (signal.aborted) return;
    const error = node === null ? thrown : located(node, thrown);
    failure = { error };
    if (node !== null) node.end = "failed";
    if (node !== null && error instanceof BuildError) reporter.failed(node.vertex.digest, error);
    controller.abort(error);
  }

  /** Work whose result is a message. */
  function start(node: Node, work: () => Promise<Message>): void {
    running += 1;
    work()
      .then(
        (message) => inbox.push({ node, message }),
        (error: unknown) => fail(node, error),
      )
      .then(() => {
        running -= 1;
        pump();
      })
      .catch(() => {}); // pump() does not throw
  }

  /** Delivers messages until there are none, then checks whether the job is done. */
  function pump(): void {
    if (asked.length > 0 && !signal.aborted) return; // begins again when the caches are read
    try {
      for (let at = 0; !signal.aborted; at += 1) {
        const next = inbox[at];
        if (next === undefined) break;
        deliver(next.node, next.message);
      }
    } catch (error) {
      fail(null, error);
    }
    inbox.length = 0;
    if (running > 0) return;
    if (!signal.aborted && !isSettled()) fail(null, new Error(`solver is stuck: ${stuck(job)}`));
    finish();
  }

  function deliver(node: Node, message: Message): void {
    const before = node.edge;
    const { edge, requests } = advance(node.facts, before, message);
    if (edge.phase !== "settled" && waitsFor(edge) === null) {
      throw new Error(`an edge that was ${before.phase} waits for nothing after "${message.kind}"`);
    }
    node.edge = edge;
    if (message.kind === "pinned") {
      node.pin = message.pin.digest;
      node.material = message.pin.material;
    }
    noteParts(node, edge);
    if (debug.enabled && edge.phase !== before.phase)
      debug("%s: %s", node.note?.name ?? node.vertex.digest, edge.phase);
    for (const request of requests) perform(node, request);
  }

  function perform(node: Node, request: Request): void {
    switch (request.kind) {
      case "pin":
        return pin(node);
      case "hash":
        return hash(node, request);
      case "look-up":
        return ask(node, request);
      case "want-input": {
        const input = inputOf(node, request.index);
        input.waiting.push({ node, index: request.index });
        if (input.edge.phase === "settled") return hand(input, input.edge);
        inbox.push({ node: input, message: { kind: "want" } });
        return undefined;
      }
      case "announce":
        for (const user of node.users) {
          const { key, result } = request;
          inbox.push({ node: user.node, message: { kind: "input-key", index: user.index, key, result } });
        }
        return undefined;
      case "run":
        return run(node, request);
      case "settle":
        return settled(node, request);
    }
  }

  function pin(node: Node): void {
    const { op, platform, digest } = node.vertex;
    if (op.kind !== "source") throw new Error(`${op.kind} cannot be pinned`);
    const isRoot = job.roots.some(({ vertex }) => vertex === digest);
    const paths = isRoot
      ? null
      : sourcePaths(node.users.map(({ node: { facts }, index }) => facts.reads[index] ?? null));
    const key = `${digest} ${JSON.stringify(paths)}`;
    reporter.started(digest);
    start(node, async () => {
      const pin = once.pins.get(key) ?? (await worker.pin(op, platform, digest, inner, paths));
      once.pins.set(key, pin);
      return { kind: "pinned", pin };
    });
  }

  function hash(node: Node, { index, result, selectors }: Request & { readonly kind: "hash" }): void {
    // Live files are read long before the step starts: shown as progress of their source, not of the step.
    const reading =
      result.kind === "files" ? readings.begin(inputOf(node, index).vertex.digest, result.name) : null;
    const look = (): Promise<Digest> => contentDigest(node, index, result, selectors, reading);
    start(node, async () => {
      try {
        const digest = await (reading === null ? reporter.looking(node.vertex.digest, look) : look());
        return { kind: "digest", index, digest };
      } catch (error) {
        if (!(error instanceof BuildError) || result.kind !== "layers") throw error;
        throw withLeft(error, { inputs: [result.layers], mounts: [], subject: { kind: "cache", index } });
      } finally {
        if (!context.signal.aborted) reading?.end();
      }
    });
  }

  /** Many steps copy from one source; equal lookups run once. */
  function contentDigest(
    node: Node,
    index: number,
    result: Result,
    selectors: readonly Selector[],
    reading: Reading | null,
  ): Promise<Digest> {
    const input = node.facts.inputs[index] as Input;
    const question = `${input.vertex} ${input.output} ${JSON.stringify(selectors)}`;
    let answer = digests.get(question);
    if (answer === undefined) {
      // What is new there is what steps are run for.
      answer = worker.contentDigest(result, selectors, inner, { onBytes: reading?.onBytes, onNew: warm });
      digests.set(question, answer);
    }
    return answer;
  }

  /**
   * Handled synchronously, without an intermediate state of the edge. At the first miss while imported caches are still being read,
   * no lookup returns and no message is delivered until they are; running work continues.
   */
  function ask(node: Node, request: LookUp): void {
    const { imports } = means;
    const found = records.find(request.key, node.outputs);
    if (found !== null || imports === undefined || imports.isReady)
      return deliver(node, answer(node, request, found));
    asked.push({ node, request });
    if (asked.length > 1) return undefined;
    running += 1;
    imports
      .ready({ signal })
      .then(() => {
        const held = asked.splice(0);
        if (!signal.aborted) for (const one of held) ask(one.node, one.request);
      })
      .catch((error: unknown) => fail(null, error))
      .then(() => {
        running -= 1;
        pump();
      })
      .catch(() => {}); // pump() does not throw
    return undefined;
  }

  function answer(node: Node, request: LookUp, found: Found | null): Message {
    if (found === null) {
      warm();
      return { kind: "missed" };
    }
    debug("%s: found by %s, %s", node.note?.name, request.by, request.key);
    records.put(request.aliases, found.record, null);
    return { kind: "found", outputs: found.outputs };
  }

  function run(node: Node, request: Request & { readonly kind: "run" }): void {
    const { parts, results } = request;
    warm();
    const { vertex } = node;
    if (vertex.op.kind === "build") {
      const { op } = vertex;
      reporter.started(vertex.digest);
      start(node, async () => {
        const result = await runNested({ ...vertex, op }, results);
        // Users are found by this result alone (job.ts): the key only has to be of it.
        const key = keyOf(node.facts.op, [resultPart(result, "")]);
        return { kind: "ran", outputs: [result], key };
      });
      return;
    }
    if (parts === null) {
      start(node, async () => {
        const { outputs } = await fetchUnnamed(node, means, inner);
        return { kind: "ran", outputs, key: null };
      });
      return;
    }
    chains ??= chainsMs(job, (op) => records.durationMs(op));
    const task: Task = { node, parts, results, priority: chains.get(node.vertex.digest) ?? 0 };
    start(node, async () => {
      const made = node.facts.trust === "none" ? await shareForced(task) : await share(task);
      const { key, keys } = keysAsRead(task, made);
      // It may have been produced under other keys than this one.
      const others = keys.filter((other) => !made.recordedAs.includes(other));
      if (made.record !== null) records.put(others, made.record, null);
      if (made.how === "found") return { kind: "found", outputs: made.outputs };
      node.isUnchanged = made.unchanged;
      return { kind: "ran", outputs: made.outputs, key };
    });
  }

  /** Solves a definition in a file. It takes no slot of a queue: its steps do. */
  async function runNested(
    vertex: Vertex & { readonly op: BuildOp },
    inputs: readonly Result[],
  ): Promise<Result> {
    if (++once.nested > BUILD_OPS_MAX)
      throw new BuildError("LIMIT_EXCEEDED", `a build has more than ${BUILD_OPS_MAX} build steps`);
    const read = await readNested(vertex, inputs, options.within, worker, inner);
    if (read.root === null) return SCRATCH;
    const governed = await means.govern?.(read.definition, [read.root], inner);
    const { definition, roots } = governed ?? { definition: read.definition, roots: [read.root] };
    const nested = loadJob({ definition, noCache: options.noCache }, roots);
    // Its steps are those of the build, not of this step: told as such.
    const [result] = await runJob(
      nested,
      { ...inner, emit: context.emit },
      { ...options, within: [...options.within, vertex.digest] },
    );
    // Live files have no name that users could be found by.
    return { kind: "layers", layers: await worker.layersOf(result as Result, inner) };
  }

  async function shareForced(task: Task): Promise<Made> {
    const { digest } = task.node.vertex;
    const name = `${digest} ${keysOf(task.node.facts.op, task.parts).at(-1)}`;
    const known = once.forced.get(name) ?? (once.foreign.has(digest) ? madeElsewhere(name) : null);
    const made = known ?? (await share(task));
    once.forced.set(name, made); // what was taken is this build's, too, when the other is over
    return known === null ? made : { ...made, how: "found" };
  }

  /** What another build that is open has made of a forced step; null: none, or it is gone. */
  function madeElsewhere(name: string): Made | null {
    for (const { once: other, terms } of options.open) {
      const made = terms === (means.terms ?? "") ? other.forced.get(name) : undefined;
      if (made === undefined) continue;
      records.hold(made.outputs); // before the look: its build may be ending
      const layers = made.outputs.flatMap((output) => (output?.kind === "layers" ? output.layers : []));
      if (layers.every((id) => means.store.layers.get(id) !== null)) return made;
    }
    return null;
  }

  function share(task: Task): Promise<Made> {
    const { node, parts, results } = task;
    const key = keysOf(node.facts.op, parts).at(-1) as CacheKey;
    const member = {
      vertex: node.vertex.digest,
      context: inner,
      landed: (made: Made) => records.hold(made.outputs),
    };
    // Builds with the same caches share results that depend on them; a forced run belongs to one build.
    const name = node.facts.trust === "none" ? options.name : (means.terms ?? "");
    return flights.share(`${means.imports?.nameOf(key) ?? key} ${name}`, member, async (shared) => {
      // These outlive this job if others wait.
      const own = openResultRecords(means.store, means.nowMs, means.imports);
      const hold = means.hold?.();
      const release = async (): Promise<void> => {
        await own[Symbol.asyncDispose]();
        await hold?.[Symbol.asyncDispose]();
      };
      try {
        own.hold(results);
        return { value: await make(task, means, own, shared), release };
      } catch (error) {
        await release();
        throw error;
      }
    });
  }

  function settled(node: Node, request: Request & { readonly kind: "settle" }): void {
    const { outputs, how } = request;
    const { digest } = node.vertex;
    records.hold(outputs);
    node.end = how === "ran" ? "ran" : "cached";
    node.isNew =
      how === "ran" || (how === "made" && node.facts.inputs.some((_, index) => inputOf(node, index).isNew));
    if (how === "made" && node.isNew) reporter.started(digest);
    const isRead = how === "pinned" && outputs[0]?.kind === "files" && node.users.length > 0; // and ends with that
    if (!isRead) reporter.ended(digest, how === "pinned" || node.isNew ? "done" : "cached");
    for (const index of node.outputs) {
      const result = outputs[index] ?? null;
      if (result === null) throw new Error(`${node.vertex.op.kind}: there is no output ${index}`);
      onResult?.({ vertex: digest, output: index }, result, !node.isNew);
    }
    if (node.edge.phase === "settled") hand(node, node.edge);
    for (const input of node.facts.inputs) {
      for (const spared of release(
        job,
        job.nodes.get(input.vertex) as Node,
        (one) => one.edge.phase === "settled",
      )) {
        reporter.ended(spared.vertex.digest, "cached");
      }
    }
  }

  /** Sends the result to all edges that wait for it. */
  function hand(node: Node, edge: Edge & { readonly phase: "settled" }): void {
    for (const user of node.waiting.splice(0)) {
      const result = edge.outputs[user.node.facts.inputs[user.index]?.output ?? -1] ?? null;
      if (result === null) throw new Error(`${node.vertex.op.kind}: a user wants an output it does not have`);
      inbox.push({ node: user.node, message: { kind: "input-result", index: user.index, result } });
    }
  }

  function inputOf(node: Node, index: number): Node {
    return job.nodes.get(node.facts.inputs[index]?.vertex as Digest) as Node;
  }

  const cancel = (): void => controller.abort(context.signal.reason);
  context.signal.throwIfAborted();
  context.signal.addEventListener("abort", cancel, { once: true });
  try {
    if ([...job.nodes.values()].some((node) => node.facts.trust === "none")) warm();
    for (const { node, requests } of job.first) for (const request of requests) perform(node, request);
    for (const root of job.roots) {
      inbox.push({ node: job.nodes.get(root.vertex) as Node, message: { kind: "want" } });
    }
    pump();
    await finished;
  } finally {
    context.signal.removeEventListener("abort", cancel);
  }
  if (signal.aborted) {
    reporter.cancelled();
    throw failure === null ? context.signal.reason : (failure as { error: unknown }).error;
  }
  records.touch(sparedKeys(job));
  return job.roots.map((root) => {
    const edge = job.nodes.get(root.vertex)?.edge;
    return (edge?.phase === "settled" ? edge.outputs[root.output] : null) as Result;
  });
}

/** Keys of steps that a hit made unnecessary. */
function* sparedKeys(job: Job): Iterable<CacheKey> {
  for (const { edge } of job.nodes.values()) if (edge.phase === "keyed") yield edge.key;
}

/** The error of a step for the user: with its position in the Dockerfile. */
function located(node: Node, thrown: unknown): BuildError {
  const error =
    thrown instanceof BuildError
      ? thrown
      : new BuildError("SYSCALL", thrown instanceof Error ? thrown.message : String(thrown), {
          cause: thrown,
        });
  return locate(error, node.note?.at[0] ?? null, node.vertex.digest);
}

function stuck(job: Job): string {
  return [...job.nodes.values()]
    .filter(({ edge }) => edge.phase !== "settled" && edge.phase !== "keyed")
    .map(
      ({ note, vertex, edge }) =>
        `${note?.name ?? vertex.digest} is ${edge.phase}, waits for ${waitsFor(edge)}`,
    )
    .join("; ");
}
