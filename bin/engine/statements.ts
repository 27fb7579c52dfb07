// In-toto statements that steps have written: what frontends and SBOM scanners say of an image. BuildKit: exporter/attestation/unbundle.go and
// make.go. Whoever wrote them is not trusted (threat model D9): everything is bounded, and no link is followed out of the result.

import { posix } from "node:path";
import type { Attestation, SelfSubject, Subject } from "../../exporters/contract.ts";
import { SPDX_PREDICATE } from "../../exporters/attestation/grammar.ts";
import { memberText } from "../../exporters/attestation/json-text.ts";
import { STATEMENT_MAX_BYTES } from "../../exporters/attestation/statement.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { LookAnswer, TreeQuestion } from "../../worker/keeper/messages.ts";
import type { Supplement } from "./sbom-supplement.ts";

/** Statements of one bundle, and bytes of all attestations of an image; more are refused. */
const BUNDLE_MAX_FILES = 1000;
const ALL_MAX_BYTES = 256 << 20;

/** What is to be read as attestations. */
export type Written =
  /** A directory whose files are statements. `predicateType`: of each of them; "": any. */
  | { readonly kind: "bundle"; readonly path: string; readonly predicateType: string }
  /** A file that is a predicate. No subjects: what is attested itself. */
  | {
      readonly kind: "in-toto";
      readonly path: string;
      readonly predicateType: string;
      readonly subjects: readonly (Subject | SelfSubject)[];
    };

export interface WrittenBy {
  /** For messages: "the SBOM scanner docker.io/x/y:1", "a frontend". */
  readonly who: string;
  /** Name (without extensions) of the bill of materials of the image itself; null: none is. */
  readonly core: string | null;
  readonly inlineOnly: boolean;
  /** Looks into the result, where paths are resolved within it. */
  readonly look: (path: string, question: TreeQuestion) => Promise<LookAnswer>;
  readonly supplement: Supplement;
  /** What may still be read for the image. */
  readonly budget: ReadBudget;
}

/** Counts what is read for one image. */
export interface ReadBudget {
  bytes: number;
}

export function readBudget(): ReadBudget {
  return { bytes: ALL_MAX_BYTES };
}

/** Reads them. Throws OUTPUT_INVALID, LIMIT_EXCEEDED, and what looking throws. */
export async function attestationsIn(written: Written, by: WrittenBy): Promise<readonly Attestation[]> {
  if (written.kind === "bundle") return await unbundled(written, by);
  const { path, predicateType, subjects } = written;
  const name = posix.basename(path);
  const shown = shownName(by, path);
  if (name === "" || name === "." || name === "..")
    throw new BuildError("OUTPUT_INVALID", `${shown} is not the name of a file`);
  checkPredicateType(predicateType, shown);
  const text = await textOf(path, shown, by);
  if (text.trim() !== "") parsed(text, shown);
  const predicate = text.trim() === "" ? "null" : text;
  return [attestation({ name, predicateType, predicate, subjects }, by)];
}

async function unbundled(
  { path, predicateType }: Extract<Written, { kind: "bundle" }>,
  by: WrittenBy,
): Promise<readonly Attestation[]> {
  const listed = await by.look(path === "" ? "/" : path, { kind: "list", pattern: "" });
  const entries = listed.kind === "list" ? listed.entries : [];
  if (entries.length > BUNDLE_MAX_FILES)
    throw new BuildError(
      "LIMIT_EXCEEDED",
      `${by.who} has written ${entries.length} files, more than ${BUNDLE_MAX_FILES}`,
    );
  const found: Attestation[] = [];
  for (const { name, type } of entries) {
    const shown = shownName(by, name);
    if (type !== "file")
      throw new BuildError(
        "OUTPUT_INVALID",
        `${shown} is a ${type}, and only regular files can be statements`,
      );
    const text = await textOf(posix.join("/", path, name), shown, by);
    const statement = statementIn(text, shown);
    if (predicateType !== "" && statement.predicateType !== predicateType)
      throw new BuildError(
        "OUTPUT_INVALID",
        `${shown} is a statement of type ${printable(statement.predicateType, 100)}, and ${predicateType} was asked for`,
      );
    checkPredicateType(statement.predicateType, shown);
    found.push(attestation({ name, ...statement }, by));
  }
  return found;
}

