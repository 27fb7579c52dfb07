// COPY and ADD to one FileOp: a copy action for each source. Dockerfile reference, "ADD" and "COPY".

import { posix } from "node:path";
import type { Input } from "../solver/graph/definition.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { FileAction } from "../solver/graph/op.ts";
import { cleanPath } from "../solver/graph/patterns.ts";
import { copyIgnoredFile } from "./check-texts.ts";
import { workdirOf } from "./convert-run.ts";
import { type Copy, type CopyFlags, readFlags, readOwner } from "./copy-flags.ts";
import { flagValue } from "./flags.ts";
import { type GitRef, gitSource, parseGitRef } from "./git-ref.ts";
import { addHistory } from "./image-config.ts";
import type { Heredoc } from "./instruction.ts";
import {
  type Conversion,
  expandIn,
  noteOf,
  openInputs,
  type StageState,
  shownText,
  stepName,
  stepNameAgain,
} from "./stage-state.ts";
import { windowsPath } from "./windows-paths.ts";
import { atPlace } from "./place.ts";
import type { Step } from "./stages.ts";

/** One COPY or ADD that is being converted; what all its parts are made with. */
interface CopyConversion {
  readonly conversion: Conversion;
  readonly state: StageState;
  readonly copy: Copy;
  readonly step: Step;
  readonly flags: CopyFlags;
  /** The instruction as it is shown, and the same with its place among the steps. */
  readonly name: string;
  readonly title: string;
}

/** One thing that is copied: from which input, and how. */
interface Part {
  readonly from: Input | null;
  /** What is the same for all parts is filled in by addCopies. */
  readonly action: Extract<FileAction, { kind: "copy" }>;
}

/** Adds the step of a COPY or ADD. Throws STAGE_UNKNOWN, DOCKERFILE_SYNTAX, USAGE. */
export function convertCopy(conversion: Conversion, state: StageState, copy: Copy, step: Step): void {
  const expand = (word: string): string => expandIn(conversion, state, copy, word);
  const flags = readFlags(copy, expand);
  const sources = copy.sources.map(expand);
  const shownDest = expand(copy.dest);
  if (flags.checksum !== "" && sources.length !== 1) {
    throw new BuildError("DOCKERFILE_SYNTAX", "checksum can't be specified for multiple sources", {
      at: copy.at,
    });
  }
  const name = shownText(conversion, state, copy, copy.original);
  const title = stepName(conversion, state, name, step.isTrigger);
  const asked: CopyConversion = { conversion, state, copy, step, flags, name, title };
  const parts = [
    ...sources.map((source) => readSource(asked, source)),
    ...copy.heredocs.map((heredoc) => documentPart(asked, heredoc)),
  ];
  const dest = atPlace(copy.at, () => destOf(state, shownDest));
  // With --chmod the copy may need the files below it, as in BuildKit.
  if (flags.link && flags.chmod === "") {
    addLinked(asked, parts, dest);
  } else {
    state.fs = addCopies(asked, state.fs, parts, dest, null);
  }
  addHistory(state.image, historyText(copy, flags, sources, shownDest), true, conversion.created);
}

function historyText(copy: Copy, flags: CopyFlags, sources: readonly string[], dest: string): string {
  let text = copy.kind.toUpperCase();
  if (flags.parents) text += " --parents";
  if (flags.chown !== "") text += ` --chown=${flags.chown}`;
  if (flags.chmod !== "") text += ` --chmod=${flags.chmod}`;
  for (const source of sources) text += ` ${source}`;
  for (const heredoc of copy.heredocs) text += ` <<${heredoc.name}`;
  return `${text} ${dest} # buildkit`;
}

function readSource(asked: CopyConversion, source: string): Part {
  const { copy, flags } = asked;
  const isAdd = copy.kind === "add";
  const git = atPlace(copy.at, () => parseGitRef(source));
  if (git !== null && !git.looksLocal) {
    if (!isAdd)
      throw new BuildError("DOCKERFILE_SYNTAX", "source can't be a git ref for COPY", { at: copy.at });
    return gitPart(asked, git);
  }
  if (/^https?:\/\//.test(source)) {
    if (!isAdd) {
      throw new BuildError("DOCKERFILE_SYNTAX", "source can't be a URL for COPY", {
        at: copy.at,
        hint: "use ADD",
      });
    }
    return urlPart(asked, source);
  }
  if (flags.checksum !== "") {
    throw new BuildError("DOCKERFILE_SYNTAX", "checksum requires HTTP(S) or Git sources", { at: copy.at });
  }
  return pathPart(asked, source);
}

