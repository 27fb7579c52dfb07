// Privileges that a test needs are declared where it is registered: elsewhere it is not a test, so nothing is skipped.
// Root is that of the machine or of a user namespace, as for the keeper: an ordinary user's run creates such a namespace for
// the files that ask for root (test/worker/namespace-root.test.ts).

import { readFileSync } from "node:fs";

const nothing = (): void => {};
const ALL_IDS = 4_294_967_295;
/** How many ids this process's user namespace holds. */
const ids = readFileSync("/proc/self/uid_map", "latin1")
  .trim()
  .split("\n")
  .reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[2]), 0);

export const isRoot: boolean = process.getuid?.() === 0;
/** Root of the machine, who may do what no user namespace allows. */
export const isMachineRoot: boolean = isRoot && ids === ALL_IDS;

type Register<T extends Mocha.Suite | Mocha.Context> = (title: string, body: (this: T) => unknown) => void;

/** Suites that give files to others, make device nodes or mount. */
export const describeAsRoot: Register<Mocha.Suite> = isRoot
  ? (title, body) => void describe(title, body as (this: Mocha.Suite) => void)
  : nothing;
/** Tests that give files to others, make device nodes or mount. */
export const itAsRoot: Register<Mocha.Context> = isRoot
  ? (title, body) => void it(title, body as Mocha.AsyncFunc)
  : nothing;
/** Suites that need root to have more ids than its own. */
export const describeWithIds: Register<Mocha.Suite> = ids > 1 ? describeAsRoot : nothing;
/** Tests that need every id there is, or other rights of the machine's root. */
export const itAsMachineRoot: Register<Mocha.Context> = isMachineRoot ? itAsRoot : nothing;
