// Sources that stages start from: base images and named contexts. Docker documentation, "--build-context".

import type { Input } from "../solver/graph/definition.ts";
import { BuildError, type SourceRange } from "../solver/graph/error.ts";
import { formatPlatform, formatPlatformAll, PLAIN_COPY, type Platform } from "../solver/graph/op.ts";
import type { ImageConfig } from "../solver/graph/request.ts";
import { normalizePlatform, samePlatform } from "../solver/graph/platform.ts";
import { baseImagePlatform } from "./check-texts.ts";
import { readIgnore } from "./dockerignore.ts";
import { gitSource, parseGitRef } from "./git-ref.ts";
import { emptyImage, readBaseImage } from "./image-config.ts";
import { familiarImageName, formatImageName, parseImageName } from "./image-name.ts";
import { atPlace, atPlaceLater } from "./place.ts";
import { type Conversion, noteOf } from "./stage-state.ts";
import { SCRATCH_NAME, type Stage } from "./stages.ts";
import { suggest } from "./suggest.ts";
import type { FrontendInput, FrontendOptions } from "./contract.ts";

/** What a stage starts with. */
export interface Base {
  readonly image: ImageConfig;
  readonly platform: Platform;
  /** Files, given the name the step is to have; null: none. Called once, when the stage is converted. */
  source(name: (text: string) => string): Input | null;
}

/** Whether a named context is given for a name on a platform. */
export function hasContext(options: FrontendOptions, name: string, platform: Platform): boolean {
  return findContext(options, name, platform) !== null;
}

/** Finds what a stage starts with. Throws IMAGE_UNKNOWN, REFERENCE_INVALID and what the host throws. */
export async function resolveBase(conversion: Conversion, stage: Stage): Promise<Base> {
  const platform = stage.platform ?? conversion.targetPlatform;
  const replacement = stage.isReplaced ? findContext(conversion.options, stage.name ?? "", platform) : null;
  if (replacement !== null) return loadContext(conversion, replacement, platform, stage.at);
  if (stage.baseName === SCRATCH_NAME) return scratch(conversion.targetPlatform);
  const reference = imageNameOf(stage);
  const context = findContext(conversion.options, stage.baseName, platform);
  if (context !== null) return loadContext(conversion, context, platform, stage.at);
  try {
    return await loadImage(conversion, `docker-image://${formatImageName(reference)}`, {
      platform,
      at: stage.at,
      shown: stage.baseName,
      title: (name) => `FROM ${name}`,
      isImplicit: stage.platform === null && conversion.isTargetImplicit,
    });
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    throw new BuildError(error.code, nameTheImage(error.message, stage.baseName), {
      at: error.at ?? stage.at,
      cause: error,
      vertex: error.vertex,
      hint: nearStage(conversion, stage.baseName) ?? error.hint, // likelier than a network that is gone
    });
  }
}

/** Throws REFERENCE_INVALID for what can be no image: also in a stage that is not needed, as in BuildKit. */
export function checkImageName(stage: Stage): void {
  if (stage.base === null && !stage.isReplaced && stage.baseName !== SCRATCH_NAME) imageNameOf(stage);
}

function imageNameOf(stage: Stage): ReturnType<typeof parseImageName> {
  try {
    return parseImageName(stage.baseName);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "";
    const message = `failed to parse stage name ${JSON.stringify(stage.baseName)}: ${reason}`;
    throw new BuildError("REFERENCE_INVALID", message, { at: stage.at, cause });
  }
}

function nameTheImage(message: string, image: string): string {
  return message.includes(image) ? message : `${image}: ${message}`;
}

/** A misspelt stage is taken for an image that nobody has. */
function nearStage({ stageNames }: Conversion, name: string): string | null {
  const near = suggest(name, stageNames, false);
  return near === null ? null : `did you mean stage ${near}?`;
}

function scratch(platform: Platform): Base {
  return { image: emptyImage(platform), platform, source: () => null };
}

/** A policy has made something else of an image. What a named context stands for may be that. */
export class ConvertedImage extends BuildError {
  readonly identifier: string;
  constructor(image: string, identifier: string) {
    super("USAGE", `a source policy converts ${image} to ${identifier}, which is no image`);
    this.identifier = identifier;
  }
}

interface ImageOptions {
  readonly platform: Platform;
  readonly at: SourceRange;
  /** The name as written. */
  readonly shown: string;
  /** Name of the step, given the pinned reference. */
  title(name: string): string;
  /** An image of another platform is taken unchanged. */
  readonly isImplicit: boolean;
  readonly isContext?: boolean;
}

