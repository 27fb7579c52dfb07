import { type SourceRange } from "../solver/graph/error.ts";
import type { Directive } from "./instruction.ts";
export interface DirectiveReader {
    /** Reads the next line of the file. Null once anything but a known directive was seen. Throws DOCKERFILE_SYNTAX when a
     *  directive comes twice. */
    read(line: string, at: SourceRange): Directive | null;
}
export declare function openDirectives(): DirectiveReader;
/** The escape character of an escape directive. Throws DOCKERFILE_SYNTAX for anything but backslash and backtick. */
export declare function readEscape(directive: Directive): "\\" | "`";
