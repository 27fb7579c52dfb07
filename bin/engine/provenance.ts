// Provenance of a build: what its steps were made of, as data for the predicate, and the attestations that the exporters get. Loaded for builds
// that ask for it, alone.

import { buildConfig } from "../../exporters/attestation/llb-json.ts";
import type { Detail, SourceInfo, SourceLocation } from "../../exporters/attestation/detail.ts";
import type { ProvenanceTerms } from "../../exporters/attestation/grammar.ts";
import {
  type Asked,
  type Capture,
  type FrontendCall,
  type ImageMaterial,
  type Materials,
  predicateTypeOf,
  provenanceText,
} from "../../exporters/attestation/provenance.ts";
import type { Attestation, AttestedImage } from "../../exporters/contract.ts";
import type { Definition, Input, Vertex } from "../../solver/graph/definition.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import { BuildError, redactUrl } from "../../solver/graph/error.ts";
import { decodeDefinition } from "../../solver/graph/llb-definition.ts";
import type { ExecOp, Platform, SourceOp } from "../../solver/graph/op.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import type { Descriptor, LayerId } from "../../solver/graph/request.ts";
import type { Origins } from "../../solver/solver.ts";
import { layoutName, type Seen } from "./provenance-seen.ts";

/** One result of a build. */
export interface ProvenanceOf {
  readonly platform: Platform;
  readonly origins: Origins;
  /** null: a result without files. */
  readonly root: Input | null;
  readonly call: FrontendCall | null;
}

/** What holds for all results of a build. */
export interface ProvenanceBuild {
  readonly seen: Seen;
  readonly platforms: readonly Platform[];
  /** Results that frontends looked into and did not return. */
  readonly others: readonly Origins[];
  /** Steps that ask for no particular network have none. */
  readonly isOffline: boolean;
  /** The statement is to be the same for the same inputs: it says nothing of this one run. */
  readonly isReproducible: boolean;
  readonly invocationId: string;
  readonly nowMs: () => number;
}

/** The attestation of one result. Throws SOURCE_FAILED where all materials have to be known and are not. */
export function provenanceAttestation(
  of: ProvenanceOf,
  terms: ProvenanceTerms,
  build: ProvenanceBuild,
): Attestation {
  const capture = captureOf(of, build);
  if (terms.completeMaterials) checkComplete(capture);
  let text: { readonly finishedAtMs: number } | null = null; // the same end for all outputs
  return {
    predicateType: predicateTypeOf(terms.version),
    filename: terms.filename,
    inlineOnly: terms.inlineOnly,
    async predicate({ layers }) {
      text ??= { finishedAtMs: build.nowMs() };
      return provenanceText(capture, {
        version: terms.version,
        builderId: terms.builderId,
        reproducible: terms.reproducible ?? (build.isReproducible && isRepeatable(of, capture)),
        run: build.isReproducible
          ? null
          : {
              ...{ invocationId: build.invocationId, startedAtMs: build.seen.startedAtMs },
              finishedAtMs: text.finishedAtMs,
            },
        detail: terms.mode === "max" ? detailOf(of, layers, build) : null,
      });
    },
  };
}

/** Nothing runs, and all that is copied is known: the same materials give the same bytes. */
function isRepeatable({ origins, root }: ProvenanceOf, capture: Capture): boolean {
  if (capture.isIncomplete || capture.materials.local.length > 0) return false;
  return reachable(origins.definition, root).every(({ op }) => op.kind !== "exec" && op.kind !== "build");
}

/** BuildKit: incompleteMaterialsError. */
function checkComplete({ isIncomplete, materials }: Capture): void {
  if (!isIncomplete && materials.local.length === 0) return;
  const names = materials.local.toSorted().map((name) => `the directory ${JSON.stringify(name)}`);
  throw new BuildError(
    "SOURCE_FAILED",
    `provenance materials are incomplete: ${[...names, ...(isIncomplete ? ["a source without a digest"] : [])].join(", ")}`,
    { hint: "build from a repository, or leave out complete-materials" },
  );
}

