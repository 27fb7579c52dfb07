// Scanners in images: a step that is given an image (and stages, and the context) and writes statements about it. BuildKit:
// docs/attestations/sbom-protocol.md, frontend/attestations/sbom/sbom.go.

import { formatReference, parseReference, withDefaultTag } from "../../cache/registry/reference.ts";
import type { SbomTerms } from "../../exporters/attestation/grammar.ts";
import { ensurePath, readResultConfig } from "../../frontend/frontend.ts";
import type { ScanTarget } from "../../frontend/contract.ts";
import type { Definition, Input } from "../../solver/graph/definition.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { openGraph } from "../../solver/graph/llb.ts";
import { type ExecMount, type ExecOp, formatPlatformAll, type Platform } from "../../solver/graph/op.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import type { Bridge } from "./bridge-contract.ts";

/** Names in the contract: of the image itself, and before those of what is scanned beside it. */
export const CORE_NAME = "sbom";
export const EXTRA_PREFIX = "sbom-";
const SOURCES = "/run/src";
const DESTINATION = "/run/out/";

/** A scanner, resolved. */
export interface ScannerImage {
  /** In full, for names of steps: "docker.io/docker/buildkit-syft-scanner:stable-1". */
  readonly shown: string;
  /** Its source, by digest. */
  readonly identifier: string;
  readonly platform: Platform;
  readonly args: readonly string[];
  /** NAME=value: of the image, and its attributes. */
  readonly env: readonly string[];
  readonly params: readonly string[];
  readonly cwd: string;
}

/** Finds the scanner, as a base image is found: by policies, locks and mirrors. Throws USAGE, and what resolving throws. */
export async function resolveScanner(
  { generator, params }: SbomTerms & { readonly generator: string },
  resolveSource: Bridge["resolveSource"],
  resolveMode: string,
): Promise<ScannerImage> {
  const shown = nameOf(generator);
  const platform = hostPlatform();
  const { source, found } = await resolveSource(
    { kind: "source", identifier: `docker-image://${shown}`, attrs: {} },
    { platform, resolveMode, name: `resolve image config for docker-image://${shown}`, gitObjects: false },
  );
  if (found.kind !== "image")
    throw new BuildError(
      "USAGE",
      `a source policy converts the SBOM scanner ${shown} to ${printable(source.identifier)}, which is no image`,
    );
  const { digest, config: data, identifier = source.identifier } = found.image;
  const image = readResultConfig(data, platform);
  ensurePath(image, platform);
  const { Entrypoint, Cmd, Env, WorkingDir } = image.config;
  const args = [...(Entrypoint ?? []), ...(Cmd ?? [])];
  if (args.length === 0)
    throw new BuildError("USAGE", `the SBOM scanner ${shown} has no command to run`, {
      hint: "its image needs ENTRYPOINT or CMD, which are run with BUILDKIT_SCAN_SOURCE and BUILDKIT_SCAN_DESTINATION",
    });
  return {
    ...{ shown, platform, args },
    identifier: identifier.includes("@") ? identifier : `${identifier}@${digest}`,
    env: Env ?? [],
    params: paramsEnv(params),
    cwd: WorkingDir || "/",
  };
}

function nameOf(generator: string): string {
  try {
    return formatReference(withDefaultTag(parseReference(generator)));
  } catch (cause) {
    const reason = cause instanceof Error ? `: ${cause.message}` : "";
    throw new BuildError("USAGE", `failed to parse sbom scanner ${printable(generator, 100)}${reason}`, {
      hint: "for example --sbom=generator=docker/buildkit-syft-scanner:stable-1",
      cause,
    });
  }
}

