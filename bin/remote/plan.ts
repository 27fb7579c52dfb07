// What a build elsewhere needs of this machine: which directories and layouts the builder may read, and where its results go.

import { mkdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { Readable } from "node:stream";
import type { OpenStore } from "../../cache/store.ts";
import { openLayout } from "../../cache/registry/layout.ts";
import { directoryPlace } from "../../cache/remote-cache/place.ts";
import { parseOutput, type Output } from "../../exporters/output-grammar.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Emit } from "../../solver/graph/event.ts";
import { readUserFile } from "../engine/context-files.ts";
import { MAIN_DIRECTORY } from "../engine/defaults.ts";
import type { BuildRequest } from "../engine/request.ts";
import type { Environment } from "../engine/config.ts";
import type { ServedLayout } from "./serve-content.ts";
import type { ServedDirectory, Sink } from "./serve-files.ts";
import { newId } from "./session-server.ts";
import {
  type Attributes,
  cacheExport,
  cacheImport,
  type Entry,
  exporterOf,
  frontendAttributes,
  unsupported,
} from "./solve-request.ts";

const DOCKERFILE_DIRECTORY = "dockerfile";
/** As many as BuildKit's ids have. */
const STORE_ID_CHARS = 25;
/** The content store that an exporter with tar=false writes to. */
const EXPORT_STORE = "export";

export interface Plan {
  readonly attributes: Attributes;
  readonly exporters: readonly Entry[];
  readonly cacheImports: readonly Entry[];
  readonly cacheExports: readonly Entry[];
  readonly directories: ReadonlyMap<string, ServedDirectory>;
  readonly layouts: ReadonlyMap<string, ServedLayout>;
  /** By the number of their exporter. */
  readonly sinks: ReadonlyMap<number, Sink>;
  /** An archive that is fetched by Upload under `urlPath`. */
  readonly upload: { readonly file: string; readonly urlPath: string } | null;
  /** Layouts of which an index has to name what was written. */
  readonly writtenLayout: string | null;
  readonly writtenCaches: readonly {
    readonly path: string;
    readonly tag: string;
    readonly ignoreError: boolean;
  }[];
}

export interface PlanDeps {
  /** A private directory for what has no place of its own; removed by who owns it. */
  readonly tempDir: () => string;
  /** The image store of this machine. */
  readonly store: () => Promise<OpenStore>;
  readonly env: Environment;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

/** A call of a frontend: its attributes, and what it may read of this machine. */
export type FrontendPlan = Pick<Plan, "attributes" | "directories" | "layouts" | "upload">;

/** What a frontend is told and may read. Throws as planBuild. */
export async function planFrontend(
  request: BuildRequest,
  deps: Pick<PlanDeps, "tempDir">,
): Promise<FrontendPlan> {
  const gitModes = request.contextMode === "git";
  const found = new Map<string, ServedDirectory>();
  const layouts = new Map<string, ServedLayout>();
  const main = await mainAttributes(request, found, deps);
  const named = await namedContexts(request, found, layouts);
  return {
    attributes: { ...frontendAttributes(request), ...main.attributes, ...named },
    directories: new Map([...found].map(([name, { path }]) => [name, { path, gitModes }])),
    layouts,
    upload: main.upload,
  };
}

/** Reads what has to be known before the build. Throws BuildError, USAGE for what only builds on this machine do. */
export async function planBuild(request: BuildRequest, deps: PlanDeps): Promise<Plan> {
  const { attributes, directories, ...frontend } = await planFrontend(request, deps);
  const layouts = new Map(frontend.layouts);
  const { imports, caches } = await planCaches(request, layouts, deps);
  const outputs = planOutputs(request, layouts, deps);
  return {
    attributes: { ...attributes, ...cacheAttribute(imports) },
    exporters: outputs.exporters,
    cacheImports: imports,
    cacheExports: request.cacheTo.map(cacheExport),
    directories,
    layouts,
    sinks: outputs.sinks,
    upload: frontend.upload,
    writtenLayout: outputs.layout,
    writtenCaches: caches,
  };
}

/** Where context and Dockerfile are. */
async function mainAttributes(
  request: BuildRequest,
  directories: Map<string, ServedDirectory>,
  { tempDir }: Pick<PlanDeps, "tempDir">,
): Promise<Pick<Plan, "upload"> & { readonly attributes: Attributes }> {
  const { context, dockerfile } = request;
  const serve = (name: string, path: string): void => void directories.set(name, { path, gitModes: false });
  /** A directory with these files and nothing else. */
  const scratch = (name: string, files: ReadonlyMap<string, Uint8Array>): string => {
    const path = join(tempDir(), name);
    mkdirSync(path, { mode: 0o700 });
    for (const [file, data] of files) writeFileSync(join(path, file), data, { mode: 0o600 });
    return path;
  };
  let attributes: Attributes = {};
  let upload: Plan["upload"] = null;
  switch (context.kind) {
    case "directory":
      serve(MAIN_DIRECTORY, context.path);
      break;
    case "empty":
      serve(MAIN_DIRECTORY, scratch("empty", new Map()));
      break;
    case "remote":
      attributes = { context: context.url };
      break;
    case "archive": {
      const urlPath = newId();
      upload = { file: context.path, urlPath };
      attributes = { context: `http://buildkit-session/${urlPath}` };
      break;
    }
    default:
      throw new Error(`a context that is ${context.kind} is not the user's`);
  }
  switch (dockerfile.kind) {
    case "default":
      if (context.kind === "directory") serve(DOCKERFILE_DIRECTORY, context.path);
      return { attributes: { ...attributes, filename: "Dockerfile" }, upload };
    case "path": {
      if (context.kind !== "directory")
        return { attributes: { ...attributes, filename: dockerfile.path }, upload };
      // Only the file itself and its ignore file: what else lies beside it was not named.
      const name = basename(dockerfile.path);
      const files = new Map<string, Uint8Array>();
      for (const ending of ["", ".dockerignore"]) {
        const data = await readUserFile(dockerfile.path + ending, context.path);
        if (data !== null) files.set(name + ending, data);
      }
      serve(DOCKERFILE_DIRECTORY, scratch("dockerfile", files));
      return { attributes: { ...attributes, filename: name }, upload };
    }
    case "bytes": {
      serve(DOCKERFILE_DIRECTORY, scratch("dockerfile", new Map([["Dockerfile", dockerfile.data]])));
      // Beside a context that is no directory it has to be said that there is one for the Dockerfile.
      const key = { dockerfilekey: DOCKERFILE_DIRECTORY };
      return { attributes: { ...attributes, filename: "Dockerfile", ...key }, upload };
    }
    case "remote":
      throw unsupported(
        "a Dockerfile from a URL",
        "download it, and pass its path with -f, or -f - for standard input",
      );
    default:
      throw new Error(`a Dockerfile that is ${dockerfile.kind} is not the user's`);
  }
}

async function namedContexts(
  request: BuildRequest,
  directories: Map<string, ServedDirectory>,
  layouts: Map<string, ServedLayout>,
): Promise<Attributes> {
  const attributes: Record<string, string> = {};
  for (const [name, value] of request.buildContexts) {
    let told = value;
    if (value.startsWith("local:")) {
      const files = await request.session.files(value.slice(6));
      if (files.kind === "here") directories.set(value.slice(6), { path: files.path, gitModes: false });
    } else if (value.startsWith("oci-layout://")) {
      const { path, tag, digest } = layoutOf(value);
      const found = digest ?? openLayout(path).find(tag).digest;
      // The same for the same image, since it is part of the graph, and of what provenance says.
      const store = found.slice("sha256:".length, "sha256:".length + STORE_ID_CHARS);
      layouts.set(`oci:${store}`, { path, writable: false });
      told = `oci-layout://${store}${tag === null ? "" : `:${tag}`}@${found}`;
    } else if (value.startsWith("target:")) {
      throw unsupported(`--build-context ${name}=${value}`);
    }
    attributes[`context:${name}`] = told;
  }
  return attributes;
}

/** oci-layout://PATH[:tag][@digest], with an absolute path. */
function layoutOf(value: string): {
  readonly path: string;
  readonly tag: string | null;
  readonly digest: string | null;
} {
  const [, path = "", tag = null, digest = null] =
    /^oci-layout:\/\/(.*?)(?::([\w][\w.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$/s.exec(value) ?? [];
  if (path === "") throw new BuildError("USAGE", `invalid context ${JSON.stringify(value)}`);
  return { path, tag, digest };
}

async function planCaches(
  request: BuildRequest,
  layouts: Map<string, ServedLayout>,
  { emit, signal }: Pick<PlanDeps, "emit" | "signal">,
): Promise<{ readonly imports: Entry[]; readonly caches: Plan["writtenCaches"] }> {
  const imports: Entry[] = [];
  for (const from of request.cacheFrom) {
    if (from.at.kind !== "local") {
      imports.push(cacheImport(from, null));
      continue;
    }
    const { path, tag, digest } = from.at;
    let found = digest;
    try {
      found ??= (await directoryPlace(path, tag, null).manifest({ signal }))?.descriptor.digest ?? null;
    } catch (error) {
      if (signal.aborted || !(error instanceof BuildError)) throw error;
      const message = `the cache ${path} is not used: ${error.message}`;
      emit({ kind: "warning", rule: "", message, detail: "", url: "", at: [] });
    }
    if (found === null) continue; // there is no cache yet, as on the first of many builds
    layouts.set(`local:${path}`, { path, writable: false });
    imports.push(cacheImport(from, found));
  }
  const caches: Plan["writtenCaches"][number][] = [];
  for (const to of request.cacheTo) {
    if (to.kind !== "place" || to.at.kind !== "local") continue;
    const { path, tag } = to.at;
    layouts.set(`local:${path}`, { path, writable: true });
    caches.push({ path, tag, ignoreError: to.ignoreError });
  }
  return { imports, caches };
}

/** Frontends that are asked by the gateway learn of caches by this. */
function cacheAttribute(imports: readonly Entry[]): Attributes {
  return imports.length === 0 ? {} : { "cache-imports": JSON.stringify(imports) };
}

function planOutputs(
  request: BuildRequest,
  layouts: Map<string, ServedLayout>,
  deps: PlanDeps,
): { readonly exporters: Entry[]; readonly sinks: Map<number, Sink>; readonly layout: string | null } {
  const exporters: Entry[] = [];
  const sinks = new Map<number, Sink>();
  let layout: string | null = null;
  // Without outputs the image goes where those of builds on this machine go: into its image store.
  const outputs = request.outputs.length > 0 ? request.outputs : [parseOutput("type=image")];
  for (const output of outputs) {
    const exporter = exporterOf(output, request);
    if (exporter === null) continue;
    const index = exporters.push(exporter) - 1;
    if (output.kind === "archive" && !output.tar) {
      if (output.format === "docker") throw unsupported("-o type=docker with tar=false", "use type=oci");
      if (layout !== null) throw unsupported("more than one output with tar=false");
      if (output.dest?.kind !== "path") throw new Error("a layout directory needs a path");
      layout = output.dest.path;
      layouts.set(EXPORT_STORE, { path: layout, writable: true });
      continue;
    }
    const sink = sinkOf(output, request, deps);
    if (sink !== null) sinks.set(index, sink);
  }
  return { exporters, sinks, layout };
}

/** null: the builder sends nothing here. */
function sinkOf(output: Output, { session }: BuildRequest, deps: PlanDeps): Sink | null {
  switch (output.kind) {
    case "cacheonly":
      return null;
    case "files":
      if (output.form === "directory") {
        if (output.dest.kind !== "path") throw new Error("a directory needs a path");
        return { kind: "directory", path: output.dest.path };
      }
      return fileSink(output.dest, session.outputs);
    case "archive":
      return output.dest === null ? dockerSink(deps) : fileSink(output.dest, session.outputs);
    case "image":
      return output.push ? null : storeSink(deps);
  }
}

function fileSink(
  dest: NonNullable<Extract<Output, { kind: "archive" }>["dest"]>,
  client: BuildRequest["session"]["outputs"],
): Sink {
  return {
    kind: "file",
    async take(data, signal) {
      const { writeOutput } = await import("../../exporters/file-output.ts");
      await writeOutput(dest, data, { signal, client });
    },
  };
}

function dockerSink({ env }: PlanDeps): Sink {
  return {
    kind: "file",
    async take(data, signal) {
      const { LOADERS, loadToDocker } = await import("../../exporters/docker.ts");
      await loadToDocker(data, { commands: LOADERS, env, signal });
    },
  };
}

function storeSink({ store, emit }: PlanDeps): Sink {
  return {
    kind: "file",
    async take(data, signal) {
      const { loadArchive } = await import("../engine/archives.ts");
      await loadArchive(await store(), { kind: "stream", stream: Readable.from(data) }, null, {
        signal,
        emit: (event) =>
          emit(event.kind === "vertex" ? { ...event, name: "importing to image store" } : event),
      });
    },
  };
}
