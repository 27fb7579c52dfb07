// One conversion of a parsed Dockerfile: turns options and platform into the input of convert.ts.

import type { Input } from "../solver/graph/definition.ts";
import { BuildError, locate } from "../solver/graph/error.ts";
import { openGraph } from "../solver/graph/llb.ts";
import type { Platform, ProxyEnv } from "../solver/graph/op.ts";
import { compilePatterns, type Patterns } from "../solver/graph/patterns.ts";
import { normalizePlatform } from "../solver/graph/platform.ts";
import type { Checks } from "./checks.ts";
import { convertStages } from "./convert.ts";
import { readIgnore } from "./dockerignore.ts";
import { readEpoch } from "./epoch.ts";
import { readGlobalArgs } from "./from-line.ts";
import { parseBool } from "./go-strings.ts";
import { finishImage, formatTime, platformOf } from "./image-config.ts";
import type { ParsedDockerfile } from "./instruction.ts";
import { platformArgs } from "./platform-args.ts";
import { scansOf } from "./scans.ts";
import { hasContext, mainContext } from "./sources.ts";
import type { Conversion, StageState } from "./stage-state.ts";
import { checkCycles, findTarget, planStages, type Stage, type StageTable, splitStages } from "./stages.ts";
import type { CallOptions, ConvertedImage, FrontendHost, FrontendOptions } from "./contract.ts";

export interface ConvertRequest {
  readonly options: FrontendOptions;
  readonly host: FrontendHost;
  readonly call: CallOptions;
  readonly parsed: ParsedDockerfile;
  readonly checks: Checks;
  /** All stages are converted, also those the target does not need. */
  readonly allStages?: boolean;
}

export interface OneConversion {
  readonly conversion: Conversion;
  readonly target: Stage;
  readonly state: StageState;
  readonly image: ConvertedImage;
}

/** Platforms the result is for. */
export function targetPlatforms(options: FrontendOptions): readonly Platform[] {
  const list = options.platforms.length > 0 ? options.platforms : [options.buildPlatform];
  return list.map(normalizePlatform);
}

/** Several platforms, or an index asked for with BUILDKIT_MULTI_PLATFORM. Throws USAGE when that is no boolean, or false for several. */
export function isMultiPlatform({ platforms, buildArgs }: FrontendOptions): boolean {
  const isSeveral = platforms.length > 1;
  const said = buildArgs.get("BUILDKIT_MULTI_PLATFORM") ?? "";
  if (said === "") return isSeveral;
  const asked = parseBool(said);
  if (asked === null) {
    throw new BuildError("USAGE", `invalid boolean value for multi-platform: ${said}`, {
      hint: "BUILDKIT_MULTI_PLATFORM takes true or false",
    });
  }
  if (isSeveral && !asked) {
    throw new BuildError("USAGE", "conflicting config: returning multiple target platforms is not allowed", {
      hint: "BUILDKIT_MULTI_PLATFORM=false allows only one platform",
    });
  }
  return asked;
}

/** Converts for one platform. Throws BuildError. */
export async function convertFor(request: ConvertRequest, targetPlatform: Platform): Promise<OneConversion> {
  const { options, host, call } = request;
  call.signal.throwIfAborted();
  const { table, ...parts } = plan(request, targetPlatform);
  const target = findTarget(table, options.target);
  checkCycles(table);
  const { escape } = request.parsed;
  const epochSeconds = await readEpoch({ ...parts, options, host, table, escape, signal: call.signal });
  const created = epochSeconds === null ? null : formatTime(epochSeconds * 1000);
  const graph = openGraph();
  const { name, data } = options.dockerfile;
  graph.file(name, { data, language: "Dockerfile", definition: new Uint8Array(0) });
  let context: Input | null | undefined;
  const conversion: Conversion = {
    ...parts,
    options,
    host,
    signal: call.signal,
    graph,
    checks: request.checks,
    escape,
    words: { escape },
    targetPlatform,
    isTargetImplicit: options.platforms.length === 0,
    isMultiPlatform: isMultiPlatform(options),
    proxyEnv: readProxyEnv(parts.buildArgs),
    epochSeconds,
    created,
    ignore: readPatterns(options),
    context: () => {
      if (context === undefined) context = mainContext({ options, graph });
      return context;
    },
    spent: { length: 0 },
    states: new Map(),
  };
  const others = request.allStages === true ? table.stages.filter(({ isListed }) => isListed) : [];
  const state = await convertStages(conversion, table, target, others);
  if (options.labels.size > 0) {
    const { config } = state.image;
    config.Labels = { ...config.Labels, ...Object.fromEntries(options.labels) };
  }
  const imageConfig = finishImage(state.image, conversion.isTargetImplicit ? null : targetPlatform, created);
  const isKnown = imageConfig.os !== "" && imageConfig.architecture !== "";
  const platform = isKnown ? platformOf(imageConfig) : targetPlatform;
  return {
    conversion,
    target,
    state,
    image: {
      platform,
      definition: graph.definition(state.fs),
      config: imageConfig,
      baseHistory: state.baseHistory,
      scans: scansOf(conversion, target),
    },
  };
}

