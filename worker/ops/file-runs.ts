// Which actions of a file step share a layer. Actions may use each other's results in any way: a chain that nobody looks into works on one
// layer, a result that is an output, or that is used twice, is a layer that others start from or copy from.

import type { ChownOpt, FileAction } from "../../solver/graph/op.ts";

/** Actions in order on one layer. Their inputs are those of the step, then the results of the runs before it; one behind them is the
 *  layer itself. */
export interface FileRun {
  readonly actions: readonly FileAction[];
  /** Their places in the step. */
  readonly at: readonly number[];
  /** What the layer starts from, in the same numbers; null: nothing. */
  readonly base: number | null;
  /** Which output of the step it is; null: only others use it. */
  readonly output: number | null;
}

/** The runs that the outputs need, each after those it uses. An action uses only inputs and earlier actions (llb.ts). */
export function runsOf(actions: readonly FileAction[], inputCount: number): FileRun[] {
  const uses = actions.map(() => 0);
  const use = (index: number | null): void => {
    if (index !== null && index >= inputCount) uses[index - inputCount] = (uses[index - inputCount] ?? 0) + 1;
  };
  const needed = neededOf(actions, inputCount);
  actions.forEach((action, index) => {
    if (needed.has(index)) for (const one of usedBy(action)) use(one);
  });

  const runs: { actions: FileAction[]; at: number[]; base: number | null; output: number | null }[] = [];
  /** Of each action: the run it is the end of so far. */
  const runAt = new Map<number, number>();
  const numberOf = (index: number): number =>
    index < inputCount ? index : inputCount + (runAt.get(index - inputCount) as number);
  for (const [index, action] of actions.entries()) {
    if (!needed.has(index)) continue;
    const before = action.base === null || action.base < inputCount ? null : action.base - inputCount;
    const isContinued = before !== null && uses[before] === 1 && actions[before]?.output === null;
    const at = isContinued ? (runAt.get(before) as number) : runs.length;
    if (!isContinued)
      runs.push({
        actions: [],
        at: [],
        base: action.base === null ? null : numberOf(action.base),
        output: null,
      });
    const run = runs[at] as (typeof runs)[number];
    run.actions.push(renumbered(action, isContinued, numberOf));
    run.at.push(index);
    run.output = action.output;
    runAt.set(index, at);
  }
  return runs;
}

/** Number of the layer itself in a run: nothing has that many inputs. */
const ITSELF = 2 ** 30;

/** Inputs and results an action uses, each as often as somebody has to be able to look at it. */
function usedBy(action: FileAction): (number | null)[] {
  const { base } = action;
  // A name that is looked up where the action works needs no result of its own.
  const owners = namesOf(action).filter((input) => input !== base);
  return action.kind === "copy" ? [base, action.from, ...owners] : [base, ...owners];
}

function namesOf(action: FileAction): (number | null)[] {
  if (action.kind === "rm") return [];
  return [action.owner?.user, action.owner?.group].flatMap((who) =>
    who?.kind === "name" ? [who.input] : [],
  );
}

function neededOf(actions: readonly FileAction[], inputCount: number): ReadonlySet<number> {
  const needed = new Set<number>();
  for (const [index, action] of [...actions.entries()].reverse()) {
    if (action.output === null && !needed.has(index)) continue;
    needed.add(index);
    for (const one of usedBy(action)) if (one !== null && one >= inputCount) needed.add(one - inputCount);
  }
  return needed;
}

/** isContinued: its base is the layer it works on. */
function renumbered(
  action: FileAction,
  isContinued: boolean,
  numberOf: (index: number) => number,
): FileAction {
  if (action.kind === "rm") return action;
  const where = (input: number | null): number | null =>
    input === null ? null : isContinued && input === action.base ? ITSELF : numberOf(input);
  const owner = action.owner === null ? null : ownerIn(action.owner, where);
  if (action.kind !== "copy") return { ...action, owner };
  return { ...action, owner, from: action.from === null ? null : numberOf(action.from) };
}

function ownerIn(owner: ChownOpt, where: (input: number | null) => number | null): ChownOpt {
  const { user, group } = owner;
  return {
    user: user?.kind === "name" ? { ...user, input: where(user.input) } : user,
    group: group?.kind === "name" ? { ...group, input: where(group.input) } : group,
  };
}

/** Is the input read by an action, other than as what it starts from? */
export function readsInput(actions: readonly FileAction[], input: number): boolean {
  return actions.some(
    (action) => (action.kind === "copy" && action.from === input) || namesOf(action).includes(input),
  );
}