/** What is known of where a result came from. */
function captureOf(of: ProvenanceOf, build: ProvenanceBuild): Capture {
  const { seen } = build;
  const found = openFinds(build.isOffline);
  const { origins, root, platform, call } = of;
  found.walk(reachable(origins.definition, root), origins);
  for (const other of build.others) found.walk(reachable(other.definition, other.roots[0] ?? null), other);
  const { images, git, http, local } = found.materials;
  return {
    call,
    materials: {
      images: [...images, ...ofPlatform(seen.images, platform, build.platforms)],
      git,
      http: [...http, ...seen.http],
      local: [...new Set([...local.filter((name) => !seen.fetched.has(name)), ...seen.local])],
    },
    secrets: found.secrets(),
    ssh: found.ssh(),
    usesNetwork: found.usesNetwork(),
    isIncomplete: found.isIncomplete(),
    builderPlatform: build.isReproducible ? null : hostPlatform(),
  };
}

/** A frontend that makes several platforms asks for the same image for each; one that it asked for once is of all of them. */
function ofPlatform(
  images: readonly ImageMaterial[],
  own: Platform,
  all: readonly Platform[],
): readonly ImageMaterial[] {
  const isSame = (a: Platform | null, b: Platform): boolean =>
    a !== null && a.os === b.os && a.architecture === b.architecture;
  const isForAll = (reference: string): boolean =>
    all.every((platform) =>
      images.some((one) => one.reference === reference && isSame(one.platform, platform)),
    );
  return images.filter(({ reference, platform }) => isSame(platform, own) || !isForAll(reference));
}

interface Finds {
  walk(vertices: readonly Vertex[], origins: Origins): void;
  readonly materials: { readonly [K in keyof Materials]: Materials[K][number][] };
  secrets(): readonly Asked[];
  ssh(): readonly Asked[];
  usesNetwork(): boolean;
  isIncomplete(): boolean;
}

