// Base images that exist in this user's store alone, for a build in another store.

import { loadArchive } from "./engine/archives.ts";
import { findImage } from "./engine/local-images.ts";
import { stagesIn } from "./engine/compare/steps.ts";
import type { BuildRequest, Engine, EngineTransferOptions } from "./engine/request.ts";
import { parseDockerfile } from "../frontend/parse.ts";
import { BuildError } from "../solver/graph/error.ts";

/** Copies the images that the Dockerfile names and this store has. `text`: of the Dockerfile. Throws what saving and loading throw. */
export async function copyLocalImages(
  from: Engine,
  to: Engine,
  {
    text,
    asked,
    archive,
    options,
  }: {
    readonly text: string;
    readonly asked: Pick<BuildRequest, "buildArgs" | "buildContexts" | "platforms">;
    /** A path for an archive. */
    readonly archive: string;
    readonly options: EngineTransferOptions;
  },
): Promise<void> {
  const names = (await namesIn(text, asked)).filter((name) => isHere(from, name));
  if (names.length === 0) return;
  await from.save({ images: names, platform: null, path: archive }, options);
  await loadArchive(to.store, { kind: "file", path: archive }, null, options);
}

function isHere({ store }: Engine, name: string): boolean {
  try {
    findImage(store, name);
    return true;
  } catch (error) {
    if (error instanceof BuildError) return false;
    throw error;
  }
}

/** Names that FROM and --from give and that are no stages and no contexts; with arguments from before the first stage. */
async function namesIn(
  text: string,
  { buildArgs, buildContexts }: Pick<BuildRequest, "buildArgs" | "buildContexts">,
): Promise<readonly string[]> {
  const { instructions } = await parseDockerfile("Dockerfile", Buffer.from(text));
  const args = new Map<string, string>();
  for (const instruction of instructions) {
    if (instruction.kind === "from") break;
    if (instruction.kind !== "arg") continue;
    for (const { key, value } of instruction.args) args.set(key, buildArgs.get(key) ?? value ?? "");
  }
  const expanded = (name: string): string =>
    name.replace(
      /\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))/g,
      (_, braced?: string, initial?: string, bare?: string) =>
        args.get(braced ?? bare ?? "") || (initial ?? ""),
    );
  const stages = new Set(stagesIn(instructions).flatMap(({ name }) => name ?? []));
  const found = new Set<string>();
  for (const instruction of instructions) {
    if (instruction.kind === "from") found.add(expanded(instruction.image));
    for (const { name, value } of instruction.flags) {
      const from =
        name === "from" ? value : name === "mount" ? /(?:^|,)from=([^,]+)/.exec(value ?? "")?.[1] : null;
      if (from) found.add(expanded(from));
    }
  }
  return [...found].filter(
    (name) =>
      name !== "scratch" &&
      !/^\d+$/.test(name) &&
      !stages.has(name.toLowerCase()) &&
      !buildContexts.has(name),
  );
}
