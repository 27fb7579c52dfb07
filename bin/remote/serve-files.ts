// FileSync and FileSend in the session: directories of this machine for the builder, and results from it.

import { decodeBytes } from "../wire/bytes-message.ts";
import { receiveFiles } from "../wire/fsutil-receive.ts";
import { sendFiles } from "../wire/fsutil-send.ts";
import { answered } from "../wire/packets.ts";
import type { Call, Handler } from "../wire/server.ts";
import { CODE, RpcError } from "../wire/status.ts";

/** A directory that the builder may read of. */
export interface ServedDirectory {
  readonly path: string; // absolute
  readonly gitModes: boolean;
}

/** Takes what one exporter sends. */
export type Sink =
  | { readonly kind: "file"; take(data: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> }
  | { readonly kind: "directory"; readonly path: string };

/** FileSync.DiffCopy: only what the named directories hold, and of it what the builder asks for. */
export function filesHandler(directories: ReadonlyMap<string, ServedDirectory>): Handler {
  return async (call) => {
    const [name = ""] = call.header("dir-name");
    const directory = directories.get(name);
    if (directory === undefined)
      throw new RpcError(CODE.NOT_FOUND, `no access allowed to dir ${JSON.stringify(name)}`);
    const rules = {
      includes: valuesOf(call, "include-patterns"),
      excludes: valuesOf(call, "exclude-patterns"),
      follow: valuesOf(call, "followpaths"),
    };
    await sendFiles(answered(call), directory.path, { rules, gitModes: directory.gitModes });
  };
}

/** Values of a header, which are escaped as in a URL's query where one has other characters than ASCII. */
function valuesOf(call: Call, name: string): string[] {
  const values = call.header(name);
  if (call.header(`${name}-encoded`)[0] !== "1") return [...values];
  return values.map((value) => {
    try {
      return decodeURIComponent(value.replaceAll("+", " "));
    } catch {
      throw new RpcError(CODE.INVALID_ARGUMENT, `${name} is not encoded as it says`);
    }
  });
}

/** FileSend.DiffCopy: the result of an exporter, by its number among the exporters of the request. Daemons with a single one do not say it. */
export function outputsHandler(sinks: ReadonlyMap<number, Sink>): Handler {
  const taken = new Set<Sink>();
  return async (call) => {
    const [text] = call.header("buildkit-attachable-exporter-id");
    const sink = sinks.get(text === undefined ? 0 : Number(text));
    if (sink === undefined) throw new RpcError(CODE.NOT_FOUND, `no output ${text ?? ""} was asked for`);
    if (sink.kind === "directory") {
      call.begin();
      const [{ receiveTree }, { makeOutputDirectory, outputError }] = await Promise.all([
        import("../../cache/received-files.ts"),
        import("../../exporters/file-output.ts"),
      ]);
      makeOutputDirectory(sink.path);
      const transfer = receiveFiles(answered(call));
      try {
        await receiveTree(transfer, sink.path, { signal: call.signal, onBytes: () => {} });
      } catch (error) {
        throw outputError(error, sink.path, call.signal);
      }
      await transfer[Symbol.asyncDispose]();
      return;
    }
    if (taken.has(sink)) throw new RpcError(CODE.INVALID_ARGUMENT, "the output was sent already");
    taken.add(sink);
    call.begin();
    await sink.take(bytesOf(call), call.signal);
  };
}

async function* bytesOf(call: Call): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const message of call.messages()) {
    const data = decodeBytes(message);
    if (data.length > 0) yield data;
  }
  // What is cut off by a lost connection is not the end of a file.
  call.signal.throwIfAborted();
}
