import type { KeyValue } from "./instruction.ts";
import { type SplitCommand } from "./split-command.ts";
/** Arguments as read by the instruction's grammar. */
export type Arguments = {
    readonly kind: "words";
    readonly words: readonly string[];
} | {
    readonly kind: "pairs";
    readonly pairs: readonly KeyValue[];
} | {
    readonly kind: "json";
    readonly words: readonly string[];
} | {
    readonly kind: "text";
    readonly text: string | null;
} | {
    readonly kind: "health";
    readonly type: string | null;
    readonly command: Arguments;
} | {
    readonly kind: "trigger";
    readonly keyword: string | null;
    readonly takesHeredocs: boolean;
} | {
    readonly kind: "unknown";
};
/** Reads the arguments of an instruction. Throws DOCKERFILE_SYNTAX without a place. */
export declare function readArguments(split: SplitCommand, escape: string): Arguments;
/** Whether here documents may follow: RUN, COPY and ADD not in JSON form, or one of them as a trigger. */
export declare function takesHeredocs(split: SplitCommand, args: Arguments): boolean;
