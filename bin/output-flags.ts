// --output, --push and --load as one list of outputs, with the paths made absolute.

import { resolve } from "node:path";
import { type Destination, type Output, parseOutput } from "../exporters/output-grammar.ts";
import { BuildError } from "../solver/graph/error.ts";

/** buildx's rules: --push makes image outputs push or adds one, --load adds type=docker. Throws OUTPUT_INVALID, USAGE. */
export function readOutputFlags(
  texts: readonly string[],
  options: {
    readonly push: boolean;
    readonly load: boolean;
    readonly cwd: string;
    /** Told of attributes nobody knows, which do nothing, as in BuildKit. */
    readonly onUnknown: (attribute: string, type: string) => void;
  },
): Output[] {
  let outputs = texts.map((text) => withAbsolutePath(parseOutput(text, options.onUnknown), options.cwd));
  if (options.push) {
    const images = outputs.filter((output) => output.kind === "image");
    outputs = outputs.map((output) => (output.kind === "image" ? { ...output, push: true } : output));
    if (images.length === 0) outputs.push(parseOutput("type=registry"));
  }
  const isLoaded = outputs.some(
    (output) => output.kind === "archive" && output.format === "docker" && output.dest === null,
  );
  if (options.load && !isLoaded) outputs.push(parseOutput("type=docker"));
  const toStdout = outputs.filter((output) => "dest" in output && output.dest?.kind === "client");
  if (toStdout.length > 1) throw new BuildError("USAGE", "only one output can go to standard output");
  return outputs;
}

function withAbsolutePath(output: Output, cwd: string): Output {
  if (output.kind === "archive")
    return { ...output, dest: output.dest === null ? null : absolute(output.dest, cwd) };
  return output.kind === "files" ? { ...output, dest: absolute(output.dest, cwd) } : output;
}

function absolute(dest: Destination, cwd: string): Destination {
  return dest.kind === "path" ? { kind: "path", path: resolve(cwd, dest.path) } : dest;
}
