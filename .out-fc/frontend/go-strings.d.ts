/** Go unicode.IsSpace: property White_Space. */
export declare function isSpace(code: number): boolean;
/** Go strings.TrimLeftFunc(text, unicode.IsSpace). */
export declare function trimLeft(text: string): string;
/** Go strings.TrimSpace. */
export declare function trimSpace(text: string): string;
/** Go strings.TrimRight(line, "\r\n"). */
export declare function trimNewline(line: string): string;
/** Go's %q for strings, as it stands in BuildKit's messages. */
export declare function quote(text: string): string;
