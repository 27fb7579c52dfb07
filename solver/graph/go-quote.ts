// Quoting as in the Go standard library: it appears in BuildKit's messages that tools and people search for.

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\u0007": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
};

/** All but what strconv.IsPrint prints: letters, marks, numbers, punctuation, symbols and the one blank. */
const NOT_PRINTED = /["\\]|[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu;

/** Go's %q for strings, as it stands in BuildKit's messages. */
export function quote(text: string): string {
  const body = text.replace(NOT_PRINTED, (char) => {
    const short = SHORT_ESCAPES[char];
    if (short !== undefined) return short;
    const code = char.codePointAt(0) ?? 0;
    const digits = (count: number): string => code.toString(16).padStart(count, "0");
    if (code < 0x80) return `\\x${digits(2)}`;
    return code < 0x1_0000 ? `\\u${digits(4)}` : `\\U${digits(8)}`;
  });
  return `"${body}"`;
}
