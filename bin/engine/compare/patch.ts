// Changed lines as a unified diff.

/** Lines `start` (from 0) to `end` (behind the last) become `lines`. */
export interface Edit {
  readonly start: number;
  readonly end: number;
  readonly lines: readonly string[];
}

const CONTEXT_LINES = 3;

/** A unified diff as `patch -p1` and `git apply` take it; "" without edits. `lines`: of the text, split at newlines. The edits are in order and do not
 *  overlap. */
export function unifiedDiff(name: string, lines: readonly string[], edits: readonly Edit[]): string {
  if (edits.length === 0) return "";
  const groups: Edit[][] = [];
  for (const edit of edits) {
    const last = groups.at(-1)?.at(-1);
    if (last !== undefined && edit.start - last.end <= 2 * CONTEXT_LINES) groups.at(-1)?.push(edit);
    else groups.push([edit]);
  }
  // What is behind the last newline is no line; without one the last line has no end.
  const hasEnd = lines.at(-1) === "";
  const count = hasEnd ? lines.length - 1 : lines.length;
  const path = name.replace(/^\/+|^(?:\.\/)+/, "");
  const out = [`--- a/${path}`, `+++ b/${path}`];
  let shift = 0;
  for (const group of groups) {
    const [first, last] = [group[0] as Edit, group.at(-1) as Edit];
    const from = Math.max(0, first.start - CONTEXT_LINES);
    const to = Math.min(count, last.end + CONTEXT_LINES);
    const body: string[] = [];
    const add = (sign: string, text: string, isLast: boolean): void => {
      body.push(`${sign}${text}`);
      if (isLast && !hasEnd) body.push("\\ No newline at end of file");
    };
    let [at, grown] = [from, 0];
    const keep = (end: number): void => {
      for (; at < end; at++) add(" ", lines[at] ?? "", at === count - 1);
    };
    for (const edit of group) {
      keep(edit.start);
      for (; at < edit.end; at++) add("-", lines[at] ?? "", at === count - 1);
      edit.lines.forEach((line, index) =>
        add("+", line, edit.end === count && index === edit.lines.length - 1),
      );
      grown += edit.lines.length - (edit.end - edit.start);
    }
    keep(to);
    out.push(`@@ -${from + 1},${to - from} +${from + 1 + shift},${to - from + grown} @@`, ...body);
    shift += grown;
  }
  return `${out.join("\n")}\n`;
}
