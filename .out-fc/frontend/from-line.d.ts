import { type SourceRange } from "../solver/graph/error.ts";
import type { Platform } from "../solver/graph/op.ts";
import type { Checks } from "./checks.ts";
import type { Instruction } from "./instruction.ts";
export type From = Extract<Instruction, {
    kind: "from";
}>;
export type Arg = Extract<Instruction, {
    kind: "arg";
}>;
/** A value given before the first FROM, for the outline. */
export interface GlobalArg {
    readonly value: string;
    readonly comment: string;
    readonly at: SourceRange;
    readonly uses: ReadonlySet<string>;
}
/** The arguments before the first FROM, with their values: build arguments win over defaults. `values` starts with the
 *  platform arguments and is added to. Throws DOCKERFILE_SYNTAX. */
export declare function readGlobalArgs(globals: readonly Arg[], values: Map<string, string>, buildArgs: ReadonlyMap<string, string>, escape: string): Map<string, GlobalArg>;
export interface FromOptions {
    readonly globalArgs: ReadonlyMap<string, string>;
    /** Values of the same without build arguments, for the check of defaults; null: they do not expand. */
    readonly defaultArgs: ReadonlyMap<string, string> | null;
    readonly declared: ReadonlyMap<string, GlobalArg>;
    readonly buildPlatform: Platform;
    readonly escape: string;
    readonly checks: Checks;
}
/** Reads a FROM line: variables filled in, the platform read. Reports what the checks say of it. Throws
 *  DOCKERFILE_SYNTAX, PLATFORM_UNSUPPORTED. */
export declare function readFrom(from: From, options: FromOptions): {
    readonly baseName: string;
    readonly platform: Platform | null;
    readonly usedArgs: ReadonlySet<string>;
};
/** FROM should name an image also when nobody gives a build argument. */
export declare function checkDefaults(froms: readonly From[], { defaultArgs, escape, checks }: FromOptions): void;
