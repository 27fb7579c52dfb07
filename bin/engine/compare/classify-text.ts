// Why two texts differ. Each class has patterns of what it writes; where two lines become equal once these are masked, it is the cause. The
// patterns are linear: they have no nested repetition, since texts are untrusted.

import type { Cause, KnownValue } from "./contract.ts";
import type { CauseClass } from "./classes.ts";

/** Longer lines are cut: minified programs have one. */
const LINE_MAX_CHARS = 4_096;
/** Pairs of lines that are examined. */
const PAIRS_MAX = 400;

interface Mask {
  readonly class: CauseClass;
  readonly what: string;
  readonly pattern: RegExp;
}

/** Letters and digits: paths are told first, which have slashes as base64 has. */
const RANDOM = "random bytes as text";

const DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)";
const MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}";

const MASKS: readonly Mask[] = [
  {
    class: "random",
    what: "a uuid",
    pattern: /\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b/g,
  },
  {
    class: "date-text",
    what: "a date",
    pattern:
      /\b(?:19|20)\d\d[-/.](?:0[1-9]|1[0-2])[-/.][0-3]\d(?:[T_ ]+[0-2]\d[:.]?[0-5]\d(?:[:.]?[0-6]\d)?(?:[.,]\d{1,9})?)?(?: ?(?:Z|UTC|GMT|[A-Z]{3,4}|[+-]\d\d:?\d\d))?/g,
  },
  {
    class: "date-text",
    what: "a date",
    pattern: new RegExp(
      `\\b(?:${DAY}[a-z]{0,6},? +)?(?:${MONTH} +[0-3]?\\d|[0-3]?\\d[ -]${MONTH}),?(?:[ -]+(?:19|20)\\d\\d)?(?: +[0-2]?\\d:[0-5]\\d(?::[0-6]\\d)?)?(?: (?:AM|PM))?(?: +(?:[A-Z]{3,5}|[+-]\\d{4}))?(?: +(?:19|20)\\d\\d)?`,
      "g",
    ),
  },
  {
    class: "date-text",
    what: "a time of day",
    pattern: /\b[0-2]?\d:[0-5]\d(?::[0-6]\d)?(?:[.,]\d{1,9})?(?: ?(?:AM|PM|UTC|Z|[+-]\d\d:?\d\d))?/g,
  },
  {
    class: "date-text",
    what: "a date",
    pattern: /\b20\d\d(?:0[1-9]|1[0-2])[0-3]\d(?:[-T_]?[0-2]\d[0-5]\d(?:[0-6]\d)?Z?)?\b/g,
  },
  {
    class: "date-text",
    what: "seconds since 1970",
    pattern: /\b1[5-9]\d{8}(?:[.,]\d{1,9}|\d{3}|\d{6}|\d{9})?\b|\b2[0-3]\d{8}(?:\d{3}|\d{6}|\d{9})?\b/g,
  },
  {
    class: "build-path",
    what: "the path of a temporary directory",
    pattern:
      /\/(?:var\/)?tmp\/[^\s"'<>:;,|)\0]{1,300}|\btmp\.[A-Za-z0-9_]{6,12}\b|\b(?:tmp|temp|build|pip|npm|go-build|cc|rustc)[-_.]?[A-Za-z0-9_]{6,24}\b/g,
  },
  {
    class: "date-text",
    what: "a duration",
    pattern:
      /\b\d{1,9}(?:\.\d{1,9})? ?(?:ns|µs|us|ms|msec|s|sec|secs|seconds|m|min|minutes)\b|\b\d{1,6}m\d{1,2}(?:\.\d{1,9})?s/g,
  },
  { class: "random", what: RANDOM, pattern: /\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8,4096}\b/g },
  { class: "random", what: RANDOM, pattern: /[A-Za-z0-9+/_-]{12,4096}={0,2}/g },
];

/** Words beside a value that say what it is. */
const WORDS: readonly { readonly class: CauseClass; readonly what: string; readonly pattern: RegExp }[] = [
  {
    class: "host-name",
    what: "the host name",
    pattern: /\b(?:host(?:name)?|node(?:name)?|machine|uname)\b/i,
  },
  {
    class: "user-name",
    what: "the name of the user",
    pattern: /\b(?:user(?:name)?|login|logname|author|builder|uid|gid)\b/i,
  },
  {
    class: "random",
    what: "a random value",
    pattern: /\b(?:uuid|seed|salt|nonce|token|secret|random|session|key|guid|machine-id)\b/i,
  },
  {
    class: "locale",
    what: "the locale",
    pattern: /\b(?:LANG|LC_[A-Z]+|LANGUAGE|TZ|locale|charset|codeset|timezone)\b/,
  },
  {
    class: "unordered-output",
    what: "the number of jobs or processors",
    pattern: /\b(?:nproc|jobs?|cpus?|processors?|threads?|cores?|workers?)\b/i,
  },
];

