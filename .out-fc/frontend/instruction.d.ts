import type { RuleName } from "./check-rules.ts";
import type { SourceRange } from "../solver/graph/error.ts";
/** name as written, value null when the flag has no "=". */
export interface Flag {
    readonly name: string;
    readonly value: string | null;
    readonly at: SourceRange;
}
/** A here document. name as in the word (<<EOF), fd 0 unless given; expand: the name was not quoted. */
export interface Heredoc {
    readonly name: string;
    readonly content: string;
    readonly raw: string;
    readonly expand: boolean;
    readonly chomp: boolean;
    readonly fd: number;
}
/** A command line: shell form (one string as written, continuation joined) or exec form (JSON words). */
export type CommandLine = {
    readonly form: "shell";
    readonly text: string;
} | {
    readonly form: "exec";
    readonly args: readonly string[];
};
interface Common {
    readonly at: SourceRange;
    readonly keyword: string;
    readonly original: string;
    readonly flags: readonly Flag[];
    readonly comments: readonly string[];
}
export interface KeyValue {
    readonly key: string;
    readonly value: string | null;
    readonly legacy: boolean;
    readonly comment: string;
}
export type Instruction = Common & ({
    readonly kind: "from";
    readonly image: string;
    readonly as: string | null;
    readonly platform: string | null;
    readonly comment: string;
} | {
    readonly kind: "arg";
    readonly args: readonly KeyValue[];
} | {
    readonly kind: "env" | "label";
    readonly pairs: readonly KeyValue[];
} | {
    readonly kind: "workdir" | "user" | "stopsignal" | "maintainer";
    readonly value: string;
} | {
    readonly kind: "volume" | "expose";
    readonly values: readonly string[];
} | {
    readonly kind: "copy" | "add";
    readonly sources: readonly string[];
    readonly dest: string;
    readonly heredocs: readonly Heredoc[];
} | {
    readonly kind: "run";
    readonly command: CommandLine;
    readonly heredocs: readonly Heredoc[];
} | {
    readonly kind: "cmd" | "entrypoint";
    readonly command: CommandLine;
} | {
    readonly kind: "shell";
    readonly args: readonly string[];
} | {
    readonly kind: "healthcheck";
    readonly test: CommandLine | "NONE";
} | {
    readonly kind: "onbuild";
    readonly expression: string;
});
export interface Directive {
    readonly name: string;
    readonly value: string;
    readonly at: SourceRange;
}
export interface ParsedDockerfile {
    readonly file: string;
    readonly source: string;
    readonly escape: "\\" | "`";
    readonly directives: readonly Directive[];
    readonly instructions: readonly Instruction[];
    /** Found while parsing, each a build check: rule name, detail, range (NoEmptyContinuation, JSONArgsRecommended…). */
    readonly warnings: readonly ParseWarning[];
}
export interface ParseWarning {
    readonly rule: RuleName;
    readonly detail: string;
    readonly at: SourceRange;
}
export {};
