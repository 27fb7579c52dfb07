// Dockerfiles in tests: options with defaults, available images, and graphs as text.

import { convert } from "../../frontend/frontend.ts";
import { formatPlatformAll } from "../../solver/graph/op.ts";
import type { Definition, Vertex } from "../../solver/graph/definition.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { ChownOpt, ExecMount, FileAction, Op, Platform } from "../../solver/graph/op.ts";
import { samePlatform } from "../../solver/graph/platform.ts";
import type { HistoryEntry, ImageConfig } from "../../solver/graph/request.ts";
import type { CallOptions, Converted, FrontendHost, FrontendOptions } from "../../frontend/contract.ts";

export const AMD64: Platform = { os: "linux", architecture: "amd64" };
export const ARM64: Platform = { os: "linux", architecture: "arm64" };

/** Images by reference; a list has one config a platform. */
export type Images = Readonly<Record<string, object | readonly object[]>>;

/** Config of a small base image; `config` adds to it. */
export function baseImage(config: object = {}, platform: Platform = AMD64): object {
  return {
    ...platform,
    created: "2020-01-01T00:00:00Z",
    config: { Env: ["PATH=/usr/bin:/bin"], Cmd: ["/bin/sh"], ...config },
    rootfs: { type: "layers", diff_ids: [digestOf("layer")] },
    history: [{ created: "2020-01-01T00:00:00Z", created_by: "base" }],
  };
}

const BASE = { "docker.io/library/base:1": baseImage() };

