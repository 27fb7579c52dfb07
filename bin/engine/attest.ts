// What is said of the images of a build: by its frontends, by scanners, by what the build was watched for. Loaded for builds with attestations.

import { SPDX_PREDICATE } from "../../exporters/attestation/grammar.ts";
import type { Attestation } from "../../exporters/contract.ts";
import type { ScanTarget } from "../../frontend/contract.ts";
import type { Definition, Input } from "../../solver/graph/definition.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import type { BuiltImage, CallContext, Result } from "../../solver/graph/request.ts";
import type { SolvedBuild } from "./attestations.ts";
import type { ExportRequest, Scanning, SolvedBy } from "./export-request.ts";
import type { OpenBuild } from "./parts.ts";
import type { SbomTarget } from "./sbom.ts";
import { CORE_NAME, EXTRA_PREFIX, type ScannerImage, scannerError, scannerGraph } from "./sbom-scanner.ts";
import { openSupplement, type Supplement } from "./sbom-supplement.ts";
import { attestationsIn, coreFirst, readBudget } from "./statements.ts";

/** Graphs that are solved with that of an image. What they come to is scanned, or holds what a scanner has written. */
export function scanGraphs(
  image: Pick<SolvedBy, "platform" | "definition" | "scans">,
  scanning: Scanning,
): readonly Definition[] {
  if (scanning.kind === "built-in") return image.scans.map(({ definition }) => definition);
  return [scannerGraph(scanning.scanner, image)];
}

/** An error of solving, in words about the scanner where it is the one that failed. */
export function scanError(error: unknown, scanning: Scanning, roots: readonly Input[]): unknown {
  return scanning.kind === "image" ? scannerError(error, scanning.scanner, roots) : error;
}

export interface AttestDeps extends Pick<SolvedBuild, "originsOf"> {
  readonly build: OpenBuild;
  readonly context: CallContext;
  /** What the graphs of scanGraphs() came to. */
  readonly scanned: (image: SolvedBy) => readonly Result[];
}

/** What is said of each image: bills of materials before provenance, as in BuildKit. `images`: those of `asked`, built. */
export async function attest(
  images: readonly BuiltImage[],
  asked: ExportRequest,
  { build, context, originsOf, scanned }: AttestDeps,
): Promise<readonly (readonly Attestation[])[]> {
  const { parts, terms } = build;
  const provenances =
    asked.attesting === null
      ? []
      : await (await import("./attestations.ts")).attestationsOf(asked, asked.attesting, terms, {
          isOffline: parts.config.network === "none",
          originsOf,
        });
  return await Promise.all(
    images.map(async (image, index) => {
      const own = asked.images[index] as SolvedBy;
      const ofImage = { build: own.build, context: { ...context, session: own.build.session } };
      const boms = await bomsOf(image, own, scanned(own), asked.scanning, ofImage);
      return [...boms, ...own.attestations, ...(provenances[index] ?? [])];
    }),
  );
}

interface ImageBuild {
  readonly build: OpenBuild;
  readonly context: CallContext;
}

async function bomsOf(
  image: BuiltImage,
  own: SolvedBy,
  results: readonly Result[],
  scanning: Scanning | null,
  { build, context }: ImageBuild,
): Promise<readonly Attestation[]> {
  if (scanning === null) return [];
  const { platform, definition, scans } = own;
  if (scanning.kind === "image") return await writtenBy(scanning.scanner, own, results, { build, context });
  const { sbomAttestation } = await import("./sbom.ts");
  const deps = {
    ...{ keeper: build.parts.keeper, unpacker: build.worker.unpacker, context, root: definition.root },
    version: versionOf(build),
  };
  const core: SbomTarget = {
    ...{ name: build.terms.tags[0] ?? "image", filename: `${CORE_NAME}.spdx.json`, title: "" },
    ...{ result: { kind: "layers", layers: image.layers }, isImage: true },
  };
  const extras = scans.map(({ name }, index) => extraTarget(name, results[index]));
  return await Promise.all([core, ...extras].map((target) => sbomAttestation(target, platform, deps)));
}

function extraTarget(name: ScanTarget["name"], result: Result | undefined): SbomTarget {
  if (result === undefined) throw new Error("the solver gave fewer results than scans");
  const filename = `${EXTRA_PREFIX}${name}.spdx.json`;
  return { name, filename, title: ` of ${name}`, result, isImage: false };
}

/** The statements that a scanner has written. */
async function writtenBy(
  { shown }: ScannerImage,
  { definition }: SolvedBy,
  [result]: readonly Result[],
  { build, context }: ImageBuild,
): Promise<readonly Attestation[]> {
  if (result === undefined) throw new Error("the solver gave no result of the scanner");
  const { parts, worker } = build;
  const vertex = definition.root?.vertex ?? digestOf("scratch");
  const layers = await worker.layersOf(result, context);
  const dirs = await worker.unpacker.directories(layers, vertex, context);
  const found =
    dirs.length === 0
      ? []
      : await attestationsIn(
          { kind: "bundle", path: "/", predicateType: SPDX_PREDICATE },
          {
            who: `the SBOM scanner ${shown}`,
            ...{ core: CORE_NAME, inlineOnly: false, budget: readBudget() },
            look: (path, question) =>
              parts
                .keeper()
                .run(
                  { kind: "look", tree: { kind: "layers", dirs }, path, question },
                  { signal: context.signal },
                ),
            supplement: supplementOf(build, vertex, context),
          },
        );
  if (found.length === 0)
    context.emit({
      ...{ kind: "warning", message: `the SBOM scanner ${shown} has written no bill of materials` },
      ...{ rule: "", detail: "", url: "", at: [] },
    });
  return coreFirst(found, CORE_NAME);
}

/** What adds layers to documents about an image of this build. */
export function supplementOf(
  build: OpenBuild,
  vertex: Parameters<typeof openSupplement>[0]["vertex"],
  context: CallContext,
): Supplement {
  const { keeper } = build.parts;
  const { unpacker } = build.worker;
  return openSupplement({ keeper, unpacker, vertex, context, version: versionOf(build) });
}

function versionOf({ parts }: OpenBuild): string {
  return parts.config.version?.() ?? "0";
}
