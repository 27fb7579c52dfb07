// The state of a stage at one point of its instructions, and what all instructions need for conversion.

import type { Input, VertexNote } from "../solver/graph/definition.ts";
import { BuildError, redactUrl, type SourceRange } from "../solver/graph/error.ts";
import type { GraphBuilder } from "../solver/graph/llb.ts";
import { formatPlatformAll, type Platform, type ProxyEnv } from "../solver/graph/op.ts";
import type { Patterns } from "../solver/graph/patterns.ts";
import type { ImageConfig } from "../solver/graph/request.ts";
import { normalizePlatform, parsePlatform, samePlatform } from "../solver/graph/platform.ts";
import { undefinedVar } from "./check-texts.ts";
import type { Checks } from "./checks.ts";
import type { GlobalArg } from "./from-line.ts";
import type { Instruction } from "./instruction.ts";
import type { Stage } from "./stages.ts";
import { expandWord, expandWords, type WordOptions } from "./words.ts";
import type { FrontendHost, FrontendOptions } from "./contract.ts";

/** One conversion: a Dockerfile for one platform. */
export interface Conversion {
  readonly options: FrontendOptions;
  readonly host: FrontendHost;
  readonly signal: AbortSignal;
  readonly graph: GraphBuilder;
  readonly checks: Checks;
  readonly escape: "\\" | "`";
  /** How words are expanded where nothing else is said. */
  readonly words: WordOptions;
  /** Build arguments as given. */
  readonly buildArgs: ReadonlyMap<string, string>;
  /** Platform arguments and those before the first FROM. */
  readonly globalArgs: ReadonlyMap<string, string>;
  readonly declaredArgs: ReadonlyMap<string, GlobalArg>;
  /** For "did you mean". */
  readonly stageNames: readonly string[];
  readonly targetPlatform: Platform;
  /** Nobody asked for a platform: an image of another one is taken unchanged. */
  readonly isTargetImplicit: boolean;
  readonly isMultiPlatform: boolean;
  readonly proxyEnv: ProxyEnv | null;
  /** SOURCE_DATE_EPOCH in seconds. */
  readonly epochSeconds: number | null;
  /** Time of every history entry made here, RFC 3339; null: that of its layer. */
  readonly created: string | null;
  /** .dockerignore of the main context. */
  readonly ignore: Patterns | null;
  /** The main context; the vertex is made when first asked for. */
  context(): Input | null;
  /** What was expanded so far (see spend). */
  readonly spent: { length: number };
  /** Stages converted so far. */
  readonly states: Map<Stage, StageState>;
}

/** What the instructions of one build expand to in all, in steps and history, in UTF-16 units: each RUN carries its whole
 *  environment, so a small file can ask for gigabytes. */
const EXPANDED_MAX_LENGTH = 128 * 1024 * 1024;

/** Counts text that a step or history entry will hold. Throws LIMIT_EXCEEDED when all together is too much. */
export function spend(conversion: Pick<Conversion, "spent">, length: number): void {
  conversion.spent.length += length;
  if (conversion.spent.length <= EXPANDED_MAX_LENGTH) return;
  throw new BuildError(
    "LIMIT_EXCEEDED",
    `the steps of the Dockerfile expand to more than ${EXPANDED_MAX_LENGTH} characters`,
    { hint: "each RUN counts all variables that are set" },
  );
}

/** What --call=outline tells of a stage. */
export interface StageOutline {
  readonly args: Map<
    string,
    {
      readonly value: string;
      readonly comment: string;
      readonly at: SourceRange;
      readonly uses: ReadonlySet<string>;
    }
  >;
  readonly usedArgs: Set<string>;
  readonly secrets: Map<string, { readonly required: boolean; readonly at: SourceRange }>;
  readonly ssh: Map<string, { readonly required: boolean; readonly at: SourceRange }>;
}

/** What steps of one environment have in common; made once for all of them. */
export interface StepEnv {
  readonly list: readonly string[];
  readonly length: number; // of all entries together, in UTF-16 units
  /** "|2 A=b C=d " as history starts with where there are build arguments; else "". */
  readonly shownArgs: string;
}

/** Changed by each instruction in turn. */
export interface StageState {
  readonly stage: Stage;
  readonly platform: Platform;
  readonly image: ImageConfig;
  /** Entries at the start of its history that came with the base image. */
  readonly baseHistory: number;
  readonly outline: StageOutline;
  readonly ignoreCache: boolean;
  /** Files; null: none. */
  fs: Input | null;
  /** Environment of RUN and of ${variables}: ENV and ARG together. */
  env: Map<string, string>;
  /** `env` as a step has it; null when it has changed since. */
  stepEnv: StepEnv | null;
  /** Where each variable of the image's Env stands. */
  envPlaces: Map<string, number>;
  user: string;
  /** Build arguments by name, in the order of their first ARG; null: declared without a value. */
  buildArgs: Map<string, string | null>;
  /** Arguments for the builder alone: what is to be scanned (scans.ts). Those of the stage below count, too. */
  builderArgs: Map<string, string>;
  isWorkdirSet: boolean;
  isCmdSet: boolean;
  /** Steps shown as [stage 2/7]. */
  totalSteps: number;
  shownSteps: number;
}

