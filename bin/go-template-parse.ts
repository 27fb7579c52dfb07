// The grammar of Go's templates: text to nodes. text/template/parse.

export type Node =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "action"; readonly pipeline: Pipeline }
  | { readonly kind: "break" | "continue" }
  | ({ readonly kind: "if" | "with" } & Control)
  | ({ readonly kind: "range" } & Control);

export interface Control {
  readonly pipeline: Pipeline;
  readonly body: readonly Node[];
  readonly otherwise: readonly Node[];
}

export interface Pipeline {
  /** Names with "$": one, or two of a range. */
  readonly declares: readonly string[];
  /** "=" in place of ":=". */
  readonly isAssignment: boolean;
  readonly commands: readonly Command[];
}
export type Command = readonly Operand[];

export type Operand = { readonly text: string } & (
  | { readonly kind: "literal"; readonly value: unknown }
  | { readonly kind: "function"; readonly name: string }
  | { readonly kind: "dot"; readonly fields: readonly string[] }
  | { readonly kind: "variable"; readonly name: string; readonly fields: readonly string[] }
  | { readonly kind: "pipeline"; readonly pipeline: Pipeline; readonly fields: readonly string[] }
);

const TEMPLATE_MAX_CHARS = 64 << 10;
const NESTING_MAX = 100;

// A token begins where the one before ended. None can match one text in two ways.
const TOKEN =
  /\s*(?:("(?:[^"\\]|\\.)*")|(`[^`]*`)|('(?:[^'\\\n]|\\.)')|(-?\d[\w.]*)|(\$\w*)|((?:\.\w+)+)|(\.)|(\w+)|(:=|[=|(),]))(\s*)/y;

interface Token {
  readonly kind: "text" | "number" | "variable" | "fields" | "dot" | "word" | "sign";
  readonly text: string;
  readonly value?: unknown;
  /** White space follows: "$x .A" are two operands, "$x.A" is one. */
  readonly isApart: boolean;
}

/** Throws a plain Error in Go's words. `functions`: known names. */
export function parseTemplate(text: string, functions: ReadonlySet<string>): readonly Node[] {
  if (text.length > TEMPLATE_MAX_CHARS) throw new Error("the template is too long");
  const pieces = split(text);
  let at = 0;

  type End = "end" | "else" | "eof";
  interface Body {
    readonly nodes: readonly Node[];
    readonly end: End;
    /** What follows "else". */
    readonly rest: readonly Token[];
  }

  function body(depth: number): Body {
    if (depth > NESTING_MAX) throw new Error("nested too deeply");
    const nodes: Node[] = [];
    for (;;) {
      const piece = pieces[at++];
      if (piece === undefined) return { nodes, end: "eof", rest: [] };
      if (piece.kind === "text") {
        if (piece.text !== "") nodes.push({ kind: "text", text: piece.text });
        continue;
      }
      const tokens = tokensOf(piece.text);
      const [first] = tokens;
      if (first === undefined) throw new Error("missing value for command");
      const word = first.kind === "word" ? first.text : "";
      switch (word) {
        case "end":
        case "else":
          return { nodes, end: word, rest: tokens.slice(1) };
        case "break":
        case "continue":
          nodes.push({ kind: word });
          break;
        case "if":
        case "with":
        case "range":
          nodes.push(control(word, tokens.slice(1), depth));
          break;
        case "define":
        case "template":
        case "block":
          throw new Error(`{{${word}}} is not supported`);
        default:
          nodes.push({ kind: "action", pipeline: wholePipeline(tokens, functions) });
      }
    }
  }

  function control(kind: "if" | "with" | "range", tokens: readonly Token[], depth: number): Node {
    const pipeline = wholePipeline(tokens, functions, kind === "range");
    const first = body(depth + 1);
    if (first.end === "eof") throw new Error(`unexpected EOF: {{${kind}}} without {{end}}`);
    if (first.end === "end") return { kind, pipeline, body: first.nodes, otherwise: [] };
    const [next] = first.rest;
    if (next?.kind === "word" && (next.text === "if" || next.text === "with") && kind !== "range")
      return {
        ...{ kind, pipeline, body: first.nodes },
        otherwise: [control(next.text, first.rest.slice(1), depth + 1)],
      };
    if (next !== undefined) throw new Error(`unexpected ${next.text} in {{else}}`);
    const second = body(depth + 1);
    if (second.end !== "end") throw new Error(`{{else}} of {{${kind}}} without {{end}}`);
    return { kind, pipeline, body: first.nodes, otherwise: second.nodes };
  }

  const all = body(0);
  if (all.end !== "eof") throw new Error(`unexpected {{${all.end}}}`);
  return all.nodes;
}

