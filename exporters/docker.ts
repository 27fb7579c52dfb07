// What docker needs in addition to an OCI layout, and loading images into it (or into podman).

import { endOf } from "../cache/program.ts";
import { familiarReference, parseReference } from "../cache/registry/reference.ts";
import { blobPath } from "../cache/registry/layout.ts";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError, printable } from "../solver/graph/error.ts";
import type { Assembled } from "./assembled.ts";
import { writeToStream } from "./file-output.ts";
import { encodeGoJson } from "./go-json.ts";
import type { MadeImage } from "./image.ts";
import { isAttestation } from "./stored.ts";

/** Loaders in the order they are tried. */
export const LOADERS: readonly (readonly string[])[] = [
  ["docker", "load"],
  ["podman", "load"],
];

const MESSAGE_MAX_BYTES = 64 << 10;

/** An image and its names in an archive. */
export interface NamedImage {
  readonly assembled: Assembled;
  readonly names: readonly string[];
}

/** manifest.json of `docker save`. It knows no images of several platforms: those are in the index alone, but for an index of which one
 *  platform is here. */
export function dockerManifest(all: readonly NamedImage[]): Uint8Array {
  return dockerEntries(
    all.flatMap(({ assembled, names }) => {
      const image = dockerImage(assembled);
      if (image === null) return [];
      return [
        {
          config: image.config.descriptor.digest,
          layers: image.layers.map(({ descriptor }) => descriptor.digest),
          names: names.map((name) => familiarReference(parseReference(name))),
        },
      ];
    }),
  );
}

/** The image that docker's manifest.json has; null: there are several, or none. */
export function dockerImage({ images }: Pick<Assembled, "images">): MadeImage | null {
  const [image, ...more] = images.filter(({ manifest }) => !isAttestation(manifest.descriptor));
  return image === undefined || more.length > 0 ? null : image;
}

/** One image of `docker save`; names as docker prints them. */
export interface DockerEntry {
  readonly config: Digest;
  readonly layers: readonly Digest[];
  readonly names: readonly string[];
}

/** The paths of config and layers, and short names (null without one). */
export function dockerEntries(entries: readonly DockerEntry[]): Uint8Array {
  return encodeGoJson(
    entries.map(({ config, layers, names }) => ({
      Config: blobPath(config),
      RepoTags: names.length === 0 ? null : names,
      Layers: layers.map(blobPath),
    })),
  );
}

export interface LoadOptions {
  readonly commands: readonly (readonly string[])[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/**
 * Pipes a docker tar into the first of the programs that exists, and returns what it printed. Throws OUTPUT_FAILED when none
 * exists or it fails. The program is ended when the build is cancelled.
 */
export async function loadToDocker(data: AsyncIterable<Uint8Array>, options: LoadOptions): Promise<string> {
  for (const command of options.commands) {
    const loaded = await loadWith(command, data, options);
    if (loaded !== null) return loaded;
  }
  const names = options.commands.map(([name]) => name).join(" nor ");
  throw new BuildError("OUTPUT_FAILED", `cannot load the image: neither ${names} is installed`, {
    hint: "write it to a file instead: -o type=docker,dest=image.tar",
  });
}

/** null: there is no such program; nothing of `data` was read then. */
async function loadWith(
  command: readonly string[],
  data: AsyncIterable<Uint8Array>,
  { env, signal }: LoadOptions,
): Promise<string | null> {
  const [program = "", ...args] = command;
  const { spawn } = process.getBuiltinModule("node:child_process"); // loaded when there is something to start
  const child = spawn(program, args, {
    env: env as NodeJS.ProcessEnv,
    stdio: ["pipe", "pipe", "pipe"],
    detached: true, // endOf() ends the group
  });
  const ending = endOf(child);
  const chunks: Buffer[] = [];
  let size = 0;
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MESSAGE_MAX_BYTES) chunks.push(chunk);
    });
  }
  child.stdin.on("error", () => {}); // told by the exit status
  const started = await new Promise<boolean>((resolve, reject) => {
    child.once("spawn", () => resolve(true));
    child.once("error", (error: NodeJS.ErrnoException) =>
      // EACCES: PATH names a directory this user may not look into.
      error.code === "ENOENT" || error.code === "EACCES" ? resolve(false) : reject(error),
    );
  });
  if (!started) return null;
  const onAbort = () => void ending.stop();
  signal.addEventListener("abort", onAbort, { once: true });
  let failure: Error | null = null;
  try {
    await writeToStream(child.stdin, data, signal);
    child.stdin.end();
  } catch (error) {
    failure = error instanceof Error ? error : new Error(String(error));
    // Half an image must not look like the end of a whole one.
    if (!(error instanceof BuildError && error.code === "OUTPUT_FAILED")) void ending.stop();
    child.stdin.destroy();
  }
  const { code } = await ending.ended;
  signal.removeEventListener("abort", onAbort);
  signal.throwIfAborted();
  const message = printable(Buffer.concat(chunks).toString("utf8").trim(), 2000);
  if (code !== 0) {
    throw new BuildError("OUTPUT_FAILED", `${command.join(" ")} failed: ${message || `exit code ${code}`}`, {
      cause: failure ?? undefined,
      hint: "write the image to a file instead: -o type=docker,dest=image.tar",
    });
  }
  if (failure !== null) throw failure;
  return message;
}
