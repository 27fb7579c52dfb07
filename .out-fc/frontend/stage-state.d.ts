import type { Input, VertexNote } from "../solver/graph/definition.ts";
import type { SourceRange } from "../solver/graph/error.ts";
import type { GraphBuilder } from "../solver/graph/llb.ts";
import type { Platform, ProxyEnv } from "../solver/graph/op.ts";
import type { Patterns } from "../solver/graph/patterns.ts";
import type { ImageConfig } from "../solver/graph/request.ts";
import type { Checks } from "./checks.ts";
import type { GlobalArg } from "./from-line.ts";
import type { FrontendHost, FrontendOptions } from "./frontend.ts";
import type { Instruction } from "./instruction.ts";
import type { Stage } from "./stages.ts";
import { type WordOptions } from "./words.ts";
/** One conversion: a Dockerfile for one platform. */
export interface Conversion {
    readonly options: FrontendOptions;
    readonly host: FrontendHost;
    readonly signal: AbortSignal;
    readonly graph: GraphBuilder;
    readonly checks: Checks;
    readonly escape: "\\" | "`";
    /** Build arguments as given. */
    readonly buildArgs: ReadonlyMap<string, string>;
    /** Platform arguments and those before the first FROM. */
    readonly globalArgs: ReadonlyMap<string, string>;
    readonly declaredArgs: ReadonlyMap<string, GlobalArg>;
    /** For "did you mean". */
    readonly stageNames: readonly string[];
    readonly targetPlatform: Platform;
    /** Nobody asked for a platform: an image of another one is taken as it is. */
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
    /** Stages converted so far. */
    readonly states: Map<Stage, StageState>;
}
export interface BuildArg {
    readonly key: string;
    readonly value: string | null;
}
/** What --call=outline tells of a stage. */
export interface StageOutline {
    readonly args: Map<string, {
        readonly value: string;
        readonly comment: string;
        readonly at: SourceRange;
        readonly uses: ReadonlySet<string>;
    }>;
    readonly usedArgs: Set<string>;
    readonly secrets: Map<string, {
        readonly required: boolean;
        readonly at: SourceRange;
    }>;
    readonly ssh: Map<string, {
        readonly required: boolean;
        readonly at: SourceRange;
    }>;
}
/** Changed by each instruction in turn. */
export interface StageState {
    readonly stage: Stage;
    readonly platform: Platform;
    readonly image: ImageConfig;
    readonly outline: StageOutline;
    readonly ignoreCache: boolean;
    /** Files; null: none. */
    fs: Input | null;
    /** Environment of RUN and of ${variables}: ENV and ARG together. */
    env: Map<string, string>;
    user: string;
    buildArgs: BuildArg[];
    isWorkdirSet: boolean;
    isCmdSet: boolean;
    /** Steps shown as [stage 2/7]. */
    totalSteps: number;
    shownSteps: number;
}
/** Expands a word of an instruction; variables that are not set are reported. */
export declare function expandIn(conversion: Conversion, state: StageState, instruction: Instruction, word: string, options?: Partial<WordOptions>): string;
/** The same, split at blanks. */
export declare function expandListIn(conversion: Conversion, state: StageState, instruction: Instruction, word: string): readonly string[];
/** "[stage 2/7] text": counts the step. Without steps to count (an image that is only copied from) just the text. */
export declare function stepName(conversion: Conversion, state: StageState, text: string, isTrigger?: boolean): string;
/** The name with the number of the step named last. */
export declare function stepNameAgain(conversion: Conversion, state: StageState, text: string, isTrigger: boolean): string;
/** An instruction as its step is called: keyword in capitals, variables filled in where that works. */
export declare function shownText(conversion: Conversion, state: StageState, text: string, options?: Partial<WordOptions>): string;
export declare function noteOf(name: string, at: SourceRange | null, ignoreCache?: boolean, group?: VertexNote["group"]): VertexNote;
/** Inputs of one vertex, each once. */
export interface InputList {
    readonly list: readonly Input[];
    /** Index of an input; null is scratch. */
    add(input: Input | null): number | null;
}
export declare function openInputs(): InputList;
