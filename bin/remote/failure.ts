// Errors of a builder as the user's: BuildKit's details say where in the Dockerfile, which step, and with which exit code.

import type { SourceText } from "../engine/request.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import { BuildError, printable, type SourceRange } from "../../solver/graph/error.ts";
import type { RpcError } from "../wire/status.ts";
import { rangeOf } from "./progress.ts";

const MESSAGE_MAX_CHARS = 16_000;
/** A message and its hint. */
const HINTED = /^(?:([^\n]+)\n([^\n]+)|([^\n]+) \((did you mean [^\n]+\?)\))$/;

export interface FailureContext {
  readonly onSource: (source: SourceText) => void;
  readonly stepOf: (vertex: string) => Digest | null;
  /** tsbuildd puts the hint of an error on a line of its own, or a proposal in brackets, as BuildKit does. */
  readonly isOurs: boolean;
}

/** The error a build ended with. */
export function buildFailure(error: RpcError, { onSource, stepOf, isOurs }: FailureContext): BuildError {
  let at: SourceRange | null = null;
  let vertex: Digest | null = null;
  let exitCode: number | null = null;
  for (const { typeUrl, value } of error.details) {
    const name = /([A-Za-z]+)\+json$/.exec(typeUrl)?.[1] ?? "";
    const detail = jsonOf(value);
    switch (name) {
      case "Source": {
        const found = sourceIn(detail);
        if (found === null) break;
        onSource(found.source);
        at ??= found.at;
        break;
      }
      case "Vertex":
        if (typeof detail["digest"] === "string") vertex ??= stepOf(detail["digest"]);
        break;
      case "ExitMessage":
        exitCode ??= typeof detail["Code"] === "number" ? detail["Code"] : null;
        break;
      default: // of no use to who reads the message
    }
  }
  const text =
    printable(error.message, MESSAGE_MAX_CHARS) || `the builder ended the build (code ${error.code})`;
  const [, message = text, hint = null] =
    (isOurs ? HINTED.exec(text)?.filter((part) => part !== undefined) : null) ?? [];
  return new BuildError("EXEC_FAILED", message, { at, vertex, exitCode, hint, cause: error });
}

interface FoundSource {
  readonly source: SourceText;
  readonly at: SourceRange | null;
}

function sourceIn(detail: Readonly<Record<string, unknown>>): FoundSource | null {
  const info = objectOf(detail["info"]);
  const file = typeof info["filename"] === "string" ? info["filename"] : "Dockerfile";
  if (typeof info["data"] !== "string") return null;
  const text = Buffer.from(info["data"], "base64").toString("utf8");
  const ranges = Array.isArray(detail["ranges"]) ? detail["ranges"].map(objectOf) : [];
  const lines = ranges.flatMap((range) => {
    const [first, last] = [range["start"], range["end"]].map((one) => Number(objectOf(one)["line"] ?? 0));
    return first === undefined || !(first > 0) ? [] : [[first, last ?? first] as const];
  });
  if (lines.length === 0) return { source: { file, text }, at: null };
  const first = Math.min(...lines.map(([line]) => line));
  const last = Math.max(...lines.map(([, line]) => line));
  return { source: { file, text }, at: rangeOf(file, first, last) };
}

function jsonOf(value: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    return objectOf(JSON.parse(Buffer.from(value).toString("utf8")));
  } catch {
    return {}; // details are an extra
  }
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