type Piece = { readonly kind: "text" | "action"; readonly text: string };

/** Text and actions; "{{- " and " -}}" take away the white space beside them. */
function split(text: string): readonly Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  let isTrimmed = false;
  for (;;) {
    const open = text.indexOf("{{", at);
    let before = text.slice(at, open < 0 ? text.length : open);
    if (isTrimmed) before = before.trimStart();
    if (open < 0) {
      pieces.push({ kind: "text", text: before });
      return pieces;
    }
    const trimsBefore = /^\{\{-\s/.test(text.slice(open, open + 4));
    const start = open + (trimsBefore ? 3 : 2);
    const end = endOfAction(text, start);
    const inside = text.slice(start, end);
    isTrimmed = /\s-$/.test(inside.slice(-2));
    pieces.push({ kind: "text", text: trimsBefore ? before.trimEnd() : before });
    const action = isTrimmed ? inside.slice(0, -2) : inside;
    const isComment = /^\s*\/\*/.test(action);
    if (isComment && !/\*\/\s*$/.test(action)) throw new Error("unclosed comment");
    if (!isComment) pieces.push({ kind: "action", text: action });
    at = end + 2;
  }
}

/** Place of the "}}" that ends an action: not one in a text. */
function endOfAction(text: string, start: number): number {
  const comment = /^-?\s*\/\*/.test(text.slice(start, start + 8));
  for (let at = start; at < text.length; at++) {
    const sign = text[at];
    if (text.startsWith("}}", at)) return at;
    if (comment || (sign !== '"' && sign !== "`" && sign !== "'")) continue;
    for (at++; at < text.length && text[at] !== sign; at++) if (sign !== "`" && text[at] === "\\") at++;
  }
  throw new Error("unclosed action");
}

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  const end = text.trimEnd().length;
  while (TOKEN.lastIndex < end) {
    const from = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null)
      throw new Error(`unexpected ${JSON.stringify(text.slice(from).trim().slice(0, 20))} in command`);
    const [, quoted, raw, char, number, variable, fields, dot, word, sign, space = ""] = match;
    const isApart = space !== "";
    if (quoted !== undefined) tokens.push({ kind: "text", text: quoted, value: unquoted(quoted), isApart });
    else if (raw !== undefined) tokens.push({ kind: "text", text: raw, value: raw.slice(1, -1), isApart });
    else if (char !== undefined)
      tokens.push({
        kind: "number",
        text: char,
        value: unquoted(`"${char.slice(1, -1)}"`).codePointAt(0),
        isApart,
      });
    else if (number !== undefined)
      tokens.push({ kind: "number", text: number, value: numberOf(number), isApart });
    else if (variable !== undefined) tokens.push({ kind: "variable", text: variable, isApart });
    else if (fields !== undefined) tokens.push({ kind: "fields", text: fields, isApart });
    else if (dot !== undefined) tokens.push({ kind: "dot", text: dot, isApart });
    else if (word !== undefined) tokens.push({ kind: "word", text: word, isApart });
    else tokens.push({ kind: "sign", text: sign ?? "", isApart });
  }
  return tokens;
}

