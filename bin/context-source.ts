// PATH | URL | - and -f: where the context and the Dockerfile come from. Only this file reads standard input for a build.

import { createWriteStream, statSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { BuildError } from "../solver/graph/error.ts";
import { readFileOf } from "../cache/outside.ts";
import type { ContextSource, DockerfileSource } from "./engine/request.ts";
import { DOCKERFILE_MAX_BYTES } from "./engine/context-files.ts";

export interface ContextOptions {
  readonly cwd: string;
  /** Called when it is needed. */
  readonly stdin: () => AsyncIterable<Uint8Array>;
  /** Makes a directory for a context that comes as a tar; removed by who owns it. */
  readonly tempDir: () => string;
  readonly signal: AbortSignal;
}

/** Resolves both. Throws CONTEXT_MISSING, USAGE, LIMIT_EXCEEDED. */
export async function resolveContext(
  context: string,
  file: string | null,
  options: ContextOptions,
): Promise<{ readonly context: ContextSource; readonly dockerfile: DockerfileSource }> {
  if (context === "-") {
    if (file === "-")
      throw new BuildError("USAGE", "context and Dockerfile cannot both be read from standard input");
    return readStdinContext(file, options);
  }
  const source = contextSource(context, options.cwd);
  if (file === "-")
    return { context: source, dockerfile: { kind: "bytes", data: await readDockerfile(options.stdin()) } };
  return { context: source, dockerfile: dockerfileSource(file, source, options.cwd) };
}

function dockerfileSource(file: string | null, context: ContextSource, cwd: string): DockerfileSource {
  if (file === null || file === "") return { kind: "default" };
  if (/^https?:\/\//.test(file)) return { kind: "remote", url: file };
  // Beside a remote context an absolute path is one of this machine.
  if (context.kind === "remote" && isAbsolute(file)) return { kind: "bytes", data: readLocal(file) };
  return { kind: "path", path: context.kind === "directory" ? resolve(cwd, file) : file };
}

function readLocal(file: string): Uint8Array {
  try {
    return readFileOf(file, DOCKERFILE_MAX_BYTES);
  } catch (cause) {
    if (cause instanceof BuildError && cause.code === "LIMIT_EXCEEDED") throw cause;
    const code = (cause as NodeJS.ErrnoException).code ?? "";
    throw new BuildError("CONTEXT_MISSING", `failed to read dockerfile: open ${file}: ${code}`, { cause });
  }
}

/** As buildx decides: a directory of this machine comes before anything that looks like a URL. */
function contextSource(text: string, cwd: string): ContextSource {
  const path = resolve(cwd, text);
  let found: "directory" | "other" | "missing" = "missing";
  try {
    found = statSync(path).isDirectory() ? "directory" : "other";
  } catch (error) {
    if (!["ENOENT", "ENOTDIR", "ENAMETOOLONG"].includes((error as NodeJS.ErrnoException).code ?? "")) {
      throw new BuildError("CONTEXT_MISSING", `unable to prepare context: path "${text}" cannot be read`, {
        cause: error,
      });
    }
  }
  if (found === "directory" && text !== "") return { kind: "directory", path };
  if (isRemote(text)) return { kind: "remote", url: text };
  if (found === "other")
    throw new BuildError("CONTEXT_MISSING", `unable to prepare context: path "${text}" is not a directory`);
  throw new BuildError("CONTEXT_MISSING", `unable to prepare context: path "${text}" not found`);
}

/** http(s), and the forms git is named in. */
function isRemote(text: string): boolean {
  return /^(?:https?:\/\/|git:\/\/|ssh:\/\/|github\.com\/|[a-zA-Z0-9_.-]+@[^/:]+:)/.test(text);
}

/** "-": a tar (plain, gzip, bzip2, xz, zstd) is a context, anything else a Dockerfile without one. */
async function readStdinContext(
  file: string | null,
  options: ContextOptions,
): Promise<{ context: ContextSource; dockerfile: DockerfileSource }> {
  const input = options.stdin()[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  let ended = false;
  while (head.length < TAR_HEADER_BYTES && !ended) {
    const next = await input.next();
    if (next.done) ended = true;
    else head = Buffer.concat([head, next.value]);
  }
  const all = async function* (): AsyncGenerator<Uint8Array> {
    yield head;
    for (let next = await input.next(); !next.done; next = await input.next()) yield next.value;
  };
  if (!(await isArchive(head))) {
    if (file !== null && file !== "") {
      throw new BuildError(
        "USAGE",
        "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
        { hint: "omit -f, or use a context other than -" },
      );
    }
    const data = await readDockerfile(all());
    if (data.length === 0) throw new BuildError("USAGE", "no Dockerfile on standard input: it is empty");
    return { context: { kind: "empty" }, dockerfile: { kind: "bytes", data } };
  }
  const context: ContextSource = {
    kind: "archive",
    path: join(options.tempDir(), "context.tar"),
    modifiedSeconds: null,
  };
  await pipeline(all, createWriteStream(context.path, { mode: 0o600 }), { signal: options.signal });
  return { context, dockerfile: dockerfileSource(file, context, options.cwd) };
}

const TAR_HEADER_BYTES = 512;

async function isArchive(head: Buffer): Promise<boolean> {
  const { isTarHeader } = await import("../cache/layers/tar-fields.ts");
  if (isTarHeader(head)) return true;
  return ["1f8b08", "425a68", "fd377a585a00", "28b52ffd"].some((magic) =>
    head.toString("hex").startsWith(magic),
  );
}

async function readDockerfile(input: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of input) {
    length += chunk.length;
    if (length > DOCKERFILE_MAX_BYTES) {
      throw new BuildError(
        "LIMIT_EXCEEDED",
        `the Dockerfile is larger than ${DOCKERFILE_MAX_BYTES >> 20} MiB`,
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
