// A call of the Dockerfile frontend, with the files it reads and the images it asks for.

import type { Definition } from "../../solver/graph/definition.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Attrs, Platform, SourceOp } from "../../solver/graph/op.ts";
import type { CallContext, LayerId } from "../../solver/graph/request.ts";
import type { TraceRequest } from "../../solver/solver.ts";
import { dockerfileGraph, sourceGraph, sourceTime } from "./build-context.ts";
import { MAIN_DIRECTORY } from "./defaults.ts";
import { contextSource, frontendOptions } from "./frontend-options.ts";
import type { LockTerms } from "./lock.ts";
import type { OpenBuild } from "./parts.ts";
import type { BuildRequest, CallAnswer, EngineBuildOptions } from "./request.ts";
import { traceOf } from "./trace-request.ts";
import type {
  Converted,
  FrontendHost,
  FrontendInput,
  FrontendOptions,
  ResolvedImage,
} from "../../frontend/contract.ts";

/** What a call of the frontend came to. */
export type Called =
  | {
      readonly kind: "converted";
      readonly converted: Converted;
      readonly trace: TraceRequest;
      /** To be called when the build has succeeded. */
      readonly onExported: () => void;
    }
  | { readonly kind: "answer"; readonly answer: CallAnswer };

/** Told of an image that a Dockerfile names, and what it stood for. */
export type OnImage = (source: SourceOp, platform: Platform, image: ResolvedImage) => Promise<void>;

/** Reads and converts what the request says, or answers its question. The session is that of `build`, whose main context is there already. */
export async function callFrontend(
  build: OpenBuild,
  request: BuildRequest,
  context: CallContext,
  options: EngineBuildOptions & { readonly onImage: OnImage },
): Promise<Called> {
  const { parts, worker } = build;
  const { store } = parts;
  const isSandboxed = (parts.config.network ?? "sandbox") === "sandbox";
  const { emit, signal } = context;
  await passDirectories(build, request, context);
  const frontend = await import("../../frontend/frontend.ts");
  const host = frontendHost(build, request, context, { ...frontend, onImage: options.onImage });
  const source = contextSource(request);
  const readInput = async (definition: Definition, path: string): Promise<Uint8Array | null> =>
    host.readFile(definition, path, { signal });
  const frontendRequest = await frontendOptions(request, source, {
    ...{ session: build.session, store, readInput, emit, signal },
    main: () => ("definition" in source ? source.definition : sourceGraph(source, request)),
  });
  const text = {
    file: frontendRequest.dockerfile.name,
    text: new TextDecoder().decode(frontendRequest.dockerfile.data),
    ...originOf(request, source),
  };
  options.onSource(text);
  // A Dockerfile (or argument) that was never built successfully here certainly has a step to run: the keeper starts while
  // base images are resolved. Otherwise the solver decides whether it is needed.
  const wish = digestOf(
    JSON.stringify([text.text, request.target, [...request.buildArgs], request.platforms]),
  );
  const runsSteps = request.call.name === "build" && request.lock?.mode !== "update";
  if (runsSteps && (request.noCache || store.records.get("built", wish) === null))
    await worker.warm(isSandboxed && request.network === "default" && /^[\t ]*RUN\b/im.test(text.text));

  const note = (message: string): void => emit({ kind: "note", message });
  if (request.call.name !== "build") {
    const question = { options: frontendRequest, host, source: text };
    const answer = await answerCall(frontend, request.call.name, question, { signal, note });
    return { kind: "answer", answer };
  }
  const converted = await frontend.convert(frontendRequest, host, {
    signal,
    note,
    onWarnings(warnings) {
      for (const { rule, detail, description, url, at } of warnings)
        emit({ kind: "warning", rule, message: detail, detail: description, url, at: [at] });
    },
  });
  return {
    kind: "converted",
    converted,
    trace: traceOf(request, converted.declared, options),
    onExported() {
      if (store.records.get("built", wish) === null) store.records.put("built", wish, 1);
    },
  };
}

/** The Dockerfile as a step that reads it, where that means something to a client. */
function originOf(request: BuildRequest, source: SourceOp | FrontendInput): { readonly origin?: Definition } {
  const { dockerfile, context } = request;
  if (dockerfile.kind === "client") return { origin: dockerfileGraph(dockerfile.name, dockerfile.path) };
  const isInContext = dockerfile.kind === "default" || dockerfile.kind === "path";
  if (!isInContext || context.kind !== "remote" || "definition" in source) return {};
  return { origin: sourceGraph(source, request) };
}

/** What a frontend is asked about. */
interface Question {
  readonly options: FrontendOptions;
  readonly host: FrontendHost;
  /** The Dockerfile of `options` as text. */
  readonly source: { readonly file: string; readonly text: string };
}

async function answerCall(
  frontend: typeof import("../../frontend/frontend.ts"),
  name: BuildRequest["call"]["name"],
  { options, host, source }: Question,
  call: { readonly signal: AbortSignal; readonly note: (message: string) => void },
): Promise<CallAnswer> {
  switch (name) {
    case "check":
      return { kind: "check", result: await frontend.check(options, host, call) };
    case "outline":
      return { kind: "outline", outline: await frontend.outline(options, host, call), source };
    case "targets":
      return { kind: "targets", targets: await frontend.targets(options, host, call), source };
    case "build":
      throw new Error("a build is no call");
  }
}

