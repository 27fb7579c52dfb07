// tsbuild update: resolves the references of a build anew, and shows what changes in its lock file.

import type { CommandFlags, FlagSpec } from "../args.ts";
import { readBuildFlags } from "../build-request.ts";
import type { Command } from "../command.ts";
import { configuredProxies } from "../docker-proxies.ts";
import {
  type LockChange,
  lockChanges,
  renderChange,
  updatedLock,
  withoutEntries,
} from "../engine/lock-changes.ts";
import { EMPTY_LOCK, type Lock } from "../engine/lock.ts";
import type { SourceText } from "../engine/request.ts";
import { BUILD_FLAGS } from "../flags-build.ts";
import { type LocalBuildOptions, withLocalBuild } from "../local-build.ts";
import { type LockFile, readLockFile, rewriteLock } from "../lock-file.ts";
import { resolveLock } from "../lock-update.ts";
import { progressMode } from "../progress.ts";
import { displayed } from "../transfer.ts";
import type { Emit } from "../../solver/graph/event.ts";

/** Flags of a build that say which references it has, and how they are resolved. */
const SHARED: readonly string[] = [
  ...["attest", "sbom"], // a scanner is an image
  ...["insecure-registry", "registry-mirror", "cert-dir", "allow-frontend", "build-arg", "build-arg-file"],
  ...[
    "build-context",
    "file",
    "platform",
    "progress",
    "secret",
    "source-policy",
    "source-policy-file",
    "ssh",
    "target",
  ],
];

const OWN_FLAGS: readonly FlagSpec[] = [
  {
    name: "lock",
    kind: "string",
    value: "file",
    help: "Lock file (default: tsbuild.lock beside the Dockerfile)",
  },
  { name: "dry-run", kind: "bool", help: "Show what would change, and leave the file as it is" },
  { name: "check", kind: "bool", help: "As --dry-run, with exit code 1 if anything would change" },
  { name: "keep-unused", kind: "bool", help: "Keep entries that the Dockerfile does not use" },
];

const FLAGS: CommandFlags = {
  usage: "[OPTIONS] [NAME...] PATH | URL | -",
  positionals: { min: 1, max: null },
  flags: [...BUILD_FLAGS.flags.filter(({ name }) => SHARED.includes(name)), ...OWN_FLAGS],
};

const BUILD = { name: "build", format: "text", ignoreStatus: false } as const;

export const command: Command = {
  flags: FLAGS,
  async run(flags, context) {
    const { config, cwd, signal } = context;
    const names = flags.positionals.slice(0, -1);
    const proxies = configuredProxies(config.dockerConfigDir);
    const asked = await readBuildFlags(flags, config.env, cwd, proxies, signal);
    const given = { ...asked, call: BUILD }; // --check means another thing here
    const sources = new Map<string, SourceText>();
    const found = { file: null as LockFile | null };
    const lockOf: LocalBuildOptions["lockOf"] = async (place) => {
      const file = await readLockFile(flags.one("lock") || null, place, { cwd, signal });
      found.file = file;
      return {
        file: file.shown,
        entries: withoutEntries(file.lock ?? EMPTY_LOCK, names, file.shown),
        mode: "update",
      };
    };
    const mode = progressMode(flags.one("progress"), config.env);
    // What other targets use is not known.
    const keepsUnused = names.length > 0 || flags.bool("keep-unused") || given.target !== null;
    const isDry = flags.bool("check") || flags.bool("dry-run");
    const work = (emit: Emit): Promise<Outcome> =>
      withLocalBuild(given, { flags, context, outputs: [], lockOf }, async (build) => {
        const read = found.file?.lock ?? EMPTY_LOCK;
        const used = await resolveLock(build, read, {
          ...{ signal, onSource: (source) => void sources.set(source.file, source) },
          emit: (event) => (event.kind === "note" || event.kind === "warning" ? undefined : emit(event)),
        });
        if (found.file === null) throw new Error("no lock file was looked for");
        const outcome = { file: found.file, changes: [] as readonly LockChange[], isNew: false };
        const change = (now: Lock | null): Lock | null => {
          const after = updatedLock({ read, now: now ?? EMPTY_LOCK, used }, keepsUnused);
          outcome.changes = lockChanges(now ?? EMPTY_LOCK, after);
          outcome.isNew = now === null;
          return !isDry && (outcome.changes.length > 0 || now === null) ? after : null;
        };
        await rewriteLock(found.file, change, { store: build.engine.store, signal });
        return outcome;
      });
    const outcome = await displayed("Resolving", mode, context, work, sources);
    if (outcome === null) return 1;
    const { file, changes, isNew } = outcome;
    for (const change of changes) context.print(renderChange(change));
    const isChange = changes.length > 0 || isNew;
    const what = isChange ? `${counted(changes)}${isDry ? ", not written" : ""}` : "up to date";
    context.complain(`${file.shown}: ${what}\n`);
    // On a machine of another platform nothing has changed, though there is one more to list.
    const isOther = isNew || changes.some((change) => change.before !== change.after);
    return flags.bool("check") && isOther ? 1 : 0;
  },
};

interface Outcome {
  readonly file: LockFile;
  /** Of the file as it was when it was written. */
  readonly changes: readonly LockChange[];
  readonly isNew: boolean;
}

/** "2 changed, 1 added, 1 removed" */
function counted(changes: readonly LockChange[]): string {
  const added = changes.filter(({ before }) => before === null).length;
  const removed = changes.filter(({ after }) => after === null).length;
  return `${changes.length - added - removed} changed, ${added} added, ${removed} removed`;
}
