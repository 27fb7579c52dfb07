// SOURCE_DATE_EPOCH: seconds, or their source. reproducible-builds.org/specs/source-date-epoch; BuildKit also accepts
// "context", named contexts and the name of a stage that only adds a remote source (dockerfile2llb, epoch.go).

import { BuildError, type SourceRange } from "../solver/graph/error.ts";
import type { SourceOp } from "../solver/graph/op.ts";
import { gitSource, parseGitRef } from "./git-ref.ts";
import { fileNameOf } from "./convert-copy.ts";
import type { Instruction } from "./instruction.ts";
import { atPlace } from "./place.ts";
import { contextAddress, HTTP_CONTEXT_FILE } from "./sources.ts";
import { SCRATCH_NAME, type Stage, type StageTable } from "./stages.ts";
import { expandWord } from "./words.ts";
import type { FrontendHost, FrontendOptions } from "./contract.ts";

const NAME = "SOURCE_DATE_EPOCH";
/** Largest time JavaScript can print, in seconds. */
const EPOCH_MAX = 8.64e12;

export interface EpochRequest {
  readonly options: FrontendOptions;
  readonly host: FrontendHost;
  readonly table: StageTable;
  readonly escape: string;
  readonly signal: AbortSignal;
  /** Both have the seconds in place of where they come from afterwards, or nothing where there are none. */
  readonly buildArgs: Map<string, string>;
  readonly globalArgs: Map<string, string>;
}

/** The time all that is made here gets, in seconds; null: that of the build. An empty build argument is no time, whatever the
 *  Dockerfile has for a default. Throws USAGE. */
export async function readEpoch(request: EpochRequest): Promise<number | null> {
  const { buildArgs, globalArgs } = request;
  const text = buildArgs.get(NAME) ?? globalArgs.get(NAME) ?? "";
  const seconds = await secondsOf(text, request);
  for (const args of [buildArgs, globalArgs]) {
    if (!args.has(NAME)) continue;
    if (seconds === null) args.delete(NAME);
    else args.set(NAME, String(seconds));
  }
  return seconds;
}

async function secondsOf(text: string, request: EpochRequest): Promise<number | null> {
  if (text === "") return null;
  if (/^[+-]?\d+$/.test(text) && Math.abs(Number(text)) <= EPOCH_MAX) return Number(text);
  const source = sourceNamed(text, request);
  if (source === null || request.host.sourceTime === undefined) return null;
  return request.host.sourceTime(source, { signal: request.signal });
}

/** null: a source without a time of its own, such as a directory or an image. */
function sourceNamed(text: string, request: EpochRequest): SourceOp | null {
  const { options, table } = request;
  if (text === "context") return "definition" in options.context ? null : options.context;
  const address = contextAddress(options, text);
  if (address !== null) {
    const git = parseGitRef(address);
    if (git !== null) return gitSource(git, { keepGitDir: false });
    return /^https?:\/\//.test(address) ? httpSource(address, HTTP_CONTEXT_FILE, "") : null;
  }
  const stage = table.byName(text);
  if (stage !== null) return atPlace(stage.at, () => stageSource(stage, request));
  throw new BuildError("USAGE", `invalid SOURCE_DATE_EPOCH: ${text}`, {
    hint: "use seconds since 1970, context, or the name of a named context or of a stage that only adds a remote source",
  });
}

function stageSource(stage: Stage, request: EpochRequest): SourceOp {
  if (stage.baseName !== SCRATCH_NAME) throw refused(stage.at, "must use FROM scratch");
  const { buildArgs, globalArgs, escape } = request;
  const values = new Map([...globalArgs].filter(([name]) => name !== NAME));
  const expand = (word: string): string => expandWord(word, values, { escape }).text;
  let found: SourceOp | null = null;
  for (const { instruction } of stage.steps) {
    if (instruction.kind === "arg") {
      for (const { key, value } of instruction.args) {
        const given = buildArgs.get(key) ?? (value === null ? null : expand(value));
        if (given !== null) values.set(key, given);
      }
    } else if (instruction.kind === "add") {
      if (found !== null) throw refused(stage.at, "must contain exactly one remote ADD");
      found = addedSource(instruction, stage, expand);
    } else {
      const name = instruction.kind.toUpperCase();
      const why = `does not meet source-only requirements: unsupported ${name} instruction`;
      throw refused(stage.at, why);
    }
  }
  if (found === null) throw refused(stage.at, "must contain exactly one remote ADD");
  return found;
}

type Add = Extract<Instruction, { kind: "copy" | "add" }>;

function addedSource(add: Add, stage: Stage, expand: (word: string) => string): SourceOp {
  const [word, ...others] = add.sources;
  if (word === undefined || others.length > 0 || add.heredocs.length > 0)
    throw refused(stage.at, "must contain exactly one remote ADD source");
  const url = expand(word);
  const checksum = expand(add.flags.find(({ name }) => name === "checksum")?.value ?? "");
  const git = parseGitRef(url);
  if (git !== null && !git.looksLocal)
    return gitSource(git, { keepGitDir: false, checksum: checksum || git.checksum });
  if (/^https?:\/\//.test(url)) return httpSource(url, fileNameOf(url), checksum);
  throw refused(stage.at, "source must be a single HTTP(S) or Git ADD");
}

/** As it is fetched for its files, so that it is fetched once. */
function httpSource(url: string, file: string, checksum: string): SourceOp {
  const attrs = { "http.filename": file, ...(checksum === "" ? {} : { "http.checksum": checksum }) };
  return { kind: "source", identifier: url, attrs };
}

function refused(at: SourceRange, rule: string): BuildError {
  return new BuildError("USAGE", `SOURCE_DATE_EPOCH stage ${rule}`, { at });
}