function unquoted(quoted: string): string {
  const json = quoted
    .replace(/\\x([0-9a-fA-F]{2})/g, "\\u00$1")
    .replace(/\\([av'])/g, (_, sign: string) => ({ a: "\\u0007", v: "\\u000b" })[sign] ?? sign)
    .replaceAll("\t", "\\t")
    .replaceAll("\n", "\\n"); // docker turns \\n into a newline before it reads a template
  try {
    return JSON.parse(json) as string;
  } catch {
    throw new Error(`invalid syntax: ${quoted}`);
  }
}

function numberOf(text: string): number {
  const value = Number(text.replaceAll("_", ""));
  if (Number.isNaN(value)) throw new Error(`bad number syntax: ${JSON.stringify(text)}`);
  return value;
}

function wholePipeline(tokens: readonly Token[], functions: ReadonlySet<string>, isRange = false): Pipeline {
  const reader = { tokens, at: 0 };
  const pipeline = readPipeline(reader, functions, isRange, 0);
  const left = tokens[reader.at];
  if (left !== undefined) throw new Error(`unexpected ${JSON.stringify(left.text)} in command`);
  return pipeline;
}

interface Reader {
  readonly tokens: readonly Token[];
  at: number;
}

function readPipeline(
  reader: Reader,
  functions: ReadonlySet<string>,
  isRange: boolean,
  depth: number,
): Pipeline {
  if (depth > NESTING_MAX) throw new Error("nested too deeply");
  const { tokens } = reader;
  const declares: string[] = [];
  let isAssignment = false;
  const signAt = (offset: number): string => {
    const token = tokens[reader.at + offset];
    return token?.kind === "sign" ? token.text : "";
  };
  const isVariable = (offset: number): boolean => tokens[reader.at + offset]?.kind === "variable";
  if (isRange && isVariable(0) && signAt(1) === "," && isVariable(2) && signAt(3) === ":=") {
    declares.push(tokens[reader.at]?.text ?? "", tokens[reader.at + 2]?.text ?? "");
    reader.at += 4;
  } else if (isVariable(0) && (signAt(1) === ":=" || signAt(1) === "=")) {
    declares.push(tokens[reader.at]?.text ?? "");
    isAssignment = signAt(1) === "=";
    reader.at += 2;
  }
  const commands: Operand[][] = [[]];
  for (; reader.at < tokens.length; ) {
    const token = tokens[reader.at];
    if (token === undefined || (token.kind === "sign" && token.text === ")")) break;
    if (token.kind === "sign" && token.text === "|") {
      reader.at++;
      commands.push([]);
      continue;
    }
    commands.at(-1)?.push(readOperand(reader, functions, depth));
  }
  if (commands.some((command) => command.length === 0)) throw new Error("missing value for command");
  return { declares, isAssignment, commands };
}

function readOperand(reader: Reader, functions: ReadonlySet<string>, depth: number): Operand {
  const token = reader.tokens[reader.at++];
  if (token === undefined) throw new Error("missing value for command");
  const { text } = token;
  switch (token.kind) {
    case "text":
    case "number":
      return { kind: "literal", value: token.value, text };
    case "fields":
      return { kind: "dot", fields: text.slice(1).split("."), text };
    case "dot":
      return { kind: "dot", fields: [], text };
    case "variable":
      return { kind: "variable", name: text, fields: fieldsBehind(reader, token), text };
    case "word":
      if (text === "true" || text === "false") return { kind: "literal", value: text === "true", text };
      if (text === "nil") return { kind: "literal", value: null, text };
      if (!functions.has(text)) throw new Error(`function "${text}" not defined`);
      return { kind: "function", name: text, text };
    case "sign": {
      if (text !== "(") throw new Error(`unexpected ${JSON.stringify(text)} in command`);
      const pipeline = readPipeline(reader, functions, false, depth + 1);
      const close = reader.tokens[reader.at++];
      if (close?.text !== ")") throw new Error("unclosed left paren");
      return { kind: "pipeline", pipeline, fields: fieldsBehind(reader, close), text: "(…)" };
    }
  }
}

/** Fields that stand without a space behind a variable or a pipeline in parentheses. */
function fieldsBehind(reader: Reader, { isApart }: Token): readonly string[] {
  const next = reader.tokens[reader.at];
  if (isApart || next?.kind !== "fields") return [];
  reader.at++;
  return next.text.slice(1).split(".");
}
