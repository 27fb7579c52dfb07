// The JSON form of arguments: ["a", "b"]. Anything that is not a JSON list is the shell form; a list that contains
// something other than strings is an error.

import { BuildError } from "../solver/graph/error.ts";
import { trimLeft } from "./go-strings.ts";

/** The strings of a JSON list; null when the text is not a JSON list. Throws DOCKERFILE_SYNTAX for other elements. */
export function readJsonForm(rest: string): readonly string[] | null {
  const text = trimLeft(rest);
  if (!text.startsWith("[")) return null;
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    return null; // not JSON: then it is the shell form
  }
  if (!Array.isArray(list)) return null;
  return list.map((item: unknown) => {
    if (typeof item === "string") return wellFormed(item);
    throw new BuildError(
      "DOCKERFILE_SYNTAX",
      "when using JSON array syntax, arrays must be comprised of strings only",
      { hint: 'put every element in double quotes, as in ["a", "1"]' },
    );
  });
}

/** A lone half of a surrogate pair (\ud800) becomes U+FFFD, as in every UTF-8 program. */
function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\uFFFD");
}
