// Changes of a Dockerfile for causes whose remedy is mechanical, as a patch. Only RUN instructions in shell form are changed, and only where the
// change keeps their meaning; what is left is for people.

import { parseDockerfile } from "../../../frontend/parse.ts";
import type { Instruction } from "../../../frontend/instruction.ts";
import type { CauseClass } from "./classes.ts";
import type { SourceFile } from "./contract.ts";
import type { Finding } from "./findings.ts";
import { type Edit, unifiedDiff } from "./patch.ts";

export interface Fixes {
  /** Unified diff; "": nothing can be changed mechanically. */
  readonly patch: string;
  /** Causes that the patch is for. */
  readonly fixed: readonly Finding[];
  /** Those it is not for. */
  readonly left: readonly Finding[];
  /** Of these: why a change that others get is not made, and what to do; one sentence each. */
  readonly remarks: readonly string[];
}

/** What is done to one instruction. */
interface Remedy {
  /** Lines before it. */
  readonly before?: readonly string[];
  /** Paths that its end removes. */
  readonly remove?: readonly string[];
  /** Its text in place of the old one. */
  readonly text?: string;
}

/** null: there is none for this command. */
type Fixer = (text: string, finding: Finding) => Remedy | null;

/** Proposes a patch. */
export async function proposeFixes(source: SourceFile, findings: readonly Finding[]): Promise<Fixes> {
  const { instructions } = await parseDockerfile(source.name, Buffer.from(source.text));
  const lines = source.text.split("\n");
  const byLine = new Map<number, Finding[]>();
  for (const finding of findings) {
    const { line } = finding.step?.place ?? {};
    if (line !== undefined) byLine.set(line, [...(byLine.get(line) ?? []), finding]);
  }
  const edits: Edit[] = [];
  const fixed: Finding[] = [];
  /** Of the stage: what is declared there is not declared again. */
  let declared = new Set<string>();
  for (const instruction of instructions) {
    if (instruction.kind === "from") declared = new Set();
    if (instruction.kind === "arg")
      for (const { key, value } of instruction.args)
        declared.add(value === null ? `ARG ${key}` : `ARG ${key}=${value}`).add(`ARG ${key}`);
    const own = byLine.get(instruction.at.start.line) ?? [];
    if (own.length === 0 || !isChangeable(instruction)) continue;
    const [start, end] = [instruction.at.start.line - 1, instruction.at.end.line];
    const edit = editOf(lines.slice(start, end), own, { fixed, declared });
    if (edit !== null) edits.push({ start, end, lines: edit });
  }
  const left = findings.filter((finding) => !fixed.includes(finding));
  const onBusybox = left.filter((one) => one.tar === "busybox" && ARCHIVED.has(one.class));
  const remarks = onBusybox.map(
    ({ step }) =>
      `${source.name}:${step?.place?.line}: the tar of this step is busybox's, which has no --sort and no --mtime: ` +
      "install GNU tar, or use 'find … | LC_ALL=C sort | tar -cf FILE -T -' after touch",
  );
  return { patch: unifiedDiff(source.name, lines, edits), fixed, left, remarks: [...new Set(remarks)] };
}

/** Classes whose remedy may be flags of tar. */
const ARCHIVED: ReadonlySet<CauseClass> = new Set(["file-times", "member-order"]);

function isChangeable(instruction: Instruction): boolean {
  return (
    instruction.kind === "run" && instruction.command.form === "shell" && instruction.heredocs.length === 0
  );
}

/** The instruction's new lines; null: nothing can be done. Adds what it is for to `fixed`, and what it declares to `declared`. */
function editOf(
  lines: readonly string[],
  findings: readonly Finding[],
  { fixed, declared }: { readonly fixed: Finding[]; readonly declared: Set<string> },
): readonly string[] | null {
  const before = new Set<string>();
  const remove = new Set<string>();
  let text = lines.join("\n");
  const isOpen = /[;&|]\s*$|\s#[^\n]*$/.test(text); // nothing can be added to its end
  for (const finding of findings) {
    const remedy = FIXERS[finding.class]?.(text, finding) ?? null;
    if (remedy === null || (remedy.remove !== undefined && isOpen)) continue;
    for (const line of remedy.before ?? []) before.add(line);
    for (const path of remedy.remove ?? []) remove.add(path);
    text = remedy.text ?? text;
    fixed.push(finding);
  }
  if (remove.size > 0) {
    const command = `&& rm -rf ${[...remove].join(" ")}`;
    text = lines.length === 1 ? `${text.trimEnd()} ${command}` : `${text.trimEnd()} \\\n    ${command}`;
  }
  const changed = [...[...before].filter((line) => !declared.has(line)), ...text.split("\n")];
  for (const line of before) declared.add(line);
  return changed.join("\n") === lines.join("\n") ? null : changed;
}

/** Where a command begins: behind RUN and its flags, an operator, or an opening parenthesis. */
const COMMAND = String.raw`(^RUN\s+(?:--\S+\s+)*|[;&|(\x60]\s*|\n\s*(?:&&\s*)?)`;

/** Replaces commands in a text; null: there is none. */
function replaced(
  text: string,
  command: string,
  by: (match: string, ...groups: string[]) => string,
): Remedy | null {
  const pattern = new RegExp(`${COMMAND}${command}`, "gi");
  const changed = text.replace(
    pattern,
    (match: string, begin: string, ...groups: string[]) => begin + by(match.slice(begin.length), ...groups),
  );
  return changed === text ? null : { text: changed };
}

