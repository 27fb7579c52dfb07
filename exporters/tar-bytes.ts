// A tar of plain members as a stream of bytes, the same for the same members, written by tar-stream. Layers are
// written in threads of the keeper instead, without streams (cache/layers/tar-write.ts).

import type { Pack } from "tar-stream";

export interface TarFile {
  readonly kind: "file";
  readonly name: string; // relative
  readonly size: number;
  readonly data: Uint8Array | (() => AsyncIterable<Uint8Array>);
}
export interface TarDirectory {
  readonly kind: "directory";
  readonly name: string; // ends in "/"
}

type Sink = ReturnType<Pack["entry"]>; // a stream of streamx, which tar-stream is made with

const EPOCH = new Date(0);

/**
 * Bytes of the whole tar. Modes are 0444 and 0755, owner 0:0, time 0: nothing of this machine is in it. Throws what a source
 * throws, and an error when one has another size than its member.
 */
export async function* tarBytes(
  members: readonly (TarFile | TarDirectory)[],
): AsyncGenerator<Uint8Array, void, undefined> {
  const { pack } = await import("tar-stream");
  const tar = pack();
  const filling = fill(tar, members);
  filling.catch((error: Error) => tar.destroy(error)); // its reader hears of it
  try {
    yield* tar as AsyncIterable<Uint8Array>;
  } finally {
    tar.destroy();
    // A source that fails has told the reader; one that was cut off has nothing to tell.
    await filling.catch(() => {});
  }
}

async function fill(tar: Pack, members: readonly (TarFile | TarDirectory)[]): Promise<void> {
  for (const member of members) {
    if (member.kind === "directory") {
      tar.entry({ name: member.name, type: "directory", mode: 0o755, mtime: EPOCH });
      continue;
    }
    await writeFile(tar, member);
  }
  tar.finalize();
}

async function writeFile(tar: Pack, { name, size, data }: TarFile): Promise<void> {
  let settle: (error?: Error | null) => void;
  const written = new Promise<void>((resolve, reject) => {
    settle = (error) => (error ? reject(error) : resolve());
  });
  written.catch(() => {}); // it may be destroyed while the source is waited for; told below
  // Called once: when the member is whole, or when it or the tar was destroyed.
  const entry = tar.entry({ name, size, mode: 0o444, mtime: EPOCH }, (error) => settle(error));
  entry.on("error", () => {}); // the callback tells the same
  try {
    for await (const chunk of typeof data === "function" ? data() : [data]) {
      if (entry.destroyed) break; // nobody reads on
      if (!entry.write(chunk)) await drained(entry);
    }
    entry.end(null); // no last chunk
  } catch (error) {
    entry.destroy(error as Error);
  }
  await written;
}

function drained(entry: Sink): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      entry.off("drain", done).off("close", done);
      resolve();
    };
    entry.on("drain", done).on("close", done);
  });
}
