// Go's text/template, for --format: actions, pipelines, variables, if, with, range, and functions. Templates that define other
// templates are not supported.

import { BuildError, printable } from "../solver/graph/error.ts";
import { FUNCTIONS, type GoFunction } from "./go-functions.ts";
import {
  type Command,
  type Control,
  type Node,
  type Operand,
  parseTemplate,
  type Pipeline,
} from "./go-template-parse.ts";
import { fieldOf, GoStruct, goText, isTrue, sortedKeys } from "./go-values.ts";

/** A compiled template; gives the text for a value. Throws USAGE. */
export type Template = (data: unknown) => string;

export interface TemplateOptions {
  /** Besides, or in place of, those of docker. */
  readonly functions?: Readonly<Record<string, GoFunction>>;
  /** Only known fields of the value itself may be used. */
  readonly isStrict?: boolean;
}

/** A loop in a loop over a large image ends, too. */
const STEPS_MAX = 2_000_000;
const OUTPUT_MAX_CHARS = 64 << 20;

/** Reads a template. Throws USAGE with the place in it. */
export function compileTemplate(text: string, options: TemplateOptions = {}): Template {
  const functions = { ...FUNCTIONS, ...options.functions };
  const nodes = inWords(() => parseTemplate(text, new Set([...Object.keys(functions), "and", "or"])));
  return (data) =>
    inWords(() => {
      const run = new Run(data, functions, options.isStrict ?? false);
      run.nodes(nodes, data);
      return run.text();
    });
}

function inWords<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof BuildError || !(error instanceof Error)) throw error;
    throw new BuildError("USAGE", `--format: ${printable(error.message)}`, {
      cause: error,
      hint: "templates are Go's: {{.Field}}, {{json .}}, {{range .List}}…{{end}}, {{if …}}…{{else}}…{{end}}",
    });
  }
}

/** What break and continue do. */
type Flow = "on" | "break" | "continue";

class Run {
  private readonly parts: string[] = [];
  private chars = 0;
  private steps = 0;
  private readonly variables: { readonly name: string; value: unknown }[];
  private readonly root: unknown;
  private readonly functions: Readonly<Record<string, GoFunction>>;
  private readonly isStrict: boolean;

  constructor(root: unknown, functions: Readonly<Record<string, GoFunction>>, isStrict: boolean) {
    this.root = root;
    this.functions = functions;
    this.isStrict = isStrict;
    this.variables = [{ name: "$", value: root }];
  }

  text(): string {
    return this.parts.join("");
  }

  nodes(nodes: readonly Node[], dot: unknown): Flow {
    for (const node of nodes) {
      const flow = this.node(node, dot);
      if (flow !== "on") return flow;
    }
    return "on";
  }

  private write(text: string): void {
    this.chars += text.length;
    if (this.chars > OUTPUT_MAX_CHARS) throw new Error("the output is too large");
    this.parts.push(text);
  }

  private step(): void {
    if (++this.steps > STEPS_MAX) throw new Error("the template takes too many steps");
  }

  private node(node: Node, dot: unknown): Flow {
    this.step();
    switch (node.kind) {
      case "text":
        this.write(node.text);
        return "on";
      case "action": {
        const value = this.pipeline(node.pipeline, dot);
        if (node.pipeline.declares.length === 0) this.write(goText(value));
        return "on";
      }
      case "break":
      case "continue":
        return node.kind;
      case "if":
      case "with":
        return this.scoped(() => {
          const value = this.pipeline(node.pipeline, dot);
          if (!isTrue(value)) return this.nodes(node.otherwise, dot);
          return this.nodes(node.body, node.kind === "with" ? value : dot);
        });
      case "range":
        return this.scoped(() => this.range(node, dot));
    }
  }

  private range({ pipeline, body, otherwise }: Control, dot: unknown): Flow {
    const list = this.pipeline({ ...pipeline, declares: [] }, dot);
    const [first, second] = pipeline.declares;
    const entries = entriesOf(list);
    if (entries.length === 0) return this.nodes(otherwise, dot);
    for (const [key, value] of entries) {
      this.step();
      const flow = this.scoped(() => {
        if (first !== undefined)
          this.variables.push({ name: first, value: second === undefined ? value : key });
        if (second !== undefined) this.variables.push({ name: second, value });
        return this.nodes(body, value);
      });
      if (flow === "break") break;
    }
    return "on";
  }

  private scoped<T>(work: () => T): T {
    const depth = this.variables.length;
    const done = work();
    this.variables.length = depth;
    return done;
  }

  private pipeline({ commands, declares, isAssignment }: Pipeline, dot: unknown): unknown {
    this.step();
    let value: unknown;
    for (const [at, command] of commands.entries()) value = this.command(command, dot, at > 0 ? [value] : []);
    const [name] = declares;
    if (name !== undefined) {
      if (isAssignment) this.variable(name).value = value;
      else this.variables.push({ name, value });
    }
    return value;
  }

  private variable(name: string): { value: unknown } {
    const found = this.variables.findLast((one) => one.name === name);
    if (found === undefined) throw new Error(`undefined variable "${name}"`);
    return found;
  }

  /** `last`: the value of the command before in the pipeline. */
  private command([first, ...rest]: Command, dot: unknown, last: readonly unknown[]): unknown {
    if (first === undefined) throw new Error("missing value for command");
    if (first.kind === "function") return this.call(first.name, rest, dot, last);
    if (rest.length + last.length > 0) throw new Error(`can't give argument to non-function ${first.text}`);
    return this.operand(first, dot);
  }

  private call(name: string, args: readonly Operand[], dot: unknown, last: readonly unknown[]): unknown {
    if (name === "and" || name === "or") {
      let value: unknown;
      for (const arg of args) {
        value = this.operand(arg, dot);
        if (isTrue(value) === (name === "or")) return value;
      }
      return last.length > 0 ? last[0] : value;
    }
    const values = [...args.map((arg) => this.operand(arg, dot)), ...last];
    const work = this.functions[name];
    if (work === undefined) throw new Error(`function "${name}" not defined`);
    return work(...values);
  }

  private operand(operand: Operand, dot: unknown): unknown {
    this.step();
    switch (operand.kind) {
      case "literal":
        return operand.value;
      case "function":
        return this.call(operand.name, [], dot, []);
      case "dot":
        return this.fields(dot, operand.fields);
      case "variable":
        return this.fields(this.variable(operand.name).value, operand.fields);
      case "pipeline":
        return this.fields(
          this.scoped(() => this.pipeline(operand.pipeline, dot)),
          operand.fields,
        );
    }
  }

  private fields(value: unknown, names: readonly string[]): unknown {
    let found = value;
    for (const name of names) {
      const isUnknown =
        this.isStrict && found === this.root && isMap(found) && !Object.hasOwn(found as object, name);
      if (isUnknown)
        throw new BuildError("USAGE", `--format: no field "${name}"`, {
          hint: `known are ${Object.keys(found as object).join(", ")}`,
        });
      found = fieldOf(found, name);
    }
    return found;
  }
}

function isMap(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof GoStruct);
}

function entriesOf(list: unknown): readonly (readonly [unknown, unknown])[] {
  if (list === null || list === undefined) return [];
  if (Array.isArray(list)) return [...list.entries()];
  if (isMap(list))
    return sortedKeys(list as object).map((key) => [key, (list as Record<string, unknown>)[key]]);
  throw new Error(`range can't iterate over ${goText(list)}`);
}
