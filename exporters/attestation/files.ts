// Statements about exported files, as files beside them. BuildKit: exporter/local/fs.go.

import { posix } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import type { Attestation, FilesTree, Subject } from "../contract.ts";
import { reformatJson } from "./json-text.ts";
import { statementText, subjectsOf } from "./statement.ts";

export interface StatementNames {
  /** Before the name of each file. */
  readonly prefix: string;
  /** Before its extension: ".linux_amd64" where files of several platforms are in one place; "": nothing. */
  readonly suffix: string;
  /** Times of the files are at most this; null: there is no limit. */
  readonly epochSeconds: number | null;
}

/** A file for each attestation, indented; `files`: what the tree holds. Throws OUTPUT_FAILED where a name is taken. */
export async function statementFiles(
  attestations: readonly Attestation[],
  files: readonly Subject[],
  { prefix, suffix, epochSeconds }: StatementNames,
): Promise<FilesTree["more"]> {
  const made: { name: string; data: Uint8Array }[] = [];
  for (const attestation of attestations) {
    const { filename, predicateType, predicate } = attestation;
    const { name: base, ext } = posix.parse(`${prefix}${filename}`);
    const name = `${base}${suffix}${ext}`;
    if (made.some((one) => one.name === name))
      throw new BuildError("OUTPUT_FAILED", `duplicate attestation path name ${name}`);
    if (files.some((one) => one.name === name))
      throw new BuildError("OUTPUT_FAILED", `the attestation ${name} would replace a file of the result`, {
        hint: "add attestation-prefix=PREFIX to the output, or filename=NAME to --provenance",
      });
    const said = await predicate({ layers: null, createdSeconds: epochSeconds });
    const text = statementText(predicateType, subjectsOf(attestation, files), said);
    made.push({ name, data: Buffer.from(reformatJson(text, 2)) });
  }
  return made;
}