function openFinds(isOffline: boolean): Finds {
  const materials: Finds["materials"] = { images: [], git: [], http: [], local: [] };
  const secrets = new Map<string, boolean>();
  const ssh = new Map<string, boolean>();
  let usesNetwork = false;
  let isIncomplete = false;
  const ask = (all: Map<string, boolean>, id: string, optional: boolean): void =>
    void all.set(id, optional && (all.get(id) ?? true));

  function source({ identifier, attrs }: SourceOp, platform: Platform | null, material: string | null): void {
    const [scheme = "", rest = ""] = identifier.split(/:\/\/(.*)/s);
    if (scheme === "local") return void materials.local.push(rest);
    if (material === null) isIncomplete = true;
    switch (scheme) {
      case "docker-image":
      case "oci-layout":
      case "docker-image+blob":
      case "oci-layout+blob": {
        const isLayout = scheme.startsWith("oci-layout");
        materials.images.push({
          ...{ reference: isLayout ? layoutName(rest) : rest, platform, digest: material },
          ...{ isLayout, isBlob: scheme.endsWith("+blob") },
        });
        return;
      }
      case "git": {
        const { "git.fullurl": url, "git.authtokensecret": token, "git.authheadersecret": header } = attrs;
        const [address = "", fragment = ""] = rest.split(/#(.*)/s);
        const [ref = ""] = fragment.split(":", 1);
        if (material !== null)
          materials.git.push({
            url: `${redactUrl(url ?? `https://${address}`)}${ref === "" ? "" : `#${ref}`}`,
            commit: material,
          });
        if (token) ask(secrets, token, true);
        if (header) ask(secrets, header, true);
        if (attrs["git.mountsshsock"]) ask(ssh, attrs["git.mountsshsock"], true);
        return;
      }
      default:
        if (material !== null) materials.http.push({ url: redactUrl(identifier), digest: material });
    }
  }

  function exec({ mounts, secretEnv, network }: ExecOp): void {
    for (const mount of mounts) {
      if (mount.kind === "secret") ask(secrets, mount.id, mount.optional);
      if (mount.kind === "ssh") ask(ssh, mount.id || "default", mount.optional);
    }
    for (const { id, optional } of secretEnv) ask(secrets, id, optional);
    if (network === "host" || (network === "sandbox" && !isOffline)) usesNetwork = true;
  }

  const listed = (all: ReadonlyMap<string, boolean>): readonly Asked[] =>
    [...all].map(([id, optional]) => ({ id, optional }));
  return {
    materials,
    walk(vertices, origins) {
      for (const { op, platform, digest } of vertices) {
        if (op.kind === "source") source(op, platform, origins.materials.get(digest) ?? null);
        if (op.kind === "exec") exec(op);
        if (op.kind === "build") isIncomplete = true; // what its definition holds is known to that step alone
      }
    },
    secrets: () => listed(secrets),
    ssh: () => listed(ssh),
    usesNetwork: () => usesNetwork,
    isIncomplete: () => isIncomplete,
  };
}

/** Inputs before their users. */
function reachable({ vertices }: Definition, root: Input | null): readonly Vertex[] {
  const wanted = new Set(root === null ? [] : [root.vertex]);
  const found: Vertex[] = [];
  for (const vertex of [...vertices.values()].reverse()) {
    if (!wanted.has(vertex.digest)) continue;
    found.push(vertex);
    for (const input of vertex.inputs) wanted.add(input.vertex);
  }
  return found.reverse();
}

function detailOf(
  { origins, root }: ProvenanceOf,
  layers: AttestedImage["layers"],
  { isReproducible }: Pick<ProvenanceBuild, "isReproducible">,
): Detail | null {
  if (root === null) return null;
  const { definition } = origins;
  const config = buildConfig(definition, root);
  const files: string[] = [...(definition.sources?.keys() ?? [])];
  const locations = new Map<number, readonly SourceLocation[]>();
  for (const [digest, number] of config.numbers) {
    const at = (definition.notes.get(digest)?.at ?? []).filter(({ file }) => files.includes(file));
    if (at.length === 0) continue;
    locations.set(
      number,
      at.map(({ file, start, end }) => ({
        sourceIndex: files.indexOf(file),
        start: { line: start.line, character: start.column - 1 },
        end: { line: end.line, character: end.column - 1 },
      })),
    );
  }
  const infos = [...(definition.sources ?? [])].map(
    ([filename, { data, language, definition: reader }]): SourceInfo => ({
      ...{ filename, data, language, config: readerConfig(reader) },
    }),
  );
  return {
    config,
    infos,
    locations,
    // Which steps below the last one have results here differs from store to store.
    layers:
      layers === null
        ? {}
        : layersOf(origins, config.numbers, layers, (vertex) => !isReproducible || vertex === root.vertex),
  };
}

/** How a client's file was read; it is for people, and what is no graph is left out. */
function readerConfig(definition: Uint8Array): SourceInfo["config"] {
  if (definition.length === 0) return null;
  try {
    const decoded = decodeDefinition(definition);
    return decoded.root === null ? null : buildConfig(decoded, decoded.root);
  } catch (error) {
    if (error instanceof BuildError) return null;
    throw error;
  }
}

/** Results of steps that the image's first layers are. */
function layersOf(
  { results }: Origins,
  numbers: ReturnType<typeof buildConfig>["numbers"],
  image: readonly { readonly id: LayerId; readonly descriptor: Descriptor }[],
  isWanted: (vertex: Digest) => boolean,
): Detail["layers"] {
  const found: Record<string, readonly (readonly Descriptor[])[]> = {};
  for (const [digest, outputs] of results()) {
    const step = numbers.get(digest);
    if (step === undefined || !isWanted(digest)) continue;
    outputs.forEach((result, output) => {
      if (result?.kind !== "layers" || result.layers.length === 0 || result.layers.length > image.length)
        return;
      if (!result.layers.every((id, at) => id === image[at]?.id)) return;
      found[`step${step}:${output}`] = [
        image.slice(0, result.layers.length).map(({ descriptor }) => descriptor),
      ];
    });
  }
  return found;
}
