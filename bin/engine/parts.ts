// Types shared by the files of this room.

import type { ImportedResults } from "../../cache/remote-cache/imports.ts";
import type { Transport } from "../../cache/registry/transport.ts";
import type { Session } from "../../solver/graph/session.ts";
import type { Limits, Sharing, Solver } from "../../solver/solver.ts";
import type { Keeper } from "../../worker/keeper/keeper.ts";
import type { LocalWorker } from "../../worker/worker.ts";
import type { ObjectCaches } from "./object-caches.ts";
import type { BuildTerms } from "./request.ts";
import type { EngineConfig } from "./config.ts";
import type { SourceGate } from "./source-gate.ts";
import type { Registry } from "../../cache/registry/contract.ts";
import type { Store } from "../../cache/contract.ts";

/** What one request to the engine works with. */
export interface EngineParts {
  readonly config: EngineConfig;
  readonly store: Store;
  /** The keeper for the runtime of this request: the one that runs, else a new one; networkAhead as in startKeeper. */
  readonly keeper: (networkAhead?: boolean) => Keeper;
  /** One client per session, closed with the request. */
  readonly registry: (session: Session) => Promise<Registry>;
  /** For downloads by URL. The caller disposes it. */
  readonly transport: () => Promise<Transport>;
  /** Proxies and certificate authorities as variables for git. */
  readonly gitVariables: () => Promise<Readonly<Record<string, string>>>;
  /** Build caches outside of registries, with the credentials of this request; closed with it. */
  readonly objects: ObjectCaches;
  readonly limits: () => Promise<Limits>;
  /** Shared by all requests to this engine. */
  readonly sharing: Sharing;
  /** Disposed with the request, last-in first-out. Returns it. */
  readonly use: <T extends AsyncDisposable>(resource: T) => T;
  /** Keeps everything the request uses until disposed, however it ended. */
  readonly hold: () => AsyncDisposable;
}

/** What solves graphs of one build: those that have a session and a list of caches in common. */
export interface OpenBuild {
  readonly parts: EngineParts;
  readonly terms: BuildTerms;
  /** Of this build's client; its main context may be one that was unpacked here. */
  readonly session: Session;
  readonly worker: LocalWorker;
  readonly solver: Solver;
  readonly registry: () => Promise<Registry>;
  /** Results of external caches; null: there are none. */
  readonly imports: ImportedResults | null;
  /** What sources have to pass before they are resolved; its solver asks by itself. null: nothing. */
  readonly gate: SourceGate | null;
}
