// Which layers a docker daemon has already, so that `docker load` need not be sent them.
//
// With its own storage drivers docker reads the file of a layer only if it has none with that chain of diffIDs (moby,
// image/tarexport/load.go), so an archive may come without files of layers that an image of the daemon begins with. With containerd's image
// store blobs are known by their compressed digests, which docker's commands do not tell: everything is sent.

import { runProgram } from "../cache/program.ts";
import { type Digest, isDigest } from "../solver/graph/digest.ts";

export interface DockerOptions {
  /** Command of docker's client. */
  readonly docker: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** A daemon that does not answer soon is sent everything. */
const TOTAL_MS = 5_000;
const OUTPUT_MAX_BYTES = 16 << 20;
/** Of so many images layers are looked up. */
const IMAGES_MAX = 2_000;

/** How many of the first layers docker has, for a list of diffIDs. 0 also when it cannot be found out. Throws signal.reason. */
export async function layersInDocker(diffIds: readonly Digest[], options: DockerOptions): Promise<number> {
  const info = await ask(["info", "--format", "{{json .DriverStatus}}"], options);
  if (info === null || info.includes("io.containerd.")) return 0;
  const images = await ask(["image", "ls", "--all", "--quiet", "--no-trunc"], options);
  const ids = [...new Set(images?.split("\n").filter(isDigest))].slice(0, IMAGES_MAX);
  if (ids.length === 0) return 0;
  // One that was removed meanwhile makes it fail: then everything is sent.
  const lists = await ask(["image", "inspect", "--format", "{{json .RootFS.Layers}}", ...ids], options);
  let most = 0;
  for (const line of lists?.split("\n") ?? []) {
    const layers = layersIn(line);
    let same = 0;
    while (same < diffIds.length && layers[same] === diffIds[same]) same++;
    most = Math.max(most, same);
  }
  return most;
}

function layersIn(line: string): readonly unknown[] {
  try {
    const layers: unknown = JSON.parse(line);
    return Array.isArray(layers) ? layers : [];
  } catch {
    return [];
  }
}

async function ask(args: readonly string[], { docker, env, signal }: DockerOptions): Promise<string | null> {
  try {
    const options = { env, signal, totalMs: TOTAL_MS, outputMaxBytes: OUTPUT_MAX_BYTES };
    const { end, code, output } = await runProgram(docker, args, options);
    return end === "exit" && code === 0 ? output.toString("utf8") : null;
  } catch {
    signal.throwIfAborted();
    return null; // there is no such program
  }
}