/** What instructions need that only set a property of the image config. */
export type PropertyConversion = Pick<Conversion, "words" | "checks" | "created" | "spent">;
export type PropertyState = Pick<
  StageState,
  "image" | "platform" | "env" | "stepEnv" | "envPlaces" | "user" | "buildArgs" | "isWorkdirSet" | "isCmdSet"
>;

/** Expands a word of an instruction; variables that are not set are reported. */
export function expandIn(
  conversion: PropertyConversion,
  state: PropertyState,
  instruction: Instruction,
  word: string,
  options: WordOptions = conversion.words,
): string {
  const { text, unmatched } = expandWord(word, state.env, options);
  reportUndefined(conversion, state, instruction, unmatched);
  return text;
}

/** The words a word expands to, split at blanks. Nothing is reported: UndefinedVar does not look at EXPOSE. */
export function expandListIn(
  conversion: PropertyConversion,
  state: PropertyState,
  word: string,
): readonly string[] {
  return expandWords(word, state.env, conversion.words).words;
}

function reportUndefined(
  { checks }: PropertyConversion,
  state: PropertyState,
  instruction: Instruction,
  names: readonly string[],
): void {
  for (const name of names) {
    // Declared without a value is declared.
    if (state.buildArgs.has(name)) continue;
    checks.warn("UndefinedVar", undefinedVar(name, state.env.keys()), instruction.at);
  }
}

/** "[stage 2/7] text": counts the step. Without steps to count (an image that is only copied from) just the text. */
export function stepName(conversion: Conversion, state: StageState, text: string, isTrigger = false): string {
  if (state.totalSteps === 0) return text;
  state.shownSteps++;
  return stepNameAgain(conversion, state, text, isTrigger);
}

/** The name with the number of the step named last. */
export function stepNameAgain(
  conversion: Conversion,
  state: StageState,
  text: string,
  isTrigger: boolean,
): string {
  const platform = conversion.isMultiPlatform
    ? `${formatPlatformAll(state.platform)}${crossTarget(state)} `
    : "";
  const label = state.stage.label === "" ? "" : `${state.stage.label} `;
  const number = `${state.shownSteps}`.padStart(`${state.totalSteps}`.length);
  return `[${platform}${label}${number}/${state.totalSteps}] ${isTrigger ? "ONBUILD " : ""}${text}`;
}

/** "->linux/arm64" where a stage knows that it works for another platform than its own. */
function crossTarget({ env, platform }: StageState): string {
  let target: Platform | null = null;
  const whole = env.get("TARGETPLATFORM");
  if (whole !== undefined) {
    try {
      target = parsePlatform(whole, platform);
    } catch {
      return ""; // a value of the user's own, only shown here
    }
  } else if (env.has("TARGETOS") || env.has("TARGETARCH")) {
    target = normalizePlatform({
      os: env.get("TARGETOS") || platform.os,
      architecture: env.get("TARGETARCH") || platform.architecture,
      variant: env.get("TARGETVARIANT") ?? "",
    });
  }
  return target === null || samePlatform(target, platform) ? "" : `->${formatPlatformAll(target)}`;
}

/** The text of an instruction as its step is called: keyword in capitals, variables filled in where that works. */
export function shownText(
  conversion: Conversion,
  state: Pick<StageState, "env">,
  { keyword }: Instruction,
  text: string,
  options: WordOptions = conversion.words,
): string {
  let shown = text;
  try {
    shown = expandWord(text, state.env, options).text;
  } catch {
    // What cannot be expanded for show is shown as written; where it matters it has been expanded already.
  }
  return `${keyword.toUpperCase()}${shown.slice(keyword.length)}`;
}

export function noteOf(
  name: string,
  at: SourceRange | null,
  ignoreCache = false,
  group: VertexNote["group"] = null,
): VertexNote {
  return { name: redactUrl(name), ignoreCache, at: at === null ? [] : [at], group };
}

/** Inputs of one vertex, each once. */
export interface InputList {
  readonly list: readonly Input[];
  /** Index of an input; null is scratch. */
  add(input: Input | null): number | null;
}

export function openInputs(): InputList {
  const list: Input[] = [];
  return {
    list,
    add: (input) => {
      if (input === null) return null;
      const known = list.findIndex((other) => other.vertex === input.vertex && other.output === input.output);
      return known >= 0 ? known : list.push(input) - 1;
    },
  };
}
