// tsbuild update: resolves the references of a build anew, and shows what changes in its lock file.

import type { CommandFlags, FlagSpec } from "../args.ts";
import { readBuildFlags } from "../build-request.ts";
import type { Command } from "../command.ts";
import { configuredProxies } from "../docker-proxies.ts";
import { type LockChange, lockChanges, renderChange, withoutEntries } from "../engine/lock-changes.ts";
import { formatLock } from "../engine/lock-document.ts";
import { EMPTY_LOCK, type Lock, mergeLocks } from "../engine/lock.ts";
import type { SourceText } from "../engine/request.ts";
import { BUILD_FLAGS } from "../flags-build.ts";
import { type LocalBuildOptions, withLocalBuild } from "../local-build.ts";
import { type LockFile, readLockFile, writeLock } from "../lock-file.ts";
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
    const work = (emit: Emit): Promise<Lock> =>
      withLocalBuild(given, { flags, context, outputs: [], lockOf }, (build) =>
        resolveLock(build, found.file?.lock ?? EMPTY_LOCK, {
          ...{ signal, onSource: (source) => void sources.set(source.file, source) },
          emit: (event) => (event.kind === "note" || event.kind === "warning" ? undefined : emit(event)),
        }),
      );
    const used = await displayed("Resolving", mode, context, work, sources);
    const { file } = found;
    if (used === null || file === null) return 1;
    const before = file.lock ?? EMPTY_LOCK;
    // What other targets use is not known.
    const isPartial = names.length > 0 || flags.bool("keep-unused") || given.target !== null;
    const after = isPartial ? mergeLocks(before, used) : used;
    const changes = lockChanges(before, after);
    for (const change of changes) context.print(renderChange(change));
    const isChange = changes.length > 0 || file.lock === null;
    const isWritten = isChange && !flags.bool("check") && !flags.bool("dry-run");
    if (isWritten) await writeLock(file.path, formatLock(after), signal);
    const outcome = isChange ? `${counted(changes)}${isWritten ? "" : ", not written"}` : "up to date";
    context.complain(`${file.shown}: ${outcome}\n`);
    // On a machine of another platform nothing has changed, though there is one more to list.
    const isOther = file.lock === null || changes.some((change) => change.before !== change.after);
    return flags.bool("check") && isOther ? 1 : 0;
  },
};

/** "2 changed, 1 added, 1 removed" */
function counted(changes: readonly LockChange[]): string {
  const added = changes.filter(({ before }) => before === null).length;
  const removed = changes.filter(({ after }) => after === null).length;
  return `${changes.length - added - removed} changed, ${added} added, ${removed} removed`;
}
