// The width of a text in terminal columns, and truncation without splitting a character.

/** Characters of no width: marks, joiners, variation selectors, and controls (which never get here). */
const ZERO = /^[\p{Mn}\p{Me}\p{Cf}\p{Cc}]/u;
/** Two columns: UAX 11 East Asian Wide and Fullwidth, by block, and emoji shown as pictures. */
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f200}-\u{1f2ff}\u{20000}-\u{3fffd}\p{Emoji_Presentation}]/u;
// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is looked for
const SGR = /(\u001b\[[0-9;:]*m)/;
const ASCII = /^[ -~]*$/;

/** Columns of one code point. */
function columnsOf(character: string): number {
  if (character < "\u0300") return 1;
  return ZERO.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
}

/** Columns of a line; SGR sequences count nothing. */
export function textWidth(text: string): number {
  if (ASCII.test(text)) return text.length;
  let width = 0;
  for (const part of text.split(SGR)) {
    if (part.startsWith("\u001b")) continue;
    for (const character of part) width += columnsOf(character);
  }
  return width;
}

/** As much of the line as fits `columns`; tabs become a space; colours are ended when it has any. */
export function cutText(text: string, columns: number): string {
  const line = text.replaceAll("\t", " ");
  if (ASCII.test(line)) return line.length <= columns ? line : line.slice(0, columns);
  let cut = "";
  let left = columns;
  let coloured = false;
  for (const part of line.split(SGR)) {
    if (part.startsWith("\u001b")) {
      coloured = true;
      cut += part;
      continue;
    }
    for (const character of part) {
      const width = columnsOf(character);
      if (width > left) {
        left = 0;
        break;
      }
      left -= width;
      cut += character;
    }
    if (left === 0) break;
  }
  return coloured ? `${cut}\u001b[0m` : cut;
}
