// Layers of finished steps become what the outputs want of them while later steps run: packed in each output's format and, for a push, sent.
// The outputs at the end find what is there, so errors are ignored here: there they are met again, with the words for them. A
// failed build leaves blobs that nothing refers to.

import { formatRepository, type Reference, type Repository } from "../cache/registry/reference.ts";
import type { Digest } from "../solver/graph/digest.ts";
import type { LayerId } from "../solver/graph/request.ts";
import { formLayer, formOf, type ImageForm } from "./assemble.ts";
import { type LayerQueue, openLayerQueue, type Working } from "./layer-queue.ts";
import { epochOf, type Output } from "./output-grammar.ts";
import { byRepository, sendBlob } from "./registry.ts";
import type { ExportDeps } from "./contract.ts";

/** More at once would only compete with the steps. */
const LAYERS_AT_ONCE = 2;

/** A queue of layers that the image will have, oldest first. */
export interface EarlyOutputs extends LayerQueue {
  readonly isSent: NonNullable<ExportDeps["isSent"]>;
}

/** What one output wants of each layer. */
interface Want {
  readonly form: ImageForm;
  readonly epochSeconds: number | null;
  /** Where its blob is to be. */
  readonly repositories: readonly Reference[];
}

/** Does nothing before the first layer. `epochSeconds`: of the build. */
export function openEarlyOutputs(
  outputs: readonly Output[],
  deps: Pick<ExportDeps, "store" | "layers" | "registry">,
  { signal: parent, epochSeconds }: { readonly signal: AbortSignal; readonly epochSeconds: number | null },
): EarlyOutputs {
  const wants = outputs.flatMap((output) => wantsOf(output, epochSeconds));
  const sent = new Set<string>();
  /** A registry that refuses one blob refuses others. */
  const failed = new Set<string>();
  const placeOf = (repository: Repository, digest: Digest): string =>
    `${formatRepository(repository)} ${digest}`;

  async function prepare(id: LayerId, want: Want, { signal, lease }: Working): Promise<void> {
    const { descriptor, remote } = await formLayer(id, want.form, want.epochSeconds, deps.layers, { signal });
    lease.addBlobs([descriptor.digest]);
    const remotes = new Map(remote === null ? [] : [[descriptor.digest, remote]]);
    for (const repository of want.repositories) {
      const name = formatRepository(repository);
      if (failed.has(name)) continue;
      try {
        await sendBlob(descriptor, remotes, { repository, mountFrom: [] }, deps, { signal });
        sent.add(placeOf(repository, descriptor.digest));
      } catch {
        failed.add(name);
      }
    }
  }

  const queue = openLayerQueue({ store: deps.store, parent, atOnce: LAYERS_AT_ONCE }, async (id, working) => {
    for (const want of wants) {
      if (working.signal.aborted) return;
      await prepare(id, want, working).catch(() => {});
    }
  });
  return {
    ...queue,
    offer: (layers) => (wants.length === 0 ? undefined : queue.offer(layers)),
    isSent: (repository, digest) => sent.has(placeOf(repository, digest)),
  };
}

function wantsOf(output: Output, buildEpoch: number | null): Want[] {
  if (output.kind !== "image" && output.kind !== "archive") return [];
  const epochSeconds = epochOf(output.image.epochSeconds, buildEpoch);
  const groups = output.kind === "image" && output.push ? byRepository(output, output.image.names) : [];
  const repositories = groups.flatMap(([first]) => first ?? []);
  return [{ form: formOf(output), epochSeconds, repositories }];
}
