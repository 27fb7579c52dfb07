// Opens the image tools for one use, and shows it as a step.

import { digestOf } from "../../../solver/graph/digest.ts";
import { asStep } from "../../../solver/graph/event.ts";
import { hostPlatform } from "../../../solver/graph/platform.ts";
import { Scope } from "../../../solver/graph/scope.ts";
import type { EngineParts } from "../parts.ts";
import type { EngineTransferOptions } from "../request.ts";
import type { ImageAddress, ImageTools, OpenImage } from "./contract.ts";
import { combine, sendCombined } from "./combine.ts";
import { copyImage } from "./copy.ts";
import { imageFor, imageNodes, readGraph, readImageNode } from "./graph.ts";
import { collected, type ImageDeps, openSource } from "./source.ts";
import { BuildError } from "../../../solver/graph/error.ts";

/** Does `work` with the tools. What they read is held until it has ended. */
export async function useImageTools<T>(
  parts: EngineParts,
  title: string,
  options: EngineTransferOptions,
  work: (tools: ImageTools) => Promise<T>,
): Promise<T> {
  const vertex = digestOf(title);
  const { emit, signal } = options;
  emit({ kind: "vertex", vertex, name: title, inputs: [], at: [] });
  emit({ kind: "started", vertex, atMs: Date.now() });
  return await asStep({ vertex, emit, signal, nowMs: Date.now }, async () => {
    await using scope = new Scope(signal);
    const lease = scope.use(parts.store.lease());
    return await work(toolsOf({ parts, options, vertex, scope, lease }));
  });
}

function toolsOf(deps: ImageDeps): ImageTools {
  return {
    open: (address) => openImage(address, deps),
    copy: (from, to, options) => copyImage(from, to, options, deps),
    async create(request, to) {
      const combined = await combine(request, deps);
      for (const one of to) await sendCombined(combined, one, deps);
      return combined.top;
    },
    async layers(address, platform, count) {
      const [{ layerReport }, source] = await Promise.all([import("./layers.ts"), openSource(address, deps)]);
      const graph = await readGraph(source, deps.options);
      const image = await imageFor(graph, platform, hostPlatform(), source, deps.options);
      return await layerReport(image, source, count, deps);
    },
    async exportRootfs(address, platform, path) {
      const { exportRootfs } = await import("./export.ts");
      await exportRootfs(address, platform, path, deps);
    },
    async append(request) {
      const { appendLayers } = await import("./change.ts");
      return await appendLayers(request, deps);
    },
    async annotate(from, annotations, to) {
      const { annotateImage } = await import("./change.ts");
      return await annotateImage(from, annotations, to, deps);
    },
    async tags(repository, options) {
      const { remoteTags } = await import("./remote.ts");
      return await remoteTags(repository, options, deps);
    },
    async removeRemote(reference, options) {
      const { removeRemote } = await import("./remote.ts");
      return await removeRemote(reference, options, deps);
    },
    async resolve(address) {
      return await (await openSource(address, deps)).top(deps.options);
    },
  };
}

async function openImage(address: ImageAddress, deps: ImageDeps): Promise<OpenImage> {
  const { options } = deps;
  const source = await openSource(address, deps);
  const graph = await readGraph(source, options);
  return {
    ...{ shown: source.shown, name: source.name, graph },
    images: async () => {
      const images = [];
      for (const node of imageNodes(graph))
        if (node.document !== null) images.push(await readImageNode(node, source, options));
      return images;
    },
    imageFor: (platform) => imageFor(graph, platform, hostPlatform(), source, options),
    async read(descriptor, maxBytes) {
      if (descriptor.size > maxBytes)
        throw new BuildError(
          "IMAGE_INVALID",
          `${source.shown}: ${descriptor.digest} has more than ${maxBytes} bytes`,
        );
      return await collected(source.blob(descriptor, { signal: options.signal }));
    },
  };
}
