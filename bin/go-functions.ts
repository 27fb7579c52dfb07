// The functions of Go's templates, and those that docker's --format adds. text/template funcs.go; docker/cli templates/templates.go.

import { compared, goText, indexed, isTrue, lengthOf } from "./go-values.ts";

export type GoFunction = (...args: readonly unknown[]) => unknown;

const WIDTH_MAX = 4096;

/** By name. Each throws a plain Error for arguments it does not take. `and` and `or` are part of the language: they do not evaluate what
 *  they need not. */
export const FUNCTIONS: Readonly<Record<string, GoFunction>> = {
  not: (value) => !isTrue(value),
  len: (value) => lengthOf(value),
  index: (value, ...keys) => indexed(value, keys),
  slice(value, from = 0, to) {
    if (typeof value !== "string" && !Array.isArray(value))
      throw new Error("error calling slice: not a list");
    const end = to === undefined ? value.length : to;
    if (typeof from !== "number" || typeof end !== "number" || from < 0 || end > value.length || from > end)
      throw new Error("error calling slice: index out of range");
    return value.slice(from, end);
  },
  // Spaces between operands when neither is a string: fmt.Sprint.
  print: (...args) =>
    args.reduce<string>((text, value, at) => {
      const isApart = at > 0 && typeof value !== "string" && typeof args[at - 1] !== "string";
      return `${text}${isApart ? " " : ""}${goText(value)}`;
    }, ""),
  println: (...args) => `${args.map(goText).join(" ")}\n`,
  printf: (format, ...args) => formatted(textOf("printf", format), args),
  eq: (first, ...others) => {
    if (others.length === 0) throw new Error("error calling eq: missing argument for comparison");
    return others.some((one) => one === first || isNothing(one, first));
  },
  ne: (a, b) => a !== b && !isNothing(a, b),
  lt: (a, b) => compared(a, b) < 0,
  le: (a, b) => compared(a, b) <= 0,
  gt: (a, b) => compared(a, b) > 0,
  ge: (a, b) => compared(a, b) >= 0,
  urlquery: (...args) => encodeURIComponent(args.map(goText).join("")).replaceAll("%20", "+"),
  html: (...args) =>
    args
      .map(goText)
      .join("")
      .replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`),
  json: (value) => JSON.stringify(value ?? null),
  split: (text, by) => textOf("split", text).split(textOf("split", by)),
  join: (list, by) => {
    if (!Array.isArray(list)) throw new Error("error calling join: not a list");
    return list.map(goText).join(textOf("join", by));
  },
  title: (text) =>
    textOf("title", text).replace(
      /(^|\s)(\p{Ll})/gu,
      (_, before: string, sign: string) => before + sign.toUpperCase(),
    ),
  lower: (text) => textOf("lower", text).toLowerCase(),
  upper: (text) => textOf("upper", text).toUpperCase(),
  pad: (text, before, after) =>
    " ".repeat(countOf("pad", before)) + textOf("pad", text) + " ".repeat(countOf("pad", after)),
  truncate: (text, length) => textOf("truncate", text).slice(0, countOf("truncate", length)),
};

function isNothing(a: unknown, b: unknown): boolean {
  return (a ?? null) === null && (b ?? null) === null;
}

function textOf(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw new Error(`error calling ${name}: a text is expected, not ${goText(value)}`);
}

function countOf(name: string, value: unknown): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= WIDTH_MAX) return value;
  throw new Error(`error calling ${name}: not a count: ${goText(value)}`);
}

/** fmt.Sprintf with the verbs v, s, d, q, t, x, X, f, e, g, c, and flags for width and precision. */
function formatted(format: string, args: readonly unknown[]): string {
  let next = 0;
  const text = format.replace(
    /%([-+# 0]*)(\d*)(?:\.(\d+))?([a-zA-Z%])/g,
    (whole, flags: string, width: string, digits: string | undefined, verb: string) => {
      if (verb === "%") return "%";
      if (next >= args.length) return `%!${verb}(MISSING)`;
      const value = args[next++];
      const precision = digits === undefined ? null : countOf("printf", Number(digits));
      const shown = verbText(verb, value, precision, flags);
      if (shown === null) return `%!${verb}(${goText(value)})`;
      const size = width === "" ? 0 : countOf("printf", Number(width));
      if (flags.includes("-")) return shown.padEnd(size);
      return flags.includes("0") && typeof value === "number"
        ? shown.padStart(size, "0")
        : shown.padStart(size);
    },
  );
  const surplus = args.slice(next).map((value) => goText(value));
  return surplus.length === 0 ? text : `${text}%!(EXTRA ${surplus.join(", ")})`;
}

function verbText(verb: string, value: unknown, precision: number | null, flags: string): string | null {
  const sign = flags.includes("+") && typeof value === "number" && value >= 0 ? "+" : "";
  switch (verb) {
    case "v":
      return sign + goText(value);
    case "s":
      return precision === null ? goText(value) : goText(value).slice(0, precision);
    case "q":
      return JSON.stringify(goText(value));
    case "t":
      return typeof value === "boolean" ? String(value) : null;
    case "d":
      return typeof value === "number" ? sign + String(Math.trunc(value)) : null;
    case "c":
      return typeof value === "number" ? String.fromCodePoint(value & 0xffff) : null;
    case "x":
    case "X": {
      const hex =
        typeof value === "number"
          ? value.toString(16)
          : typeof value === "string"
            ? Buffer.from(value).toString("hex")
            : null;
      return verb === "X" ? (hex?.toUpperCase() ?? null) : hex;
    }
    case "f":
    case "e":
    case "g":
      if (typeof value !== "number") return null;
      if (verb === "g") return sign + String(value);
      return (
        sign +
        (verb === "f"
          ? value.toFixed(Math.min(precision ?? 6, 100))
          : value.toExponential(Math.min(precision ?? 6, 100)))
      );
    default:
      return null;
  }
}
