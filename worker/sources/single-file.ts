// A layer with one file in its root: what downloads and single blobs become.

import { closeSync, fchmodSync, futimesSync } from "node:fs";
import { copyIn, openDirectory, openIn } from "../../cache/outside.ts";
import type { Store } from "../../cache/contract.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import { type FileAction, PLAIN_COPY } from "../../solver/graph/op.ts";
import type { CallContext, LayerId } from "../../solver/graph/request.ts";
import type { Keeper } from "../keeper/keeper.ts";

/** NAME_MAX of limits.h. */
const NAME_MAX_BYTES = 255;

export interface SingleFile {
  /** Of the blob in the content store; its bytes have been compared. */
  readonly digest: Digest;
  /** safeName() of something. */
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Also of the directory it is in; epoch seconds. */
  readonly mtimeSeconds: number;
}

/** Makes the layer. description: for `du`. */
export async function singleFileLayer(
  file: SingleFile,
  store: Store,
  keeper: () => Keeper,
  description: string,
  { signal }: Pick<CallContext, "signal">,
): Promise<LayerId> {
  await using active = store.layers.prepare();
  writeInto(active.upper, file, store);
  const isRoots = file.uid === 0 && file.gid === 0;
  await using owned = isRoots ? active : store.layers.prepare();
  if (!isRoots) {
    // Only the keeper may give files to others.
    await keeper().run(
      {
        kind: "file",
        base: [],
        upper: owned.upper,
        work: owned.work,
        inputs: [{ kind: "layers", dirs: [active.upper] }],
        actions: [givenTo(file)],
        times: { epochSeconds: null },
      },
      { signal },
    );
    const upper = openDirectory(owned.upper);
    try {
      futimesSync(upper, file.mtimeSeconds, file.mtimeSeconds);
    } finally {
      closeSync(upper);
    }
  }
  return owned.commit({ unpacked: true, createdAtMs: Date.now(), description }).id;
}

function writeInto(directory: string, { digest, name, mode, mtimeSeconds }: SingleFile, store: Store): void {
  const upper = openDirectory(directory);
  try {
    copyIn(store.content.path(digest), upper, name);
    const file = openIn(upper, name);
    try {
      fchmodSync(file, mode);
      futimesSync(file, mtimeSeconds, mtimeSeconds);
    } finally {
      closeSync(file);
    }
    futimesSync(upper, mtimeSeconds, mtimeSeconds);
  } finally {
    closeSync(upper);
  }
}

function givenTo({ name, uid, gid }: SingleFile): FileAction {
  return {
    kind: "copy",
    base: null,
    output: 0,
    from: 0,
    ...PLAIN_COPY,
    src: `/${name}`,
    dest: `/${name}`,
    owner: { user: { kind: "id", id: uid }, group: { kind: "id", id: gid } },
  };
}

/** One path component, never anything else (threat model P3). */
export function safeName(name: string): string {
  const last = name.trim().split("/").pop() ?? "";
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  const isName = last !== "" && last !== "." && last !== ".." && !/[\u0000-\u001f\u007f-\u009f]/.test(last); // oxlint-disable-line no-control-regex
  return isName && Buffer.byteLength(last) <= NAME_MAX_BYTES ? last : "download";
}