function gitPart({ conversion, state, copy, flags, title }: CopyConversion, git: GitRef): Part {
  if (flags.checksum !== "" && git.checksum !== "" && flags.checksum !== git.checksum) {
    const both = `${JSON.stringify(flags.checksum)} != ${JSON.stringify(git.checksum)}`;
    throw new BuildError("DOCKERFILE_SYNTAX", `checksum mismatch ${both}`, {
      at: copy.at,
      hint: "--checksum and the URL have different checksums",
    });
  }
  if (flags.keepGitDir !== null && git.keepGitDir !== null && flags.keepGitDir !== git.keepGitDir) {
    throw new BuildError("DOCKERFILE_SYNTAX", "inconsistent keep-git-dir configuration", {
      at: copy.at,
      hint: "the flag and the URL contradict each other",
    });
  }
  const op = gitSource(git, {
    keepGitDir: flags.keepGitDir ?? git.keepGitDir ?? false,
    checksum: flags.checksum || git.checksum,
  });
  const from = conversion.graph.add(op, null, [], noteOf(title, copy.at, state.ignoreCache));
  return { from, action: { ...PLAIN, src: "/", dirCopyContents: true } };
}

function urlPart({ conversion, state, copy, flags, title }: CopyConversion, url: string): Part {
  if (flags.checksum !== "" && !/^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/.test(flags.checksum)) {
    throw new BuildError("DIGEST_INVALID", `invalid checksum digest format: ${flags.checksum}`, {
      at: copy.at,
    });
  }
  const file = fileNameOf(url);
  const from = conversion.graph.add(
    {
      kind: "source",
      identifier: url,
      attrs: { "http.filename": file, ...(flags.checksum === "" ? {} : { "http.checksum": flags.checksum }) },
    },
    null,
    [],
    noteOf(title, copy.at, state.ignoreCache),
  );
  return { from, action: { ...PLAIN, src: `/${file}`, attemptUnpack: flags.unpack ?? false } };
}

/** Last part of a URL's path. A better name is told only by the server, when it is too late for the graph. */
export function fileNameOf(url: string): string {
  if (!URL.canParse(url)) return "__unnamed__";
  let path = new URL(url).pathname;
  try {
    path = decodeURIComponent(path);
  } catch {
    // a lone "%" is part of the name
  }
  const base = posix.basename(path);
  return base === "" || base === "." || base === ".." || base === "/" ? "__unnamed__" : base;
}

function pathPart({ conversion, state, copy, step, flags }: CopyConversion, source: string): Part {
  const isAdd = copy.kind === "add";
  const [stage] = step.sources;
  let from: Input | null;
  if (stage === undefined || stage === null) {
    checkIgnored(conversion, copy, source);
    from = conversion.context();
  } else {
    const other = conversion.states.get(stage);
    if (other === undefined) {
      throw new BuildError(
        "STAGE_UNKNOWN",
        `cannot copy from stage ${JSON.stringify(flagValue(copy.flags, "from"))}, it needs to be defined before ` +
          `current stage ${JSON.stringify(state.stage.label)}`,
        { at: copy.at },
      );
    }
    from = other.fs;
  }
  const action = (flags.unpack ?? isAdd) ? UNPACKED_PATH : PATH;
  if (!flags.parents) return { from, action: { ...action, src: rooted(source, state) } };
  // What stands before "/./" is not part of the path that is kept.
  const pivot = source.indexOf("/./");
  const pattern = rooted(pivot < 0 ? source : source.slice(pivot + 3), state).slice(1);
  const src = pivot < 0 ? "/" : rooted(source.slice(0, pivot), state);
  const isWildcard = hasWildcards(src) || hasWildcards(pattern);
  return {
    from,
    action: { ...action, src, includePatterns: [pattern], requiredPaths: isWildcard ? [] : [pattern] },
  };
}

