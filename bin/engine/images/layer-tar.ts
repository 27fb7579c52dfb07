// Is a tar one that can be a layer? What no runtime can unpack is refused before it is in an image. image-spec layer.md, "Layer Changesets".

import { closeSync } from "node:fs";
import { isArchive } from "../../../cache/layers/archive.ts";
import { cleanName, shownName } from "../../../cache/layers/names.ts";
import { type TarEntry, tarReader } from "../../../cache/layers/tar.ts";
import { openGiven } from "../../../cache/outside.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import { copyPlain } from "../archives.ts";

/** Reads a tar, which may be compressed. `shown`: what the user wrote. Throws ARCHIVE_INVALID with the member that is wrong. */
export async function checkLayerTar(path: string, shown: string, signal: AbortSignal): Promise<void> {
  const fd = openGiven(path);
  try {
    if (!(await isArchive(fd))) throw new BuildError("ARCHIVE_INVALID", `--file: ${shown} is not a tar`);
  } finally {
    closeSync(fd);
  }
  let last: Buffer | null = null;
  const reader = tarReader({
    entry(entry) {
      last = entry.name;
      checkMember(entry, shown);
    },
    data: () => {},
    end: () => {},
  });
  try {
    await copyPlain(path, signal, (chunk) => {
      if (!reader.ended) reader.push(chunk);
    });
    reader.finish();
  } catch (error) {
    if (
      !(error instanceof BuildError) ||
      error.code !== "ARCHIVE_INVALID" ||
      error.message.startsWith("--file")
    )
      throw error;
    const where = last === null ? "at its first member" : `at or behind the member ${shownName(last)}`;
    throw new BuildError("ARCHIVE_INVALID", `--file: ${shown}: ${where}: ${error.message}`, { cause: error });
  }
}

function checkMember({ name, linkName, type }: TarEntry, shown: string): void {
  const refuse = (why: string): never => {
    throw new BuildError("ARCHIVE_INVALID", `--file: ${shown}: the member ${shownName(name)} ${why}`, {
      hint: "names in a layer are relative to the root of the image: tar -C DIR -cf FILE .",
    });
  };
  checkName(name, "has", refuse);
  // A symbolic link may lead anywhere: it is followed within the container.
  if (type === "link") checkName(linkName, "is a link to a file with", refuse);
  cleanName(name, "layer", refuse);
}

function checkName(name: Buffer, verb: string, refuse: (why: string) => never): void {
  const text = name.toString("latin1");
  if (text === "") refuse(`${verb} no name`);
  if (text.startsWith("/")) refuse(`${verb} an absolute name`);
  if (text.split("/").includes("..")) refuse(`${verb} a name with ".."`);
}
