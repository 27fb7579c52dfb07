// Build caches in Azure Blob Storage, with BuildKit's layout: PREFIX/blobs/DIGEST and PREFIX/manifests/NAME in a container.
// BuildKit cache/remotecache/azblob

import { posix } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import { transferMs } from "../registry/calls.ts";
import type { SignalOptions, TransferOptions } from "../registry/contract.ts";
import { rangeHeader } from "../registry/blob-range.ts";
import { resumedBlob } from "../registry/resumed.ts";
import { sendBlockBlob } from "./azure-blocks.ts";
import { type AzureCalls, type AzureContainer, openAzureCalls } from "./azure-calls.ts";
import type { ObjectStore } from "./object-place.ts";
import type { WebCalls } from "./web-calls.ts";

export interface AzureLayout {
  readonly prefix: string;
  readonly blobsPrefix: string;
  readonly manifestsPrefix: string;
  /** The document is written under all of them and read from the first. Not empty. */
  readonly names: readonly string[];
}

export interface AzureOptions {
  readonly uploadsAtOnce: number;
  /** For tests. */
  readonly blockBytes?: number;
}

const BLOCK_BYTES = 16 << 20;
const TRANSFER_MIN_BYTES = 1 << 20;
const ANSWER_MAX_BYTES = 64 << 10;

/** A cache in a container, which is made when it is first written to. */
export function azureStore(
  container: AzureContainer,
  layout: AzureLayout,
  options: AzureOptions,
  web: WebCalls,
): ObjectStore {
  const calls = openAzureCalls(container, web);
  const keyOf = (directory: string, name: string): string =>
    posix.join(layout.prefix, directory, name).replace(/^\/+/, "");
  const blobKey = ({ digest }: Descriptor): string => keyOf(layout.blobsPrefix, digest);
  let made: Promise<void> | null = null;
  /** The first to write makes the container, for all that write at the time. */
  const ready = (signal: AbortSignal): Promise<void> => {
    if (made === null) {
      made = makeContainer(calls, signal);
      made.catch(() => {
        made = null;
      });
    }
    return made;
  };
  const { account, name } = container;

  return {
    name,
    from: `azblob:${account.origin}${account.pathname}#${JSON.stringify([container.container, layout.prefix, layout.blobsPrefix])}`,
    uploadsAtOnce: options.uploadsAtOnce,
    async document(maxBytes, { signal }) {
      const blob = keyOf(layout.manifestsPrefix, layout.names[0] ?? "");
      const found = await calls.document({ method: "GET", blob, ok: [200, 404], signal }, maxBytes);
      return found.status === 200 ? found.bytes : null;
    },
    async putDocument(bytes, { signal }) {
      await ready(signal);
      for (const one of layout.names) {
        const answer = await calls.call({
          ...{ method: "PUT", blob: keyOf(layout.manifestsPrefix, one), ok: [201], signal },
          headers: { "content-type": "application/json", "x-ms-blob-type": "BlockBlob" },
          ...{ body: bytes, size: bytes.length },
        });
        await answer.discard();
      }
    },
    blob: (descriptor, transfer) =>
      readBlob({ container, calls, web }, blobKey(descriptor), descriptor, transfer),
    async putBlob(descriptor, open, { signal }) {
      await ready(signal);
      const blob = blobKey(descriptor);
      const { size } = descriptor;
      const known = await calls.call({ method: "HEAD", blob, ok: [200, 404], signal });
      await known.discard();
      if (known.status === 200 && Number(known.headers["content-length"]) === size) return false;
      let isNew = true;
      const sending = { blockBytes: options.blockBytes ?? BLOCK_BYTES, signal };
      // What is there and broken is replaced; what another build has written meanwhile is not.
      const only: Record<string, string> = known.status === 404 ? { "if-none-match": "*" } : {};
      await sendBlockBlob({ size, open }, sending, async (block) => {
        const answer = await calls.call({
          ...{ method: "PUT", blob, query: block.query, body: block.body, size: block.size },
          headers: { ...block.headers, ...(block.isLast ? only : {}) },
          ok: block.isLast ? [201, 409, 412] : [201],
          isTransfer: block.size > TRANSFER_MIN_BYTES,
          signal: block.signal,
        });
        await answer.discard();
        if (answer.status !== 201) isNew = false;
      });
      return isNew;
    },
  };
}

/** Signatures for blobs alone may not ask about their container, which is there then. */
async function makeContainer(calls: AzureCalls, signal: AbortSignal): Promise<void> {
  const query = [["restype", "container"]] as const;
  const there = await calls.call({ method: "HEAD", blob: "", query, ok: [200, 403, 404], signal });
  await there.discard();
  if (there.status !== 404) return;
  const made = await calls.document(
    { method: "PUT", blob: "", query, size: 0, ok: [201, 409], signal },
    ANSWER_MAX_BYTES,
  );
  if (made.status === 409 && !Buffer.from(made.bytes).includes("ContainerAlreadyExists"))
    throw new BuildError("REGISTRY_UNREACHABLE", "the container is being deleted; try again later");
}

interface OpenContainer {
  readonly container: AzureContainer;
  readonly calls: AzureCalls;
  readonly web: WebCalls;
}

function readBlob(
  { container, calls, web }: OpenContainer,
  blob: string,
  descriptor: Descriptor,
  { signal, onBytes }: TransferOptions & SignalOptions,
): AsyncIterable<Uint8Array> {
  const name = `${container.name} ${descriptor.digest}`;
  return resumedBlob({
    descriptor,
    name,
    sender: container.account.host,
    async ask(range) {
      const answer = await calls.call({
        ...{ method: "GET", blob, ok: [200, 206, 404], signal: range.signal },
        headers: rangeHeader(range),
        answerSize: descriptor.size,
        isTransfer: descriptor.size > TRANSFER_MIN_BYTES,
      });
      if (answer.status !== 404) return answer;
      await answer.discard();
      throw new BuildError("REGISTRY_NOT_FOUND", `${name}: not found`);
    },
    unreachable: (fault) => web.unreachable(container.name, container.account, fault),
    pause: (attempt, own) => web.pause(attempt, own),
    totalMs: transferMs(descriptor.size),
    onBytes,
    connections: web.connections(container.account.host),
    signal,
  });
}