/** Causes of two texts that differ, most certain first; none: not recognised. */
export function classifyText(a: string, b: string, known: readonly KnownValue[]): Cause[] {
  const [linesA, linesB] = [a.split("\n"), b.split("\n")];
  const order = orderOf(linesA, linesB) ?? orderOf(wordsOf(a), wordsOf(b));
  if (order !== null) return [order];
  const causes = new Map<CauseClass, Cause>();
  let isWhole = true;
  for (const [one, other] of pairsOf(linesA, linesB)) {
    const found = classifyLine(one.slice(0, LINE_MAX_CHARS), other.slice(0, LINE_MAX_CHARS), known);
    if (found === null) isWhole = false;
    for (const cause of found ?? []) if (!causes.has(cause.class)) causes.set(cause.class, cause);
  }
  const all = [...causes.values()];
  if (!isWhole && all.length === 0) return [];
  return all;
}

/** Lines that differ, side by side: those of the middle between equal beginnings and ends. */
function pairsOf(a: readonly string[], b: readonly string[]): (readonly [string, string])[] {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end])
    end++;
  const [restA, restB] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  const pairs: (readonly [string, string])[] = [];
  for (let at = 0; at < Math.max(restA.length, restB.length) && pairs.length < PAIRS_MAX; at++) {
    const [one, other] = [restA[at] ?? "", restB[at] ?? ""];
    if (one !== other) pairs.push([one, other]);
  }
  return pairs;
}

/** Causes of two lines; null: not recognised. Of a time that is written, it is the zone or the clock. */
export function classifyLine(a: string, b: string, known: readonly KnownValue[]): Cause[] | null {
  const causes = causesOfLine(a, b, known);
  const zone = known.find(({ aheadSeconds }) => aheadSeconds !== undefined);
  if (causes === null || zone === undefined || !causes.some((cause) => cause.class === "date-text"))
    return causes;
  const shown: Cause = { class: "locale", detail: `${zone.what}: ${short(a.trim())} and ${short(b.trim())}` };
  if (isAhead(a, b, zone.aheadSeconds ?? 0))
    return [shown, ...causes.filter((cause) => !["date-text", "locale"].includes(cause.class))];
  return causes.filter((cause) => cause.class !== "locale" || !cause.detail.startsWith(zone.what));
}

/** Is the time of day in the second line ahead by exactly so much? Then both are of one moment. */
function isAhead(a: string, b: string, seconds: number): boolean {
  const secondsIn = (line: string): number | null => {
    const found = /\b(\d\d?):(\d\d)(?::(\d\d))?/.exec(line);
    return found === null ? null : Number(found[1]) * 3600 + Number(found[2]) * 60 + Number(found[3] ?? 0);
  };
  const [one, other] = [secondsIn(a), secondsIn(b)];
  return one !== null && other !== null && (other - one + 172_800 - seconds) % 86_400 === 0;
}

function causesOfLine(a: string, b: string, known: readonly KnownValue[]): Cause[] | null {
  const causes: Cause[] = [];
  let [one, other] = [a, b];
  for (const { class: kind, what, a: valueA, b: valueB, isLine = false } of known) {
    if (!one.includes(valueA) || !other.includes(valueB)) continue;
    if (isLine && (one.trim() !== valueA || other.trim() !== valueB)) continue;
    const isAbsent = valueA === ""; // it is there on one side alone
    if (isAbsent && one.includes(valueB)) continue;
    const maskedA = isAbsent ? one : one.replaceAll(valueA, MASK);
    const maskedB = other.replaceAll(valueB, isAbsent ? "" : MASK);
    causes.push({ class: kind, detail: `${what}: ${short(valueA)} and ${short(valueB)}` });
    [one, other] = [maskedA, maskedB];
  }
  if (one === other && causes.length > 0) return causes;
  for (const mask of MASKS) {
    const [inA, inB] = [one.match(mask.pattern) ?? [], other.match(mask.pattern) ?? []];
    if (inA.length === 0 || inB.length === 0) continue;
    const differs = inA.length !== inB.length || inA.some((value, at) => value !== inB[at]);
    if (!differs) continue;
    const [maskedA, maskedB] = [one.replace(mask.pattern, MASK), other.replace(mask.pattern, MASK)];
    const path = mask.what === RANDOM ? pathDiffers(one, other) : null;
    if (path !== null) return [...causes, path];
    // A pattern that leaves the lines as different as they were explains nothing: it met something else by chance.
    if (maskedA !== maskedB && distance(maskedA, maskedB) >= distance(one, other)) continue;
    const at = inA.findIndex((value, index) => value !== inB[index]);
    const [valueA = "", valueB = ""] = [inA[Math.max(0, at)], inB[Math.max(0, at)]];
    if (!causes.some((cause) => cause.class === mask.class))
      causes.push(
        asHost(a, valueA, valueB) ?? {
          class: mask.class,
          detail: `${mask.what}: ${short(valueA)} and ${short(valueB)}`,
        },
      );
    [one, other] = [maskedA, maskedB];
    if (one === other) return causes;
  }
  if (causes.length > 0) return causes;
  const path = pathDiffers(one, other);
  if (path !== null) return [path];
  for (const { class: kind, what, pattern } of WORDS)
    if (pattern.test(one) && pattern.test(other))
      return [{ class: kind, detail: `${what}: ${short(one.trim())} and ${short(other.trim())}` }];
  return null;
}
const MASK = "\u0000";

