// Errors of builds as clients of BuildKit know them: google.rpc.Status with details in JSON.

import type { SourceText } from "../engine/request.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { CODE, type Detail, RpcError } from "../wire/status.ts";

const ERRDEFS = "github.com/moby/buildkit/errdefs";

/** The status of a failure. A failed build is UNKNOWN, which clients print without a prefix; INTERNAL is kept for faults of the daemon. */
export function statusOf(error: unknown, source: SourceText | null): RpcError {
  if (error instanceof RpcError) return error;
  if (error instanceof Error && error.name === "AbortError")
    return new RpcError(CODE.CANCELLED, "context canceled");
  if (!(error instanceof BuildError))
    return new RpcError(CODE.INTERNAL, error instanceof Error ? error.message : String(error), [], error);
  const details: Detail[] = [];
  if (error.at !== null && source !== null && error.at.file === source.file) {
    const { start, end } = error.at;
    details.push(
      detail("Source", {
        info: {
          filename: source.file,
          data: excerptOf(source.text, start.line, end.line),
          language: "Dockerfile",
        },
        ranges: [{ start: { line: start.line }, end: { line: end.line } }],
      }),
    );
  }
  if (error.vertex !== null) details.push(detail("Vertex", { digest: error.vertex }));
  const hint = error.hint === null ? "" : `\n${error.hint}`;
  return new RpcError(CODE.UNKNOWN, `${error.message}${hint}`, details, error);
}

/** A detail of BuildKit's errors, by the name of its type. */
export function detail(name: string, value: object): Detail {
  return { typeUrl: `${ERRDEFS}.${name}+json`, value: Buffer.from(JSON.stringify(value)) };
}

const LINES_AROUND = 5;

/** Details are headers, which must be small: lines far from the range are empty. Base64. */
function excerptOf(text: string, first: number, last: number): string {
  const lines = text.split("\n").map((line, at) => {
    const number = at + 1;
    return number >= first - LINES_AROUND && number <= last + LINES_AROUND ? line : "";
  });
  return Buffer.from(lines.join("\n")).toString("base64");
}
