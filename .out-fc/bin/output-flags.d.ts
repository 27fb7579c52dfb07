import { type Output } from "../exporters/output-grammar.ts";
/** buildx's rules: --push makes image outputs push or adds one, --load adds type=docker. Throws OUTPUT_INVALID, USAGE. */
export declare function readOutputFlags(texts: readonly string[], options: {
    readonly push: boolean;
    readonly load: boolean;
    readonly cwd: string;
}): Output[];
