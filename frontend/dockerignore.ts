// .dockerignore: its lines as patterns (Dockerfile reference, ".dockerignore file"). Matching is solver/graph/patterns.ts.

import { BuildError } from "../solver/graph/error.ts";
import { cleanPath } from "../solver/graph/patterns.ts";
import { trimNewline, trimSpace } from "./go-strings.ts";

/** Each file of the context is held against each pattern. */
export const IGNORE_MAX_PATTERNS = 20_000;

export interface IgnoreFile {
  readonly patterns: readonly string[];
  /** Of each pattern, the line it stands in; from 1. */
  readonly lines: readonly number[];
}

/** Reads a .dockerignore. Only a "#" in the first column starts a comment; blanks around a pattern are dropped, "/" at its
 *  front as well, and "." and ".." are resolved. Throws LIMIT_EXCEEDED; nothing else in it is an error here. */
export function readIgnore(data: Uint8Array): IgnoreFile {
  const text = new TextDecoder("utf-8").decode(data); // drops a byte order mark
  const patterns: string[] = [];
  const lines: number[] = [];
  text.split("\n").forEach((line, index) => {
    if (line.startsWith("#")) return;
    let pattern = trimSpace(trimNewline(line));
    if (pattern === "") return;
    const isException = pattern.startsWith("!");
    if (isException) pattern = trimSpace(pattern.slice(1));
    if (pattern !== "") {
      pattern = cleanPath(pattern);
      if (pattern.length > 1 && pattern.startsWith("/")) pattern = pattern.slice(1);
    }
    if (patterns.length === IGNORE_MAX_PATTERNS) {
      throw new BuildError("LIMIT_EXCEEDED", `an ignore file has more than ${IGNORE_MAX_PATTERNS} patterns`, {
        hint: "list directories instead of single files",
      });
    }
    patterns.push(isException ? `!${pattern}` : pattern);
    lines.push(index + 1);
  });
  return { patterns, lines };
}
