// Instruction: the Dockerfile as typed data with ranges. Words are still unexpanded here unless said otherwise.

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
  readonly content: string; // tabs already taken off for <<-
  readonly raw: string; // as it stands in the file; what a shell gets that reads the here document itself
  readonly expand: boolean;
  readonly chomp: boolean; // <<-
  readonly fd: number;
}

/** A command line: shell form (one string as written, continuation joined) or exec form (JSON words). */
export type CommandLine =
  | { readonly form: "shell"; readonly text: string }
  | { readonly form: "exec"; readonly args: readonly string[] };

interface Common {
  readonly at: SourceRange; // the whole instruction with its continuation lines and heredocs
  readonly keyword: string; // as written, for the casing checks
  readonly original: string; // the instruction's text as BuildKit keeps it in history (continuations joined)
  readonly flags: readonly Flag[];
  readonly comments: readonly string[]; // comment lines directly above, without "#"
}

export interface KeyValue {
  readonly key: string;
  readonly value: string | null;
  readonly legacy: boolean; // written "KEY value"
  readonly comment: string; // of an ARG: what its description comment says ("# KEY text"); else ""
}

/** Each kind a member of its own, so that what is known to be none of some kinds is one of the others. */
type Of<Kind, Rest> = Kind extends string ? Common & { readonly kind: Kind } & Rest : never;

export type Instruction =
  | Of<
      "from",
      {
        readonly image: string;
        readonly as: string | null; // lower case
        readonly platform: string | null;
        readonly comment: string; // from "# NAME text"
      }
    >
  | Of<"arg", { readonly args: readonly KeyValue[] }>
  | Of<"env" | "label", { readonly pairs: readonly KeyValue[] }>
  | Of<"workdir" | "user" | "stopsignal" | "maintainer", { readonly value: string }>
  | Of<"volume" | "expose", { readonly values: readonly string[] }>
  | Of<
      "copy" | "add",
      { readonly sources: readonly string[]; readonly dest: string; readonly heredocs: readonly Heredoc[] }
    >
  | Of<"run", { readonly command: CommandLine; readonly heredocs: readonly Heredoc[] }>
  | Of<"cmd" | "entrypoint", { readonly command: CommandLine }>
  | Of<"shell", { readonly args: readonly string[] }>
  | Of<"healthcheck", { readonly test: CommandLine | "NONE" }>
  // The trigger as it goes into the image; nobody looks into it before it is used.
  | Of<"onbuild", { readonly expression: string }>;

export interface Directive {
  readonly name: string; // lower case: syntax, escape, check
  readonly value: string;
  readonly at: SourceRange;
}

export interface ParsedDockerfile {
  readonly file: string;
  readonly source: string; // as decoded, for excerpts
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

/** Instructions of a kind. */
export type Kind<K extends Instruction["kind"]> = Extract<Instruction, { kind: K }>;
