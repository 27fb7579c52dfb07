// Matches a step with a step of an earlier build. Names are "[STAGE n/m] INSTRUCTION"; step numbers change when steps are added or
// removed, so the texts are aligned stage by stage, and steps between two equal ones are paired in order.

import type { StepTrace } from "./trace.ts";

/** "compile" and "RUN make" of "[compile 2/4] RUN make"; position 2. */
export interface StepName {
  readonly stage: string;
  readonly position: number | null;
  readonly text: string;
}

/** Takes a step's name apart. */
export function splitName(name: string): StepName {
  const [, label = "", text = name] = /^\[([^\]]*)\]\s*(.*)$/s.exec(name) ?? [];
  const [, stage = "", position] = /^(?:(.*?)\s+)?(\d+)\/\d+$/.exec(label.trim()) ?? [null, label.trim()];
  return { stage, position: position === undefined ? null : Number(position), text };
}

/** For each of the new steps the index of its earlier self, or null. `alsoChanged`: an instruction with another text in the
 *  same place counts as the same one. */
export function alignSteps(
  before: readonly StepTrace[],
  after: readonly StepTrace[],
  alsoChanged: boolean,
): readonly (number | null)[] {
  const found: (number | null)[] = after.map(() => null);
  const taken = new Set<number>();
  const pair = (now: number, old: number): void => {
    found[now] = old;
    taken.add(old);
  };
  const byDigest = new Map(before.map((step, index) => [step.vertex, index]));
  after.forEach((step, now) => {
    const old = byDigest.get(step.vertex);
    if (old !== undefined) pair(now, old);
  });
  for (const keyOf of [stageKey, kindOnly]) {
    const oldGroups = grouped(before, keyOf, (index) => !taken.has(index));
    const newGroups = grouped(after, keyOf, (index) => found[index] === null);
    for (const [key, now] of newGroups) {
      const old = oldGroups.get(key) ?? [];
      // In another stage only the very same instruction is the same step: stages get other names.
      for (const [n, o] of alignGroup(before, after, old, now, alsoChanged && keyOf === stageKey)) pair(n, o);
    }
  }
  return found;
}

/** Sources with sources, steps with steps of the same stage. */
function stageKey(step: StepTrace): string {
  const { stage } = splitName(step.name);
  return `${step.source === null ? "step" : "source"} ${stage}`;
}

function kindOnly(step: StepTrace): string {
  return step.source === null ? "step" : "source";
}

function grouped(
  steps: readonly StepTrace[],
  keyOf: (step: StepTrace) => string,
  isWanted: (index: number) => boolean,
): ReadonlyMap<string, number[]> {
  const groups = new Map<string, number[]>();
  steps.forEach((step, index) => {
    if (!isWanted(index)) return;
    const key = keyOf(step);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [index]);
    else group.push(index);
  });
  return groups;
}

/** Above this two groups are paired by position only: the table of the alignment grows with the product. */
const TABLE_MAX = 250_000;

function alignGroup(
  before: readonly StepTrace[],
  after: readonly StepTrace[],
  old: readonly number[],
  now: readonly number[],
  alsoBetween: boolean,
): [now: number, old: number][] {
  const textsOf = (steps: readonly StepTrace[], group: readonly number[]) =>
    new Map(group.map((index) => [index, splitName(steps[index]?.name ?? "").text]));
  const [texts, oldTexts] = [textsOf(after, now), textsOf(before, old)];
  const equal = (n: number, o: number): boolean => texts.get(n) === oldTexts.get(o);
  const same = old.length * now.length > TABLE_MAX ? [] : longestCommon(old, now, equal);
  if (!alsoBetween) return same;
  const pairs: [number, number][] = [];
  let [atNow, atOld] = [0, 0];
  for (const anchor of [...same, null]) {
    const endNow = anchor === null ? now.length : now.indexOf(anchor[0]);
    const endOld = anchor === null ? old.length : old.indexOf(anchor[1]);
    const rest = old.slice(atOld, endOld);
    for (const n of now.slice(atNow, endNow)) {
      const at = rest.findIndex((o) => isAlike(before[o] as StepTrace, after[n] as StepTrace));
      if (at >= 0) pairs.push([n, rest.splice(0, at + 1).at(-1) as number]);
    }
    if (anchor !== null) pairs.push(anchor);
    [atNow, atOld] = [endNow + 1, endOld + 1];
  }
  return pairs;
}

/** May one be a changed form of the other? RUN of RUN, COPY of COPY. */
function isAlike(a: StepTrace, b: StepTrace): boolean {
  if (a.source !== null || b.source !== null) return a.source !== null && b.source !== null;
  return wordOf(a) === wordOf(b) && a.op["op"] === b.op["op"];
}

function wordOf(step: StepTrace): string {
  const [first = "", second = ""] = splitName(step.name).text.split(" ", 2);
  return first === "LINK" ? `LINK ${second}` : first;
}

/** Longest common subsequence, as pairs in order. */
function longestCommon(
  old: readonly number[],
  now: readonly number[],
  equal: (now: number, old: number) => boolean,
): [now: number, old: number][] {
  const width = old.length + 1;
  const lengths = new Uint32Array((now.length + 1) * width);
  const at = (i: number, j: number): number => lengths[i * width + j] as number;
  for (let i = now.length - 1; i >= 0; i -= 1) {
    for (let j = old.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] = equal(now[i] as number, old[j] as number)
        ? at(i + 1, j + 1) + 1
        : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const pairs: [number, number][] = [];
  for (let i = 0, j = 0; i < now.length && j < old.length; ) {
    if (equal(now[i] as number, old[j] as number)) pairs.push([now[i++] as number, old[j++] as number]);
    else if (at(i + 1, j) >= at(i, j + 1)) i += 1;
    else j += 1;
  }
  return pairs;
}