/** Answers for these images only; `asked` notes what it was asked for. */
export function hostOf(images: Images = BASE, asked: string[] = []): FrontendHost {
  return {
    async resolveImage(identifier, _attrs, platform, { vertexName }) {
      asked.push(vertexName);
      const reference = identifier.replace(/^[a-z-]+:\/\//, "");
      const found = images[reference];
      if (found === undefined) throw new BuildError("IMAGE_UNKNOWN", `${reference}: not found`);
      const list = (Array.isArray(found) ? found : [found]) as (object & Platform)[];
      const image = list.length === 1 ? list[0] : list.find((candidate) => samePlatform(candidate, platform));
      if (image === undefined)
        throw new BuildError("PLATFORM_UNSUPPORTED", `no match for platform ${formatPlatformAll(platform)}`);
      return { digest: digestOf(reference), config: new TextEncoder().encode(JSON.stringify(image)) };
    },
    async readFile() {
      return null;
    },
  };
}

export function optionsOf(dockerfile: string, more: Partial<FrontendOptions> = {}): FrontendOptions {
  return {
    dockerfile: { name: "Dockerfile", data: new TextEncoder().encode(dockerfile) },
    dockerignore: null,
    context: { kind: "source", identifier: "local://context", attrs: {} },
    target: null,
    buildArgs: new Map(),
    labels: new Map(),
    platforms: [],
    buildPlatform: AMD64,
    namedContexts: new Map(),
    noCache: false,
    noCacheFilter: [],
    extraHosts: [],
    network: "default",
    shmSizeBytes: null,
    ulimits: [],
    cgroupParent: "",
    hostname: null,
    sourceDateEpoch: null,
    ...more,
  };
}

/** A signal that never comes. */
export const CALL: CallOptions = { signal: new AbortController().signal };

export function build(
  dockerfile: string,
  more: Partial<FrontendOptions> = {},
  host: FrontendHost = hostOf(),
): Promise<Converted> {
  return convert(optionsOf(dockerfile, more), host, CALL);
}

/** The one image of a build, or the first. */
export async function image(
  dockerfile: string,
  more: Partial<FrontendOptions> = {},
  host: FrontendHost = hostOf(),
): Promise<{
  readonly definition: Definition;
  readonly config: ImageConfig;
  readonly steps: readonly string[];
  readonly history: readonly string[];
}> {
  const converted = await build(dockerfile, more, host);
  const first = converted.images[0];
  if (first === undefined) throw new Error("no image");
  const { definition, config } = first;
  const steps = [...definition.notes.values()].map((note) => note.name.replace(/@sha256:[0-9a-f]+/g, "@…"));
  return { definition, config, steps, history: made(config.history).map(showHistory) };
}

/** What this build added to the history. */
function made(history: readonly HistoryEntry[]): readonly HistoryEntry[] {
  return history.filter((entry) => entry.comment === "buildkit.dockerfile.v0");
}

function showHistory({ created_by = "", empty_layer }: HistoryEntry): string {
  return `${empty_layer ? "- " : "+ "}${created_by}`;
}

/** The error a conversion ends with. */
export async function failure(
  dockerfile: string,
  more: Partial<FrontendOptions> = {},
  host: FrontendHost = hostOf(),
): Promise<BuildError> {
  try {
    await build(dockerfile, more, host);
  } catch (error) {
    if (error instanceof BuildError) return error;
    throw error;
  }
  throw new Error("it was converted");
}

/** Ops of one kind, inputs first. */
export function opsOf<K extends Op["kind"]>(
  definition: Definition,
  kind: K,
): readonly (Op & { readonly kind: K })[] {
  return [...definition.vertices.values()].flatMap(({ op }) =>
    op.kind === kind ? [op as Op & { readonly kind: K }] : [],
  );
}

/** A graph for people: each vertex with a number, what it is called, what it does and on what. */
export function graphText({ vertices, notes, root }: Definition): string {
  const numbers = new Map([...vertices.keys()].map((digest, index) => [digest, index + 1]));
  const lines: string[] = [];
  for (const [digest, vertex] of vertices) {
    const note = notes.get(digest);
    const platform = vertex.platform === null ? "" : ` (${formatPlatformAll(vertex.platform)})`;
    const at =
      note?.at.map(({ start, end }) => ` ${start.line}:${start.column}-${end.line}:${end.column}`).join("") ??
      "";
    const ofInput = (index: number): string => {
      const input = vertex.inputs[index];
      return input === undefined ? `a${index - vertex.inputs.length}` : `#${numbers.get(input.vertex)}`;
    };
    const shown = (index: number | null): string => (index === null ? "scratch" : ofInput(index));
    lines.push(
      `#${numbers.get(digest)} ${note?.name ?? ""}${platform}${at}${note?.ignoreCache ? " no-cache" : ""}`,
    );
    if (note?.group) lines.push(`    group ${note.group.name}${note.group.weak ? " (weak)" : ""}`);
    for (const line of opText(vertex, shown)) lines.push(`    ${line}`);
  }
  lines.push(`result ${root === null ? "scratch" : `#${numbers.get(root.vertex)}`}`);
  return `${lines.join("\n")}\n`;
}

function opText({ op }: Vertex, shown: (index: number | null) => string): readonly string[] {
  switch (op.kind) {
    case "source":
      return [op.identifier, ...Object.entries(op.attrs).map(([name, value]) => `${name} = ${value}`)];
    case "merge":
      return [`merge ${op.inputs.map(shown).join(" ")}`];
    case "diff":
      return [`diff ${shown(op.lower)} ${shown(op.upper)}`];
    case "build":
      return [`build ${op.builder}`];
    case "passthrough":
      return [`passthrough ${op.outputs.map(shown).join(" ")}`];
    case "file":
      return op.actions.map((action, index) => `a${index}: ${actionText(action, shown)}`);
    case "exec":
      return [
        JSON.stringify(op.args),
        `env ${JSON.stringify(op.env)} cwd ${op.cwd}${op.user === "" ? "" : ` user ${op.user}`}`,
        ...(op.network === "sandbox" && op.security === "sandbox"
          ? []
          : [`network ${op.network}, security ${op.security}`]),
        ...op.mounts.map((mount) => mountText(mount, shown)),
        ...op.secretEnv.map(
          ({ id, name, optional }) => `secret ${id} as $${name}${optional ? " optional" : ""}`,
        ),
      ];
  }
}

function actionText(action: FileAction, shown: (index: number | null) => string): string {
  const on = `on ${shown(action.base)}${action.output === null ? "" : ` -> ${action.output}`}`;
  switch (action.kind) {
    case "copy": {
      const flags = [
        "followSymlink",
        "dirCopyContents",
        "attemptUnpack",
        "createDestPath",
        "allowWildcard",
        "allowEmptyWildcard",
      ] as const;
      const lists = ["includePatterns", "excludePatterns", "requiredPaths"] as const;
      return [
        `copy ${shown(action.from)}:${action.src} to ${action.dest} ${on}`,
        ...(action.owner === null ? [] : [`owner ${ownerText(action.owner, shown)}`]),
        ...(action.mode === null ? [] : [`mode ${action.mode.toString(8)}`]),
        ...(action.modeStr === "" ? [] : [`mode ${action.modeStr}`]),
        ...lists
          .filter((name) => action[name].length > 0)
          .map((name) => `${name} ${JSON.stringify(action[name])}`),
        ...flags.filter((name) => action[name]),
      ].join(", ");
    }
    case "mkfile":
      return `mkfile ${action.path} ${action.mode.toString(8)} ${JSON.stringify(new TextDecoder().decode(action.data))} ${on}`;
    case "mkdir":
      return [
        `mkdir ${action.path} ${action.mode.toString(8)} ${on}`,
        ...(action.makeParents ? ["makeParents"] : []),
        ...(action.owner === null ? [] : [`owner ${ownerText(action.owner, shown)}`]),
        ...(action.timestampNs === null ? [] : [`time ${action.timestampNs}`]),
      ].join(", ");
    case "rm":
      return `rm ${action.path} ${on}`;
    case "symlink":
      return `symlink ${action.path} to ${action.target} ${on}`;
  }
}

function ownerText({ user, group }: ChownOpt, shown: (index: number | null) => string): string {
  return [user, group]
    .map((who) => (who === null ? "-" : who.kind === "id" ? `${who.id}` : `${who.name}@${shown(who.input)}`))
    .join(":");
}

function mountText(mount: ExecMount, shown: (index: number | null) => string): string {
  switch (mount.kind) {
    case "bind":
    case "cache": {
      const source = `${shown(mount.input)}${mount.selector === "" ? "" : `:${mount.selector}`}`;
      const id = mount.kind === "cache" ? ` id ${mount.id} ${mount.sharing}` : "";
      const output = mount.kind === "bind" && mount.output !== null ? ` -> ${mount.output}` : "";
      return `${mount.kind} ${mount.target} from ${source}${id}${mount.readonly ? " ro" : " rw"}${output}`;
    }
    case "tmpfs":
      return `tmpfs ${mount.target}${mount.sizeBytes === null ? "" : ` ${mount.sizeBytes} bytes`}`;
    case "secret":
    case "ssh": {
      const { kind, target, id, uid, gid, mode, optional } = mount;
      return `${kind} ${target} id ${id} ${uid}:${gid} ${mode.toString(8)}${optional ? " optional" : ""}`;
    }
  }
}
