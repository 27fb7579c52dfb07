// What a step is called when its definition gives it no name: the words clients know from BuildKit (llbsolver, vertex.go).

import type { FileAction, Op } from "./op.ts";

/** Longest name that is made up, and how much of another one is in it: those of a chain of merges would double with each. What a
 *  definition says is taken as it is. */
const NAME_MAX_CHARS = 1000;
const PART_MAX_CHARS = 100;

/** Name of an op. inputs: the names of its inputs. */
export function nameOfOp(op: Op, inputs: readonly string[]): string {
  return cut(
    wholeName(
      op,
      inputs.map((name) => cut(name, PART_MAX_CHARS)),
    ),
    NAME_MAX_CHARS,
  );
}

function cut(name: string, max: number): string {
  return name.length > max ? `${name.slice(0, max)}…` : name;
}

function wholeName(op: Op, inputs: readonly string[]): string {
  switch (op.kind) {
    case "source":
      return op.identifier;
    case "exec":
      return op.args.join(" ");
    case "file":
      return op.actions.map(nameOfAction).join(", ");
    case "build":
      return "build";
    case "merge":
      return `merge (${inputs.join(", ")})`;
    case "diff":
      return `diff ${side(op.lower, inputs)} -> ${side(op.upper, inputs)}`;
    case "passthrough":
      return `passthrough ${op.id}`;
  }
}

function nameOfAction(action: FileAction): string {
  switch (action.kind) {
    case "copy":
      return `copy ${action.src} ${action.dest}`;
    case "symlink":
      return `symlink ${action.path} -> ${action.target}`;
    default:
      return `${action.kind} ${action.path}`;
  }
}

function side(input: number | null, inputs: readonly string[]): string {
  return input === null ? "scratch" : `(${inputs[input] ?? ""})`;
}