type Planned = Pick<Conversion, "declaredArgs" | "stageNames"> & {
  readonly buildArgs: Map<string, string>;
  readonly globalArgs: Map<string, string>;
  readonly table: StageTable;
};

function plan({ options, parsed, checks }: ConvertRequest, targetPlatform: Platform): Planned {
  const buildArgs = new Map(options.buildArgs);
  if (options.sourceDateEpoch !== null && (buildArgs.get("SOURCE_DATE_EPOCH") ?? "") === "") {
    buildArgs.set("SOURCE_DATE_EPOCH", String(options.sourceDateEpoch));
  }
  const { escape } = parsed;
  const written = splitStages(parsed);
  const buildPlatform = normalizePlatform(options.buildPlatform);
  const targetName = options.target || written.stages.at(-1)?.from.as || null;
  const automatic = platformArgs(buildPlatform, targetPlatform, targetName, buildArgs);
  const globalArgs = new Map(automatic);
  const declaredArgs = readGlobalArgs(written.globals, globalArgs, buildArgs, escape);
  let defaultArgs: Map<string, string> | null = new Map(automatic);
  try {
    readGlobalArgs(written.globals, defaultArgs, new Map(), escape);
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    defaultArgs = null; // defaults that need a build argument: nothing to check them with
  }
  const table = planStages(written.stages, {
    globalArgs,
    buildArgs,
    defaultArgs,
    declared: declaredArgs,
    buildPlatform,
    escape,
    checks,
    isReplaced: (name, platform) => hasContext(options, name, platform ?? targetPlatform),
  });
  const stageNames = table.stages.flatMap(({ name }) => (name === null ? [] : [name]));
  return { buildArgs, globalArgs, declaredArgs, stageNames, table };
}

function readPatterns({ dockerignore }: FrontendOptions): Patterns | null {
  if (dockerignore === null) return null;
  const { patterns, lines } = readIgnore(dockerignore.data);
  try {
    return compilePatterns(patterns);
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    const line = lines[patterns.findIndex((pattern) => !compiles(pattern))] ?? 1;
    const at = { file: dockerignore.name, start: { line, column: 1 }, end: { line: line + 1, column: 1 } };
    throw locate(error, at, null);
  }
}

function compiles(pattern: string): boolean {
  try {
    compilePatterns([pattern]);
    return true;
  } catch {
    return false; // which one it is, is all that is asked
  }
}

/** http_proxy and its kin among the build arguments, in any case; null when there is none. */
function readProxyEnv(buildArgs: ReadonlyMap<string, string>): ProxyEnv | null {
  const found = new Map([...buildArgs].map(([name, value]) => [name.toLowerCase(), value]));
  const proxy: ProxyEnv = {
    httpProxy: found.get("http_proxy") ?? "",
    httpsProxy: found.get("https_proxy") ?? "",
    ftpProxy: found.get("ftp_proxy") ?? "",
    noProxy: found.get("no_proxy") ?? "",
    allProxy: found.get("all_proxy") ?? "",
  };
  return Object.values(proxy).every((value) => value === "") ? null : proxy;
}