/** Containers are called by 12 digits of their id. */
function asHost(line: string, a: string, b: string): Cause | null {
  if (!/^[0-9a-f]{12}$/.test(a) || !/^[0-9a-f]{12}$/.test(b)) return null;
  if (!/host|node/i.test(line) && line.trim() !== a) return null;
  return { class: "host-name", detail: `the host name: ${a} and ${b}` };
}

/** Characters between the equal beginning and the equal end of two lines, of both. */
function distance(a: string, b: string): number {
  const [start, end] = middle(a, b);
  return Math.max(0, a.length - start - end) + Math.max(0, b.length - start - end);
}

function middle(a: string, b: string): readonly [start: number, end: number] {
  const most = Math.min(a.length, b.length);
  let start = 0;
  while (start < most && a[start] === b[start]) start++;
  let end = 0;
  while (end < most - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  return [start, end];
}

/** The differing part is within absolute paths on both sides. */
function pathDiffers(a: string, b: string): Cause | null {
  const [start] = middle(a, b);
  const [one, other] = [wordAt(a, start), wordAt(b, start)];
  const isPath = (word: string): boolean => /(?:^|[=:,(])(?:file:\/\/)?\/[^/]+\/./.test(word);
  if (!isPath(one) || !isPath(other)) return null;
  return { class: "build-path", detail: `a path: ${short(one)} and ${short(other)}` };
}

function wordAt(line: string, at: number): string {
  let from = at;
  while (from > 0 && !/[\s"'<>|\0]/.test(line[from - 1] as string)) from--;
  let to = at;
  while (to < line.length && !/[\s"'<>|\0]/.test(line[to] as string)) to++;
  return line.slice(from, to);
}

/** Words that are sorted and compared. */
const WORDS_MAX = 200_000;
function wordsOf(text: string): string[] {
  return text.split(/[\s,;{}[\]()]+/).filter((word) => word !== "");
}

/** The same parts in another order. */
function orderOf(a: readonly string[], b: readonly string[]): Cause | null {
  if (a.length !== b.length || a.length < 2 || a.length > WORDS_MAX) return null;
  const [one, other] = [a.toSorted(), b.toSorted()];
  if (one.some((part, at) => part !== other[at])) return null;
  const at = a.findIndex((part, index) => part !== b[index]);
  const detail = `the same parts in another order, from ${short((a[at] ?? "").trim())} and ${short((b[at] ?? "").trim())} on`;
  if (isCollated(a, b) || isCollated(b, a))
    return { class: "locale", detail: `sorted by the rules of another locale: ${detail}` };
  const paths = a.filter((part) => /^[\w.@+/-]+$/.test(part.trim()));
  const isNames = paths.length === a.filter((part) => part.trim() !== "").length;
  return { class: isNames && looksLikeFiles(paths) ? "member-order" : "unordered-output", detail };
}

/** Names of files: with a slash or an extension, most of them. */
function looksLikeFiles(names: readonly string[]): boolean {
  const few = names.filter((name) => /\/|\.\w{1,6}$/.test(name.trim()));
  return few.length * 2 > names.length;
}

/** One is sorted by bytes, the other without regard to case. */
function isCollated(bytes: readonly string[], other: readonly string[]): boolean {
  const parts = bytes.filter((part) => part !== "");
  const others = other.filter((part) => part !== "");
  const isSorted = (list: readonly string[], key: (text: string) => string): boolean =>
    list.every((part, at) => at === 0 || key(list[at - 1] as string) <= key(part));
  return (
    isSorted(parts, (text) => text) &&
    isSorted(others, (text) => text.toLowerCase()) &&
    !isSorted(others, (text) => text)
  );
}

/** A value for a sentence. */
export function short(text: string): string {
  const clean = text.replace(/[\u0000-\u001f\u007f-\u009f]/g, "\uFFFD");
  return JSON.stringify(clean.length > 60 ? `${clean.slice(0, 57)}…` : clean);
}
