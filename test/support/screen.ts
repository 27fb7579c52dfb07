// A minimal terminal emulator: what is displayed after a text (cursor up, erase, newline).

import { ok } from "node:assert/strict";

/** All a terminal has shown below each other; a line longer than `columns` is an error (null: not looked at). Colours are left out. */
export function screen(text: string, columns: number | null): { lines: string[]; cursorShown: boolean } {
  const lines: string[] = [""];
  let row = 0;
  let column = 0;
  let cursorShown = true;
  for (const part of text.split(/(\u001b\[\??[0-9;]*[A-Za-z]|\n|\r)/)) {
    const code = /^\u001b\[(\??)([0-9;]*)([A-Za-z])$/.exec(part);
    if (part === "\n") {
      row++;
      column = 0;
      lines[row] ??= "";
    } else if (part === "\r") column = 0;
    else if (code?.[3] === "A") row = Math.max(0, row - Number(code[2]));
    else if (code?.[3] === "K") lines[row] = (lines[row] ?? "").slice(0, column);
    else if (code?.[3] === "J")
      lines.splice(row, Number.POSITIVE_INFINITY, (lines[row] ?? "").slice(0, column));
    else if (code?.[3] === "l" || code?.[3] === "h") cursorShown = code[3] === "h";
    else if (code === null && part !== "") {
      const line = (lines[row] ?? "").padEnd(column);
      lines[row] = line.slice(0, column) + part + line.slice(column + part.length);
      column += part.length;
      ok(columns === null || column <= columns, `a line of ${column} columns on a terminal of ${columns}`);
    }
  }
  return { lines: lines.map((line) => line.trimEnd()), cursorShown };
}