async function loadImage(conversion: Conversion, identifier: string, options: ImageOptions): Promise<Base> {
  const { platform, at, shown, isContext = false } = options;
  const prefix = conversion.isMultiPlatform ? `[${formatPlatformAll(platform)} internal]` : "[internal]";
  const [, written = ""] = identifier.split(/:\/\/(.*)/s);
  const resolved = await conversion.host.resolveImage(identifier, {}, platform, {
    signal: conversion.signal,
    vertexName: `${prefix} load metadata for ${written}`,
  });
  const [scheme = "", reference = ""] = (resolved.identifier ?? identifier).split(/:\/\/(.*)/s);
  const { image, isEmpty } = readBaseImage(resolved.config, shown);
  const pinned = reference.includes("@") ? reference : `${reference}@${resolved.digest}`;
  const shownAs = resolved.isPrivate === true ? reference : pinned;
  const found = normalizePlatform({
    os: image.os,
    architecture: image.architecture,
    variant: image.variant ?? "",
  });
  const isKnown = image.os !== "" && image.architecture !== "";
  const isOther = isKnown && (found.os !== platform.os || found.architecture !== platform.architecture);
  // An image without layers is taken for scratch, which is of every platform.
  if (isOther && !isContext && !isEmpty) {
    const detail = baseImagePlatform(shown, formatPlatform(platform), formatPlatform(found));
    conversion.checks.warn("InvalidBaseImagePlatform", detail, at);
  }
  const { buildPlatform } = conversion.options;
  const isBuildPlatform = options.isImplicit && isOther && samePlatform(found, buildPlatform);
  const chosen = isBuildPlatform ? buildPlatform : platform;
  return {
    image,
    platform: chosen,
    source: (name) => {
      if (isEmpty) return null;
      const op = { kind: "source", identifier: `${scheme}://${pinned}`, attrs: {} } as const;
      return conversion.graph.add(op, chosen, [], noteOf(name(options.title(shownAs)), at));
    },
  };
}

interface NamedContext {
  readonly name: string;
  readonly value: string;
}

/** The context given for a name, one for this platform first. */
function findContext(options: FrontendOptions, name: string, platform: Platform): NamedContext | null {
  if (options.namedContexts.size === 0) return null;
  const wanted = familiar(name);
  const ofPlatform = `${wanted}::${formatPlatformAll(normalizePlatform(platform))}`;
  for (const candidate of [ofPlatform, wanted]) {
    for (const [key, value] of options.namedContexts)
      if (familiar(key) === candidate) return { name: wanted, value };
  }
  return null;
}

/** What a named context was given as, or null when there is none of this name. */
export function contextAddress(options: FrontendOptions, name: string): string | null {
  return findContext(options, name, options.buildPlatform)?.value ?? null;
}

/** "docker.io/library/alpine:latest" and "alpine" are one name. */
function familiar(name: string): string {
  const colons = name.indexOf("::");
  if (colons >= 0) return `${familiar(name.slice(0, colons))}${name.slice(colons)}`;
  try {
    return familiarImageName(parseImageName(name));
  } catch {
    return name; // no image name: it can only be equal as it stands
  }
}

