// Provenance in --metadata-file, as buildx writes it there: github.com/docker/buildx, build/provenance.go.

import type { MakeProvenance } from "./engine/request.ts";
import type { Environment } from "./engine/config.ts";
import { BuildError } from "../solver/graph/error.ts";
import { formatPlatformAll } from "../solver/graph/op.ts";

/** Of BUILDX_METADATA_PROVENANCE; null: none is wanted. Throws USAGE. */
export function metadataProvenance(env: Environment): "min" | "max" | null {
  const value = env["BUILDX_METADATA_PROVENANCE"] ?? "";
  switch (value.toLowerCase()) {
    case "":
    case "min":
    case "true":
    case "1":
      return "min";
    case "max":
      return "max";
    case "disabled":
    case "false":
    case "0":
      return null;
    default:
      throw new BuildError("USAGE", `invalid BUILDX_METADATA_PROVENANCE: ${JSON.stringify(value)}`, {
        hint: 'use "min", "max" or "disabled"',
      });
  }
}

/** Fields of the file: "buildx.build.provenance" in the form of SLSA v0.2, for builds for several platforms with "/PLATFORM" each. */
export async function provenanceMetadata(
  make: MakeProvenance,
  mode: "min" | "max",
): Promise<Readonly<Record<string, unknown>>> {
  const fields: Record<string, unknown> = {};
  for (const { platform, predicate } of await make(mode, "v0.2")) {
    const said = JSON.parse(predicate) as Record<string, unknown> & { builder?: { id?: string } };
    if (said.builder?.id === "") delete said.builder;
    if (mode === "min") {
      delete said["buildConfig"];
      delete said["metadata"];
    }
    const suffix = platform === null ? "" : `/${formatPlatformAll(platform)}`;
    fields[`buildx.build.provenance${suffix}`] = said;
  }
  return fields;
}
