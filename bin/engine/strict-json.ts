// JSON with the line of each value, for files that people edit and merge: a name that stands twice in an object is an error, and an error
// says where it is. RFC 8259.

/** A value of the text, and the line it begins in, from 1. */
export interface JsonNode {
  readonly line: number;
  readonly value: JsonObject | readonly JsonNode[] | string | number | boolean | null;
}
/** By name, in the order of the text. */
export type JsonObject = ReadonlyMap<string, JsonNode>;

/** `line`: where the text is wrong. */
export class JsonFault extends Error {
  readonly line: number;
  constructor(message: string, line: number) {
    super(message);
    this.line = line;
  }
}

const DEPTH_MAX = 16;

// No part can match one text in two ways, so each takes linear time.
const SPACE = /[ \t\r\n]*/y;
// oxlint-disable-next-line no-control-regex -- they may not stand in a text of JSON
const STRING = /"[^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\u0000-\u001f]*)*"/y;
const OTHER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null/y;

/** Reads one value. Throws JsonFault. */
export function readJson(text: string): JsonNode {
  let at = 0;
  let line = 1;
  let counted = 0; // lines are counted up to here

  function lineHere(): number {
    for (let end = text.indexOf("\n", counted); end >= 0 && end < at; end = text.indexOf("\n", counted)) {
      line++;
      counted = end + 1;
    }
    return line;
  }

  function take(pattern: RegExp): string | null {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0] ?? null;
    at += found?.length ?? 0;
    return found;
  }

  /** Behind spaces: is this the next character? Then it is behind us. */
  function has(character: string): boolean {
    take(SPACE);
    if (text[at] !== character) return false;
    at++;
    return true;
  }

  function expect(character: string): void {
    if (!has(character)) throw unexpected(`"${character}"`);
  }

  function unexpected(wanted: string): JsonFault {
    const found = at >= text.length ? "the end" : JSON.stringify(text.slice(at, at + 12).split("\n", 1)[0]);
    return new JsonFault(`expected ${wanted}, found ${found}`, lineHere());
  }

  function readString(what: string): string {
    take(SPACE);
    const found = take(STRING);
    if (found === null) throw unexpected(what);
    return JSON.parse(found) as string;
  }

  function value(depth: number): JsonNode {
    take(SPACE);
    const begin = lineHere();
    if (depth > DEPTH_MAX) throw new JsonFault("too deeply nested", begin);
    if (has("{")) return { line: begin, value: object(depth) };
    if (has("[")) return { line: begin, value: list(depth) };
    if (text[at] === '"') return { line: begin, value: readString("a text") };
    const other = take(OTHER);
    if (other === null || other === "") throw unexpected("a value");
    return { line: begin, value: JSON.parse(other) as number | boolean | null };
  }

  function object(depth: number): JsonObject {
    const entries = new Map<string, JsonNode>();
    if (has("}")) return entries;
    do {
      const name = readString("a name");
      if (entries.has(name))
        throw new JsonFault(`${JSON.stringify(name.slice(0, 200))} stands here a second time`, lineHere());
      expect(":");
      entries.set(name, value(depth + 1));
    } while (has(","));
    expect("}");
    return entries;
  }

  function list(depth: number): readonly JsonNode[] {
    const items: JsonNode[] = [];
    if (has("]")) return items;
    do items.push(value(depth + 1));
    while (has(","));
    expect("]");
    return items;
  }

  const all = value(0);
  take(SPACE);
  if (at < text.length) throw unexpected("the end");
  return all;
}

/** The value as JSON.parse has it, where lines are no longer needed. */
export function plainValue({ value }: JsonNode): unknown {
  if (value instanceof Map) {
    const entries = [...(value as JsonObject)].map(([name, node]) => [name, plainValue(node)] as const);
    return Object.fromEntries(entries);
  }
  return Array.isArray(value) ? (value as readonly JsonNode[]).map(plainValue) : value;
}
