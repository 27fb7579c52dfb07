// JSON as text: predicates stay as they were written, whoever wrote them, numbers of any size included.

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** The same JSON with other white space: none, or new lines and `indent` spaces a level, as Go's json.Compact and json.Indent write it.
 *  The text must be valid JSON. */
export function reformatJson(text: string, indent = 0): string {
  const out: string[] = [];
  let depth = 0;
  let isEmpty = false; // directly behind the bracket that opens
  const newLine = (): void => {
    if (indent > 0) out.push(`\n${" ".repeat(indent * depth)}`);
  };
  for (let at = 0; at < text.length; ) {
    const sign = text[at] as string;
    if (sign === " " || sign === "\n" || sign === "\r" || sign === "\t") {
      at++;
      continue;
    }
    if (sign === "}" || sign === "]") {
      depth--;
      if (!isEmpty) newLine();
      out.push(sign);
      isEmpty = false;
      at++;
      continue;
    }
    if (isEmpty) newLine();
    isEmpty = false;
    if (sign === "{" || sign === "[") {
      out.push(sign);
      depth++;
      isEmpty = true;
      at++;
    } else if (sign === ",") {
      out.push(sign);
      newLine();
      at++;
    } else if (sign === ":") {
      out.push(indent > 0 ? ": " : ":");
      at++;
    } else {
      const end = sign === '"' ? endOfString(text, at) : endOfWord(text, at);
      out.push(text.slice(at, end));
      at = end;
    }
  }
  return out.join("");
}

/** The text of one member of an object, of several of that name the last one, as JSON.parse() has it; null: it has none. The text must be a
 *  valid JSON object. */
export function memberText(object: string, name: string): string | null {
  let depth = 0;
  let key: string | null = null;
  let from = -1; // where the value of `key` begins
  let found: string | null = null;
  for (let at = 0; at < object.length; at++) {
    const code = object.charCodeAt(at);
    if (code === QUOTE) {
      const end = endOfString(object, at);
      if (depth === 1 && key === null) key = JSON.parse(object.slice(at, end)) as string;
      at = end - 1;
      continue;
    }
    const sign = object[at] as string;
    if (sign === ":" && depth === 1 && from < 0) from = at + 1;
    const isEnd = depth === 1 && from >= 0 && (sign === "," || sign === "}");
    if (isEnd) {
      if (key === name) found = object.slice(from, at).trim();
      key = null;
      from = -1;
    }
    if (sign === "{" || sign === "[") depth++;
    if (sign === "}" || sign === "]") depth--;
  }
  return found;
}

function endOfString(text: string, from: number): number {
  for (let at = from + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === BACKSLASH) at++;
    else if (code === QUOTE) return at + 1;
  }
  return text.length;
}

function endOfWord(text: string, from: number): number {
  let at = from;
  while (at < text.length && !" \n\r\t,:{}[]".includes(text[at] as string)) at++;
  return at;
}