/** Directories that are read before there is a graph. What they are converted to counts where the graph uses them. */
async function passDirectories(
  { gate }: OpenBuild,
  { context: main, dockerfile }: BuildRequest,
  { signal }: CallContext,
): Promise<void> {
  if (gate === null) return;
  const names = [
    ...(main.kind === "directory" || main.kind === "client" ? [MAIN_DIRECTORY] : []),
    ...(dockerfile.kind === "bytes" || dockerfile.kind === "input" ? [] : ["dockerfile"]),
  ];
  if (main.kind !== "directory" && main.kind !== "client" && dockerfile.kind !== "client") return;
  for (const name of names)
    await gate.source({ kind: "source", identifier: `local://${name}`, attrs: {} }, null, { signal });
}

/** Resolves an image, shown as a step of its own. Throws what ImageSource.load() does. */
export async function resolveShown(
  { worker, terms }: OpenBuild,
  { identifier, attrs }: SourceOp,
  {
    platform,
    name,
    context,
  }: { readonly platform: Platform; readonly name: string; readonly context: CallContext },
): Promise<ResolvedImage> {
  const vertex = digestOf(`resolve ${identifier}`);
  const at = (kind: "started" | "done"): void => context.emit({ kind, vertex, atMs: Date.now() });
  context.emit({ kind: "vertex", vertex, name, inputs: [], at: [] });
  at("started");
  try {
    const load = (mode: Attrs): Promise<SourceImage> =>
      worker.images.load(identifier, { ...attrs, ...mode }, platform, context);
    const image = terms.lock?.mode === "update" ? await loadAnew(load) : await load({});
    at("done");
    const { digest, manifest, config, isPrivate } = image;
    return { digest, manifest, config, isPrivate };
  } catch (cause) {
    const error = terms.lock === null ? cause : withLockNamed(cause, identifier, terms.lock);
    if (error instanceof BuildError) context.emit({ kind: "failed", vertex, atMs: Date.now(), error });
    throw error;
  }
}

/** A digest that nobody has any more may be one that only the lock file says. */
function withLockNamed(error: unknown, identifier: string, { file, entries }: LockTerms): unknown {
  const [, key = "", digest = ""] = /^docker-image:\/\/([^@]*)@(.*)$/s.exec(identifier) ?? [];
  if (!(error instanceof BuildError) || digest === "" || entries.images.get(key)?.digest !== digest)
    return error;
  const { code, message, at, vertex } = error;
  const hint = `${file} says this digest: 'tsbuild update' looks for what ${key} is now`;
  return new BuildError(code, message, { at, vertex, hint, cause: error });
}

type SourceImage = Awaited<ReturnType<OpenBuild["worker"]["images"]["load"]>>;

/** As the registry has it now. What was only ever in the local image store is taken from there. */
async function loadAnew(load: (mode: Attrs) => Promise<SourceImage>): Promise<SourceImage> {
  try {
    return await load({ "image.resolvemode": "pull" });
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    const local = await load({ "image.resolvemode": "local" }).catch(() => null);
    if (local?.isPrivate === true) return local;
    throw error;
  }
}

function frontendHost(
  build: OpenBuild,
  request: BuildRequest,
  context: CallContext,
  {
    ConvertedImage,
    onImage,
  }: Pick<typeof import("../../frontend/frontend.ts"), "ConvertedImage"> & { readonly onImage: OnImage },
): FrontendHost {
  const { parts, worker } = build;
  return {
    async resolveImage(identifier, attrs, platform, { signal, vertexName: name }) {
      const asked = { kind: "source", identifier, attrs } as const;
      const source = (await build.gate?.source(asked, platform, { signal })) ?? asked;
      if (!/^(?:docker-image|oci-layout):/.test(source.identifier))
        throw new ConvertedImage(identifier, source.identifier);
      const image = await resolveShown(build, source, { platform, name, context: { ...context, signal } });
      await onImage(source, platform, image);
      return source === asked ? image : { ...image, identifier: source.identifier };
    },
    async sourceTime(asked) {
      const source = (await build.gate?.source(asked, null, context)) ?? asked;
      return await sourceTime(source, request, parts, context);
    },
    async readFile(source, path) {
      const layers = await solveLayers(build, source, context);
      const vertex = source.root?.vertex;
      if (vertex === undefined) return null;
      const dirs = await worker.unpacker.directories(layers, vertex, context);
      return parts.keeper().run({ kind: "read", dirs, path, maxBytes: 16 << 20 }, context);
    },
  };
}

async function solveLayers(
  { solver, worker }: OpenBuild,
  definition: Definition,
  context: CallContext,
): Promise<readonly LayerId[]> {
  if (definition.root === null) return [];
  await using solution = await solver.solve({ definition, noCache: false }, [definition.root], context);
  const [result] = solution.results;
  return result === undefined ? [] : await worker.layersOf(result, context);
}