const TAR_FLAGS = "--sort=name --mtime=@${SOURCE_DATE_EPOCH:-0} --owner=0 --group=0 --numeric-owner";

/** Creating archives: "tar cf", "tar -czf". */
const sortedTar: Fixer = (text, { tar }) => {
  if (tar === "busybox") return null;
  if (text.includes(TAR_FLAGS)) return { text }; // for another cause of the same step
  if (text.includes("--sort=name")) return null;
  const remedy = replaced(text, String.raw`tar\s+-?([a-zA-Z]*c[a-zA-Z]*)\b`, (match, flags = "") =>
    flags.includes("c") ? `tar ${TAR_FLAGS} -${flags}` : match,
  );
  return remedy === null ? null : { ...remedy, before: ["ARG SOURCE_DATE_EPOCH"] };
};

const REMOVED: readonly { readonly within: RegExp; readonly path: string }[] = [
  { within: /^var\/lib\/apt\/lists(?:\/|$)/, path: "/var/lib/apt/lists/*" },
  { within: /^var\/cache\/apt(?:\/|$)/, path: "/var/cache/apt/*" },
  { within: /^var\/cache\/debconf\/.*-old$/, path: "/var/cache/debconf/*-old" },
  { within: /^var\/lib\/dpkg\/.*-old$/, path: "/var/lib/dpkg/*-old" },
  { within: /^var\/cache\/apk(?:\/|$)/, path: "/var/cache/apk/*" },
  { within: /^var\/cache\/(?:dnf|libdnf5)(?:\/|$)/, path: "/var/cache/dnf /var/cache/libdnf5" },
  { within: /^var\/cache\/yum(?:\/|$)/, path: "/var/cache/yum" },
  { within: /^var\/cache\/ldconfig(?:\/|$)/, path: "/var/cache/ldconfig/aux-cache" },
  { within: /^var\/log(?:\/|$)/, path: "/var/log/*" },
  { within: /^root\/\.npm\/_logs(?:\/|$)/, path: "/root/.npm/_logs" },
];

/** Removes what nothing needs: all files have to be such. */
const removed: Fixer = (_, { files }) => {
  const paths = files.map((file) => REMOVED.find(({ within }) => within.test(file))?.path);
  return paths.length === 0 || paths.includes(undefined)
    ? null
    : { remove: paths.flatMap((path) => path ?? []) };
};

const FIXERS: Readonly<Partial<Record<CauseClass, Fixer>>> = {
  "log-file": removed,
  "package-state": removed,
  "ldconfig-cache": removed,
  "python-bytecode": () => ({ before: ["ARG PYTHONDONTWRITEBYTECODE=1"] }),
  "gzip-header": (text) => replaced(text, String.raw`gzip\b(?! -\w*n)`, () => "gzip -n"),
  "ar-times": (text) =>
    replaced(
      text,
      String.raw`ar\s+(-?)([a-zA-Z]*[rq][a-zA-Z]*)\b`,
      (_, dash, letters) => `ar ${dash}${letters}${letters.includes("D") ? "" : "D"}`,
    ) ?? (/\bmake\b/.test(text) ? { before: ["ARG ARFLAGS=rvD"] } : null),
  "file-times": (text, finding) => (/in the tar\b/.test(finding.detail) ? sortedTar(text, finding) : null),
  "member-order": (text, finding) =>
    replaced(text, String.raw`ls\s+-([a-zA-Z]*[Uf][a-zA-Z]*)\b`, (_, flags) => {
      const kept = flags.replace(/[Uf]/g, "");
      return kept === "" ? "ls" : `ls -${kept}`;
    }) ??
    sortedTar(text, finding) ??
    replaced(
      text,
      String.raw`find\s(?![^|;&>)\n]*(?:-exec|-delete|-print0|sort))[^|;&>)\n]*[^|;&>)\s\\]`,
      (match) => `${match} | LC_ALL=C sort`,
    ),
  "date-text": (text) => {
    const fixed = replaced(
      text,
      String.raw`date\b(?![^|;&)\n]*\s-d)`,
      () => "date -u -d @${SOURCE_DATE_EPOCH:-0}",
    );
    return fixed === null ? null : { ...fixed, before: ["ARG SOURCE_DATE_EPOCH"] };
  },
  locale: (_, { detail }) => ({
    before: detail.includes("time zone") ? ["ARG TZ=UTC"] : ["ARG LC_ALL=C.UTF-8", "ARG LANG=C.UTF-8"],
  }),
  "unordered-output": (text) =>
    replaced(
      text,
      String.raw`make\b([^|;&\n]*?)\s(?:-j\s*|--jobs=)(?:\$\([^)]*\)|\$\{?\w+\}?|\d+)?`,
      (_, before) => `make${before} -j1`,
    ) ??
    replaced(
      text,
      String.raw`xargs\b([^|;&\n]*?)\s-P\s*(?:\$\([^)]*\)|\d+)`,
      (_, before) => `xargs${before} -P1`,
    ),
  "elf-build-id": (text) =>
    /\bmake\b|\b(?:gcc|cc|clang|ld)\b/.test(text) ? { before: ["ARG LDFLAGS=-Wl,--build-id=none"] } : null,
};