/** Sorted, so that the step is the same in whatever order they are given. */
function paramsEnv(params: SbomTerms["params"]): readonly string[] {
  return Object.entries(params)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => {
      if (name === "" || `${name}${value}`.includes("\0"))
        throw new BuildError(
          "USAGE",
          `an SBOM scanner cannot be given ${JSON.stringify(printable(name, 60))}`,
          {
            hint: "attributes are KEY=VALUE, which it has as the variable BUILDKIT_SCAN_KEY",
          },
        );
      return `BUILDKIT_SCAN_${name}=${value}`;
    });
}

/** The step that scans an image; its result holds what the scanner writes. The scanner runs on this machine's platform whatever that of the image
 *  is, as root, with the network that RUN has where nothing else is said. */
export function scannerGraph(
  scanner: ScannerImage,
  image: {
    readonly platform: Platform;
    readonly definition: Definition;
    readonly scans: readonly ScanTarget[];
  },
): Definition {
  const graph = openGraph();
  const inputs: Input[] = [];
  const add = (input: Input | null): number | null => {
    if (input === null) return null;
    const known = inputs.findIndex((one) => one.vertex === input.vertex && one.output === input.output);
    return known >= 0 ? known : inputs.push(input) - 1;
  };
  const note = (name: string) => ({ name, ignoreCache: false, at: [], group: null });
  const source = { kind: "source", identifier: scanner.identifier, attrs: {} } as const;
  const root = add(graph.add(source, scanner.platform, [], note(scanner.identifier)));
  const mounted = (definition: Definition, target: string): ExecMount => {
    const input = add(graph.include(definition));
    return { kind: "bind", input, selector: "", target, readonly: true, output: null };
  };
  const core = mounted(image.definition, `${SOURCES}/core/${CORE_NAME}`);
  const extras = image.scans.map(({ name, definition }) =>
    mounted(definition, `${SOURCES}/extras/${EXTRA_PREFIX}${name}`),
  );
  const env = new Map(
    [
      ...scanner.env,
      `BUILDKIT_SCAN_DESTINATION=${DESTINATION}`,
      `BUILDKIT_SCAN_SOURCE=${SOURCES}/core/${CORE_NAME}`,
      ...(extras.length === 0 ? [] : [`BUILDKIT_SCAN_SOURCE_EXTRAS=${SOURCES}/extras/`]),
      ...scanner.params,
    ].map((entry): [string, string] => {
      const [name = "", value = ""] = entry.split(/=(.*)/s);
      return [name, value];
    }),
  );
  const op: ExecOp = {
    ...{ kind: "exec", args: scanner.args, env: Array.from(env, ([name, value]) => `${name}=${value}`) },
    ...{ cwd: scanner.cwd, user: "", proxyEnv: null, extraHosts: [], hostname: "", ulimits: [] },
    ...{ cgroupParent: "", validExitCodes: [], network: "sandbox", security: "sandbox", secretEnv: [] },
    devices: [],
    mounts: [
      { kind: "bind", input: root, selector: "", target: "/", readonly: false, output: null },
      core,
      ...extras,
      { kind: "bind", input: null, selector: "", target: DESTINATION, readonly: false, output: 0 },
      { kind: "tmpfs", target: "/tmp", sizeBytes: null },
    ],
  };
  const name = `[${formatPlatformAll(image.platform)}] generating sbom using ${scanner.shown}`;
  return graph.definition(graph.add(op, scanner.platform, inputs, note(name)));
}

/** The error of a build whose scanner has failed, as a sentence that names it; any other error stays as it is. `steps`: those of scanners. */
export function scannerError(error: unknown, { shown }: ScannerImage, steps: readonly Input[]): unknown {
  if (!(error instanceof BuildError) || error.code !== "EXEC_FAILED") return error;
  if (!steps.some(({ vertex }) => vertex === error.vertex)) return error;
  const { code, message, at, vertex, exitCode, left, hint } = error;
  return new BuildError(code, `generating sbom using ${shown}: ${message}`, {
    ...{ at, vertex, exitCode, left, cause: error },
    hint: hint ?? "--sbom=true uses the built-in scanner, which needs no image",
  });
}
