// What builds can do on this machine, what is missing, and the fix: for `tsbuild doctor`, and for the
// hint of a build that cannot start its steps.

import { BuildError } from "../solver/graph/error.ts";
import { emulationOf } from "./emulation.ts";
import { findNetworkHelper } from "./keeper/network-helper.ts";
import { findIdMaps } from "./keeper/userns.ts";
import { machineKey, readNamespaceSettings } from "./probe-files.ts";
import { tryMachine, tryRuntimes } from "./probe-try.ts";
import {
  emulatorsFinding,
  type Finding,
  idsFinding,
  kernelFinding,
  limitsFinding,
  namespaceFinding,
  networkFinding,
  nodeFinding,
  OTHER,
  OWN,
  runtimesFinding,
  stepFindings,
  storeFinding,
} from "./probe-words.ts";
import type { Store } from "../cache/contract.ts";

export interface ProbeOptions {
  readonly store: Store;
  readonly user: { readonly uid: number; readonly gid: number; readonly name: string };
  /** Where programs are looked for. */
  readonly path: string;
  readonly signal: AbortSignal;
}

const RUNTIMES: readonly string[] = ["crun", "runc", "youki"];
/** Where the answer is kept. */
const SPACE = "machine";
const KEY = "probe";

/** Looks and tries; a second or so. The answer is kept in the store. Throws only when aborted. */
export async function probeMachine(options: ProbeOptions): Promise<readonly Finding[]> {
  const { store, user, path, signal } = options;
  const network = findNetworkHelper(path);
  const maps = findIdMaps(user, path);
  const emulation = emulationOf(OTHER, OWN).kind;
  const settings = readNamespaceSettings();
  const tries = {
    store,
    maps,
    path,
    network,
    emulator: emulation === "emulated" || emulation === "unseen",
    signal,
  };
  const tried = await tryMachine(tries);
  const findings: Finding[] = [
    nodeFinding(),
    kernelFinding(),
    storeFinding(store.dir),
    namespaceFinding(tried, settings, user.uid === 0),
    idsFinding(tried, maps, settings),
    ...stepFindings(tried),
    networkFinding(tried, network),
    await limitsFinding(),
    emulatorsFinding(tried),
    // Where our own sandbox does not start, that is what has to be fixed first.
    ...(tried.step?.worked === true ? [runtimesFinding(await tryRuntimes(RUNTIMES, tries))] : []),
  ];
  store.records.put(SPACE, KEY, { key: keyOf(options), findings });
  return findings;
}

/** The answer for this machine as it is now: kept, or found out. */
export async function knownMachine(options: ProbeOptions): Promise<readonly Finding[]> {
  const kept = options.store.records.get<{ key: string; findings: readonly Finding[] }>(SPACE, KEY);
  return kept?.key === keyOf(options) ? kept.findings : probeMachine(options);
}

/** Do builds work here, whatever they go without? */
export function buildsWork(findings: readonly Finding[]): boolean {
  return findings.every(({ state }) => state !== "missing");
}

/** The same error with what this machine lacks as its hint, when it has none. */
export async function withCause(error: BuildError, options: ProbeOptions): Promise<BuildError> {
  if (error.hint !== null) return error;
  const lack = (await knownMachine(options)).find(({ state }) => state === "missing");
  const hint =
    lack?.fix == null
      ? "run 'tsbuild doctor' to check what this machine supports"
      : `${lack.consequence} ${lack.fix}`;
  const { code, message, cause, at, vertex, exitCode } = error;
  return new BuildError(code, message, { cause, at, vertex, exitCode, hint });
}

function keyOf({ store, user, path }: ProbeOptions): string {
  return machineKey({ path, uid: user.uid, dir: store.dir });
}
