// tsbuild cache-mounts: lists, exports, imports and clears the directories of RUN --mount=type=cache.

import { openLocalEngine } from "../local-store.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { ParsedFlags } from "../args.ts";
import type { Engine } from "../engine/contract.ts";
import type { EngineTransferOptions } from "../engine/request.ts";
import { humanDuration, humanSize, renderTable } from "../format.ts";
import { renderFormat } from "../format-template.ts";
import { openLocalSession } from "../local-session.ts";
import { cleanText } from "../log-text.ts";
import { REGISTRY_FLAGS } from "../flags-registry.ts";
import type { Command, CommandContext } from "../command.ts";

export const command: Command = {
  flags: {
    usage: "[ls | export DEST | import SRC | clear] [OPTIONS]",
    positionals: { min: 0, max: 2 },
    flags: [
      ...REGISTRY_FLAGS,
      { name: "id", kind: "list", help: "Only the cache mount with this id (may be repeated; default: all)" },
      { name: "force", short: "f", kind: "bool", help: "clear: remove all without --id" },
      { name: "format", kind: "string", help: 'ls: format output ("table", "json" or a Go template)' },
    ],
  },
  async run(flags, context) {
    const [verb = "ls", place, ...more] = flags.positionals;
    const takesPlace = verb === "export" || verb === "import";
    if (more.length > 0 || (place !== undefined && !takesPlace))
      throw wrong(`too many arguments for cache-mounts ${verb}`);
    if (takesPlace && place === undefined) throw wrong(`cache-mounts ${verb} requires a cache`);
    switch (verb) {
      case "ls":
      case "list":
        return list(flags, context);
      case "export":
        return exportTo(place ?? "", flags, context);
      case "import":
        return importFrom(place ?? "", flags, context);
      case "clear":
        return clear(flags, context);
      default:
        throw wrong(`unknown subcommand "${verb}" of cache-mounts`);
    }
  },
};

function wrong(message: string): BuildError {
  return new BuildError("USAGE", message, {
    hint: "tsbuild cache-mounts [ls | export DEST | import SRC | clear]; DEST and SRC as in --cache-to and --cache-from",
  });
}

/** null: all. */
function idsOf(flags: ParsedFlags): readonly string[] | null {
  const ids = flags.all("id");
  return ids.length === 0 ? null : ids;
}

async function list(flags: ParsedFlags, { config, print, signal }: CommandContext): Promise<number> {
  const { isNamed, shownId } = await import("../engine/cache-mounts.ts");
  const { usage } = await import("../../cache/collect.ts");
  const ids = idsOf(flags);
  await using engine = await openLocalEngine(config, { signal, tidying: true });
  const { store } = engine;
  const sizes = new Map(
    (await usage(store, (dirs) => engine.measure(dirs))).flatMap((entry) =>
      entry.kind === "cache-mount" ? [[entry.id, entry.sizeBytes]] : [],
    ),
  );
  const rows = store.cacheMounts.list().flatMap(({ id, path, lastUsedMs, inUse }) => {
    const [, name = "", slot = ""] = /\/([^/]+)\/slot-([^/]+)\/fs$/.exec(path) ?? [];
    const sizeBytes = sizes.get(`${name.slice(0, 24)}.${slot}`) ?? 0;
    if (!isNamed(id, ids)) return [];
    return [
      {
        ID: cleanText(shownId(id)),
        SizeBytes: sizeBytes,
        Size: humanSize(sizeBytes),
        LastUsed: humanDuration(Math.max(0, Date.now() - lastUsedMs)),
        InUse: inUse,
        Path: path,
      },
    ];
  });
  const format = flags.one("format");
  if (format !== null && format !== "" && format !== "table") {
    print(renderFormat(format, rows));
    return 0;
  }
  print(
    renderTable(
      [
        { title: "ID", of: (row) => row.ID },
        { title: "SIZE", of: (row) => row.Size },
        { title: "LAST USED", of: (row) => `${row.LastUsed} ago` },
        { title: "IN USE", of: (row) => String(row.InUse) },
      ],
      rows,
    ),
  );
  return 0;
}

async function exportTo(text: string, flags: ParsedFlags, context: CommandContext): Promise<number> {
  const { shownId } = await import("../engine/cache-mounts.ts");
  const { parseCacheTo } = await import("../cache-flags.ts");
  const to = parseCacheTo(text, context.cwd, context.config.env);
  if (to.kind !== "place") throw wrong("cache mounts cannot be exported to an image");
  const { reports, sentBytes } = await withEngine(context, (engine, options) =>
    engine.exportMounts(to.at, idsOf(flags), options),
  );
  for (const { id, files, bytes, leftOut, left: why } of reports) {
    const left = leftOut === 0 ? "" : `, ${leftOut} left out`;
    const what = why !== null ? `${why}, skipped` : `${files} files, ${humanSize(bytes)}${left}`;
    context.print(`${cleanText(shownId(id))}: ${what}\n`);
  }
  context.print(`${humanSize(sentBytes)} sent\n`);
  return 0;
}

async function importFrom(text: string, flags: ParsedFlags, context: CommandContext): Promise<number> {
  const { shownId } = await import("../engine/cache-mounts.ts");
  const { parseCacheFrom } = await import("../cache-flags.ts");
  const from = parseCacheFrom(text, context.cwd, context.config.env);
  if (from === null) throw wrong("cache mounts cannot be imported from an image");
  const reports = await withEngine(context, (engine, options) =>
    engine.importMounts(from.at, idsOf(flags), options),
  );
  for (const { id, files, bytes, isKept } of reports) {
    context.print(
      `${cleanText(shownId(id))}: ${isKept ? "exists already, skipped" : `${files} files, ${humanSize(bytes)}`}\n`,
    );
  }
  return 0;
}

async function clear(flags: ParsedFlags, context: CommandContext): Promise<number> {
  const { isNamed, shownId } = await import("../engine/cache-mounts.ts");
  const ids = idsOf(flags);
  if (ids === null && !flags.bool("force")) {
    throw new BuildError("USAGE", "this would remove the content of all cache mounts", {
      hint: "select some with --id, or use --force",
    });
  }
  return withEngine({ ...context, tidying: true }, async (engine, { signal, emit }) => {
    const { cacheMounts } = engine.store;
    const removed: string[] = [];
    for (const mount of cacheMounts.list()) {
      if (!isNamed(mount.id, ids)) continue;
      const path = await cacheMounts.remove(mount.path, { signal });
      if (path === null) context.complain(`${cleanText(shownId(mount.id))}: in use, skipped\n`);
      else {
        removed.push(path);
        context.print(`${cleanText(shownId(mount.id))}\n`);
      }
    }
    await engine.removeDirectories(removed, { signal, emit });
    return 0;
  });
}

async function withEngine<T>(
  { config, signal, tidying = false }: CommandContext & { readonly tidying?: boolean },
  work: (engine: Engine, options: EngineTransferOptions) => Promise<T>,
): Promise<T> {
  await using engine = await openLocalEngine(config, { signal, tidying });
  const session = openLocalSession(config, { directories: new Map(), secrets: [], ssh: [], signal });
  return await work(engine, { signal, session, emit: () => {} });
}
