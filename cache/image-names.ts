// Image names next to the database: names/<sha256 of the name>. The records are authoritative; these files are used if the
// database is lost. Each has the image record and the records of its layers, so that a restored name can be listed, run and pushed.
//
// A file is written in the transaction that writes its record, so both change in the same order in all processes. It is not
// flushed: after a power cut one may be old or torn (its first line is the sha256 of the rest). Therefore the first open after each
// boot updates the files from the records. A database without the mark is new: then the records are restored from the files.

import { createHash, randomBytes } from "node:crypto";
import { closeSync, openSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BuildError } from "../solver/graph/error.ts";
import type { LayerId } from "../solver/graph/request.ts";
import { errnoOf, onDisk } from "./disk-fault.ts";
import { IMAGE_SPACE, isNameless } from "./image-record.ts";
import { LAYER_SPACE, type LayerDirs } from "./layer-store.ts";
import { MADE_SPACE } from "./made-here.ts";
import { openDirectory, readIn } from "./outside.ts";
import type { RecordsFile } from "./records.ts";
import { lookAt, setAside } from "./set-aside.ts";
import type { ReadRecord } from "./records-file.ts";
import type { ImageRecord, LayerRecord } from "./contract.ts";

/** What a file holds. */
interface KeptName {
  readonly version: 1;
  readonly image: ImageRecord;
  readonly layers: readonly LayerRecord[];
}

export interface ImageNames {
  /** For RecordsOptions.inCommit: writes the file of a name that changes, removes that of one that goes. */
  inCommit(space: string, key: string, read: ReadRecord): void;
  /** To be called when the store has been opened. Returns what had to be restored, and (unless that is told already) that the
   *  database was lost, in words. */
  reconcile(records: RecordsFile, layers: LayerDirs, boot: string, isTold: boolean): Promise<string[]>;
}

/** In the records of every database that is not new. */
const MARK = { space: "store", key: "names" } as const;
const FILE_NAME = /^[0-9a-f]{64}$/;
/** An image has at most some hundred layers, a record of one some kilobytes. */
const FILE_MAX_BYTES = 2 ** 24;

export function openImageNames(options: { readonly dir: string; readonly quarantine: string }): ImageNames {
  const { dir, quarantine } = options;
  const path = (name: string): string => join(dir, fileOf(name));

  function inCommit(space: string, key: string, read: ReadRecord): void {
    if (space !== IMAGE_SPACE) return;
    const image = read<ImageRecord>(IMAGE_SPACE, key);
    if (image === null) {
      if (lookAt(path(key)) !== null) rmSync(path(key), { recursive: true, force: true });
    } else write(path(key), textOf(image, read));
  }

  function write(file: string, text: string): void {
    const draft = `${file}.${randomBytes(6).toString("hex")}`;
    onDisk("storing the name of an image", dir, () => {
      try {
        writeFileSync(draft, text, { mode: 0o600, flag: "wx" });
        publish(draft, file);
      } catch (error) {
        rmSync(draft, { force: true });
        throw error;
      }
    });
  }

  function publish(draft: string, file: string): void {
    try {
      renameSync(draft, file);
    } catch (error) {
      if (errnoOf(error) !== "EISDIR") throw error;
      setAside(file, quarantine);
      renameSync(draft, file);
    }
  }

  async function reconcile(
    records: RecordsFile,
    layers: LayerDirs,
    boot: string,
    isTold: boolean,
  ): Promise<string[]> {
    const seen = join(dir, `boot-${boot}`);
    const isNew = records.get(MARK.space, MARK.key) === null;
    if (!isNew && lookAt(seen) !== null) return [];
    const restored = isNew ? restore(records, layers) : [];
    // A store that was opened before had one with the mark.
    if (isNew && !isTold && readdirSync(dir).some((name) => name.startsWith("boot-")))
      restored.unshift(
        "db/data.mdb: was empty or missing; records of steps and layers are lost, the cache is rebuilt",
      );
    try {
      if (isNew) records.put(MARK.space, MARK.key, 1);
      await records.commit();
      // Alone: no name comes or goes between the look at its record and the one at its file.
      records.alone(() => follow(records));
      for (const name of readdirSync(dir))
        if (name.startsWith("boot-")) rmSync(join(dir, name), { recursive: true });
      closeSync(openSync(seen, "wx", 0o600));
    } catch (error) {
      // The files are a second copy: a full disk must not keep anybody from removing things.
      if (
        !(error instanceof BuildError && error.code === "STORE_FULL") &&
        errnoOf(error) !== "EEXIST" &&
        errnoOf(error) !== "ENOENT"
      )
        throw error;
    }
    return restored;
  }

  function restore(records: RecordsFile, layers: LayerDirs): string[] {
    const restored: string[] = [];
    const directory = openDirectory(dir);
    try {
      for (const file of readdirSync(dir)) {
        const kept = FILE_NAME.test(file) ? keptIn(directory, file) : null;
        if (kept === null || records.get(IMAGE_SPACE, kept.image.name) !== null) continue;
        for (const record of kept.layers) layers.recover(record);
        records.merge<ImageRecord>(IMAGE_SPACE, kept.image.name, (old) => old ?? kept.image);
        const what = isNameless(kept.image.name) ? "the image" : "the name";
        restored.push(`${what} ${kept.image.name}: restored from its file; it was missing in the database`);
      }
    } finally {
      closeSync(directory);
    }
    return restored;
  }

  /** Files as the records say. What else is there are drafts of processes that were killed. */
  function follow(records: RecordsFile): void {
    const images = new Map<string, ImageRecord>();
    for (const { key, value } of records.entries<ImageRecord>(IMAGE_SPACE)) images.set(fileOf(key), value);
    for (const name of readdirSync(dir)) {
      if (!images.has(name) && !name.startsWith("boot-")) rmSync(join(dir, name), { recursive: true });
    }
    for (const [file, image] of images) write(join(dir, file), textOf(image, records.get));
  }

  return { inCommit, reconcile };
}

const fileOf = (name: string): string => createHash("sha256").update(name).digest("hex");

function textOf(image: ImageRecord, read: ReadRecord): string {
  const ids = new Set<LayerId>(Object.values(image.layers ?? {}).flat());
  // What stands in for others comes first: they are put back because of it.
  const made = [...ids].flatMap((id) => read<LayerId>(MADE_SPACE, id) ?? []);
  const layers = [...new Set([...made, ...ids])].flatMap((id) => read<LayerRecord>(LAYER_SPACE, id) ?? []);
  const kept: KeptName = { version: 1, image, layers };
  const text = JSON.stringify(kept);
  return `${createHash("sha256").update(text).digest("hex")}\n${text}\n`;
}

/** null: none that can be trusted. */
function keptIn(directory: number, file: string): KeptName | null {
  let text: string;
  try {
    text = readIn(directory, file, FILE_MAX_BYTES)?.toString() ?? "";
  } catch {
    return null; // no file, or one that cannot be read: as good as none
  }
  const [sum = "", body = ""] = text.split("\n", 2);
  if (createHash("sha256").update(body).digest("hex") !== sum) return null;
  const kept = JSON.parse(body) as KeptName;
  const isRight =
    kept.version === 1 && typeof kept.image.name === "string" && fileOf(kept.image.name) === file;
  return isRight ? kept : null;
}