/** In one line, whatever the name is. */
function shownName({ who }: WrittenBy, name: string): string {
  return `${printable(JSON.stringify(name).slice(1, -1), 100)}, written by ${who},`;
}

async function textOf(path: string, shown: string, { look, budget }: WrittenBy): Promise<string> {
  const maxBytes = Math.min(STATEMENT_MAX_BYTES, budget.bytes);
  const read = await look(path, { kind: "file", offset: 0, length: null, maxBytes }).catch(
    (error: unknown) => {
      if (!(error instanceof BuildError) || error.code !== "LIMIT_EXCEEDED") throw error;
      const words =
        maxBytes === STATEMENT_MAX_BYTES
          ? `${shown} is larger than ${STATEMENT_MAX_BYTES >> 20} MiB`
          : `${shown} is one too many: the attestations of an image are larger than ${ALL_MAX_BYTES >> 20} MiB`;
      throw new BuildError("LIMIT_EXCEEDED", words, { cause: error });
    },
  );
  const data = read.kind === "file" ? read.data : new Uint8Array(0);
  budget.bytes -= data.length;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(data);
  } catch (cause) {
    throw new BuildError("OUTPUT_INVALID", `${shown} is not text in UTF-8`, { cause });
  }
}

function parsed(text: string, shown: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new BuildError("OUTPUT_INVALID", `${shown} is not JSON`, { cause });
  }
}

interface Statement {
  readonly predicateType: string;
  /** JSON text. */
  readonly predicate: string;
  readonly subjects: readonly (Subject | SelfSubject)[];
}

function statementIn(text: string, shown: string): Statement {
  const read = parsed(text, shown);
  const { predicateType, subject } = (typeof read === "object" && read !== null ? read : {}) as Readonly<
    Record<string, unknown>
  >;
  const subjects = subject ?? [];
  if (typeof predicateType !== "string" || predicateType === "" || !isSubjects(subjects))
    throw new BuildError("OUTPUT_INVALID", `${shown} is not an in-toto statement`, {
      hint: "a statement is an object with predicateType, predicate and a list of subjects",
    });
  return {
    predicateType,
    predicate: memberText(text, "predicate") ?? "null",
    subjects: subjects.map(({ name, digest }) => ({ name: name || "_", digest: { ...digest } })),
  };
}

interface SubjectFields {
  readonly name?: string | null;
  readonly digest?: Readonly<Record<string, string>> | null;
}

function isSubjects(value: unknown): value is readonly SubjectFields[] {
  const isText = (one: unknown): boolean => one === undefined || one === null || typeof one === "string";
  return (
    Array.isArray(value) &&
    value.every((one: unknown) => {
      if (typeof one !== "object" || one === null) return false;
      const { name, digest = null } = one as Readonly<Record<string, unknown>>;
      if (!isText(name) || typeof digest !== "object" || Array.isArray(digest)) return false;
      return Object.values(digest ?? {}).every((hex) => typeof hex === "string");
    })
  );
}

/** Provenance is what the builder has seen, and nobody else's. */
function checkPredicateType(predicateType: string, shown: string): void {
  if (!predicateType.startsWith("https://slsa.dev/provenance/")) return;
  throw new BuildError("OUTPUT_INVALID", `${shown} is provenance, which only the builder can attest`);
}

function attestation(
  { name, predicateType, predicate, subjects }: Statement & { readonly name: string },
  { core, inlineOnly, supplement }: WrittenBy,
): Attestation {
  const isCore = predicateType === SPDX_PREDICATE && isNamed(name, core);
  return {
    ...{ predicateType, filename: name, inlineOnly },
    predicate: async (image) => (isCore ? await supplement(predicate, image) : predicate),
    ...(subjects.length === 0 ? {} : { subjects }),
  };
}

function isNamed(filename: string, core: string | null): boolean {
  return core !== null && filename.split(".", 1)[0] === core;
}

/** The bill of materials of the image itself before others. */
export function coreFirst(found: readonly Attestation[], core: string | null): readonly Attestation[] {
  const isCore = ({ filename }: Attestation): boolean => isNamed(filename, core);
  return [...found.filter(isCore), ...found.filter((one) => !isCore(one))];
}