async function loadContext(
  conversion: Conversion,
  { name, value }: NamedContext,
  platform: Platform,
  at: SourceRange,
): Promise<Base> {
  const title = `[context ${name}]`;
  const image = /^(docker-image|oci-layout):(?:\/\/)?(.*)$/s.exec(value);
  if (image !== null) {
    const [, scheme = "", reference = ""] = image;
    if (scheme === "docker-image" && reference === SCRATCH_NAME) return scratch(platform);
    const full =
      scheme === "docker-image" ? formatImageName(atPlace(at, () => parseImageName(reference))) : reference;
    const found = await atPlaceLater(at, () =>
      loadImage(conversion, `${scheme}://${full}`, {
        platform,
        at,
        shown: reference,
        title: (pinned) =>
          scheme === "docker-image" ? `${title} ${pinned}` : `${title} OCI load from client`,
        isImplicit: conversion.isTargetImplicit,
        isContext: true,
      }).catch((error: unknown) => {
        // Directories and downloads, as in dockerui: namedcontext.go.
        if (error instanceof ConvertedImage && /^(?:local|https?):/.test(error.identifier)) return error;
        throw error;
      }),
    );
    if (found instanceof ConvertedImage) {
      const converted = found.identifier.replace(/^local:\/\//, "local:");
      return await loadContext(conversion, { name, value: converted }, platform, at);
    }
    const base = found;
    // The name is the context's own, not that of a numbered step.
    return { ...base, source: () => base.source((text) => text) };
  }
  const add = (op: Parameters<Conversion["graph"]["add"]>[0], step: string): Base => ({
    ...scratch(conversion.targetPlatform),
    platform,
    source: () => conversion.graph.add(op, null, [], noteOf(step, null)),
  });
  if (value.startsWith("input:")) {
    const input = conversion.options.inputs?.get(value.slice("input:".length));
    if (input === undefined) throw new BuildError("USAGE", `no input named ${value} for ${name}`, { at });
    return inputBase(conversion, input, name, platform);
  }
  if (value.startsWith("local:")) {
    const directory = value.slice("local:".length);
    const file =
      conversion.options.namedIgnores?.get(name) ?? conversion.options.namedIgnores?.get(directory) ?? null;
    return add(
      localSource(directory, file?.data ?? null, conversion.options.contextMode),
      `${title} load from client`,
    );
  }
  const git = atPlace(at, () => parseGitRef(value));
  if (git !== null) {
    return add(gitSource(git, { keepGitDir: git.keepGitDir ?? false }), `[internal] ${gitTitle(value)}`);
  }
  if (/^https?:\/\//.test(value)) {
    // A file of that name, whatever the address ends with: dockerui, namedcontext.go.
    const op = { kind: "source", identifier: value, attrs: { "http.filename": HTTP_CONTEXT_FILE } } as const;
    return add(op, `${title} ${value}`);
  }
  throw new BuildError("USAGE", `unsupported context source ${value.split(":", 1)[0]} for ${name}`, {
    hint: "docker-image://, oci-layout://, a directory, git and http(s) addresses are supported",
  });
}

/** The result of another build, with the config it has. */
function inputBase(
  conversion: Conversion,
  { definition, config }: FrontendInput,
  name: string,
  platform: Platform,
): Base {
  const base = scratch(platform);
  return {
    ...base,
    image: config === null ? base.image : readBaseImage(config, name).image,
    source: () => conversion.graph.include(definition),
  };
}

/** A directory of the client, less what its ignore file says. */
export function localSource(
  name: string,
  ignore: Uint8Array | null,
  mode: FrontendOptions["contextMode"],
): Parameters<Conversion["graph"]["add"]>[0] {
  const patterns = ignore === null ? [] : readIgnore(ignore).patterns;
  return {
    kind: "source",
    identifier: `local://${name}`,
    attrs: {
      ...(patterns.length === 0 ? {} : { "local.excludepatterns": JSON.stringify(patterns) }),
      ...(mode === undefined ? {} : { "local.mode": mode }),
    },
  };
}

/** Name of the one file that a context behind an http(s) address is. */
export const HTTP_CONTEXT_FILE = "context";

/** Name of the step that fetches a repository, which people know by the address they gave. */
export function gitTitle(address: string): string {
  return `load git source ${address}`;
}

/** The main context as a vertex. */
export function mainContext(conversion: Pick<Conversion, "options" | "graph">): Input | null {
  const { options, graph } = conversion;
  if ("definition" in options.context) return graph.include(options.context.definition);
  const { identifier, attrs } = options.context;
  if (identifier.startsWith("local://")) {
    const name = identifier.slice("local://".length);
    const op = localSource(name, options.dockerignore?.data ?? null, options.contextMode);
    const merged = op.kind === "source" ? { ...op, attrs: { ...attrs, ...op.attrs } } : op;
    return graph.add(merged, null, [], noteOf("[internal] load build context", null));
  }
  if (identifier.startsWith("git://")) {
    const name = `[internal] ${gitTitle(options.contextName ?? attrs["git.fullurl"] ?? identifier)}`;
    return graph.add(options.context, null, [], noteOf(name, null));
  }
  const filename = attrs["http.filename"] ?? HTTP_CONTEXT_FILE;
  const archive = graph.add(
    { kind: "source", identifier, attrs: { ...attrs, "http.filename": filename } },
    null,
    [],
    noteOf("[internal] load remote build context", null),
  );
  return graph.add(
    {
      kind: "file",
      actions: [
        {
          kind: "copy",
          base: null,
          from: 0,
          output: 0,
          ...PLAIN_COPY,
          src: `/${filename}`,
          dest: "/",
          attemptUnpack: true,
        },
      ],
    },
    null,
    [archive],
    noteOf("[internal] unpack remote build context", null),
  );
}