/** One that is escaped is a plain character. */
function hasWildcards(path: string): boolean {
  return /[*?[]/.test(path.replace(/\\./gs, ""));
}

/** A path relative to "/" made absolute; "." and ".." in it are resolved. */
function rooted(path: string, { platform }: StageState): string {
  if (platform.os === "windows") return windowsPath("/", path, false);
  return path.startsWith("/") ? path : cleanPath(`/${path}`);
}

const WHOLE: ReadonlySet<string> = new Set(["*", "**", "**/*"]);

function checkIgnored({ ignore, checks }: Conversion, copy: Copy, source: string): void {
  // What "!" patterns leave of a directory is not to be told from its name.
  if (ignore === null || ignore.hasExceptions) return;
  const path = cleanPath(source);
  // The context itself is excluded only by what excludes all that is in it.
  if ((path === "." || path === "/") && !ignore.list.some((pattern) => WHOLE.has(pattern))) return;
  // A slash in front stays, so that only what matches all names matches: the name above it is empty.
  if (!ignore.matches(path) && !(path.startsWith("/") && ignore.matches(""))) return;
  checks.warn("CopyIgnoredFile", copyIgnoredFile(copy.kind === "add" ? "Add" : "Copy", path), copy.at);
}

function documentPart({ conversion, state, copy }: CopyConversion, heredoc: Heredoc): Part {
  const content = heredoc.expand
    ? expandIn(conversion, state, copy, heredoc.content, { escape: "\\", skipQuotes: true })
    : heredoc.content;
  const path = rooted(heredoc.name, state);
  const from = conversion.graph.add(
    {
      kind: "file",
      actions: [
        {
          kind: "mkfile",
          path,
          mode: 0o644,
          data: new TextEncoder().encode(content),
          owner: null,
          timestampNs: null,
          base: null,
          output: 0,
        },
      ],
    },
    state.platform,
    [],
    noteOf("[internal] preparing inline document", copy.at),
  );
  return { from, action: { ...PLAIN, src: path } };
}

/** All fields: a spread of it in front, with fields it has behind it, keeps the shape. One that adds fields is several times as slow. */
const PLAIN: Part["action"] = {
  kind: "copy",
  base: null,
  from: null,
  output: null,
  src: "",
  dest: "",
  owner: null,
  mode: null,
  modeStr: "",
  excludePatterns: [],
  timestampNs: null,
  followSymlink: false,
  dirCopyContents: false,
  attemptUnpack: false,
  createDestPath: true,
  allowWildcard: false,
  allowEmptyWildcard: false,
  includePatterns: [],
  alwaysReplaceExistingDestPaths: false,
  requiredPaths: [],
};
/** Paths of a context or stage. */
const PATH: Part["action"] = {
  ...PLAIN,
  followSymlink: true,
  dirCopyContents: true,
  allowWildcard: true,
  allowEmptyWildcard: true,
};
const UNPACKED_PATH: Part["action"] = { ...PATH, attemptUnpack: true };

/** Absolute; a "/" at the end stays, since it says that a directory is meant. */
function destOf(state: StageState, dest: string): string {
  const workdir = workdirOf(state);
  if (state.platform.os === "windows") {
    return windowsPath(workdir, dest === "" || dest === "." ? "./" : dest, true);
  }
  const wanted = dest === "" || dest === "." ? "./" : dest;
  let path = wanted.startsWith("/") ? wanted : cleanPath(`/${workdir}/${wanted}`);
  if (wanted.endsWith("/") && !path.endsWith("/")) path += "/";
  else if (wanted.endsWith("/.")) path = `${path.endsWith("/") ? path : `${path}/`}.`;
  return path;
}

/** One FileOp on `base`: each action works on the result of the one before. */
function addCopies(
  { conversion, state, copy, flags, title }: CopyConversion,
  base: Input | null,
  parts: readonly Part[],
  dest: string,
  group: Parameters<typeof noteOf>[3],
): Input {
  const inputs = openInputs();
  const start = inputs.add(base);
  const froms = parts.map((part) => inputs.add(part.from));
  const actions = parts.map((part, index): FileAction => {
    const before = index === 0 ? start : inputs.list.length + index - 1;
    return {
      ...part.action,
      base: before,
      from: froms[index] ?? null,
      output: index === parts.length - 1 ? 0 : null,
      dest,
      // Names are looked up in what was there before the instruction, not in what its first sources bring.
      owner: flags.chown === "" ? null : readOwner(flags.chown, start),
      mode: flags.mode,
      modeStr: flags.modeStr,
      excludePatterns: flags.excludes,
    };
  });
  const note = noteOf(title, copy.at, state.ignoreCache, group);
  return conversion.graph.add({ kind: "file", actions }, state.platform, inputs.list, note);
}

/** --link: the files are copied onto nothing, in a layer of their own that fits on any base. */
function addLinked(asked: CopyConversion, parts: readonly Part[], dest: string): void {
  const { conversion, state, copy, step, name, title } = asked;
  const id = `link ${title} ${copy.at.file}:${copy.at.start.line}`;
  const group = { id, name: title, weak: true };
  const linked = addCopies(asked, null, parts, dest, group);
  if (state.fs === null) {
    state.fs = linked; // onto nothing: the copy is all there is
    return;
  }
  state.fs = conversion.graph.add(
    { kind: "merge", inputs: [0, 1] },
    null,
    [state.fs, linked],
    noteOf(stepNameAgain(conversion, state, `LINK ${name}`, step.isTrigger), copy.at, state.ignoreCache, {
      ...group,
      weak: false,
    }),
  );
}
