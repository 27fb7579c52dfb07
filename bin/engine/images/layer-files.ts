// What files layers add, and which of them later layers replace or delete again: bytes that are shipped for nothing.
// image-spec layer.md, "Whiteouts".

import { cleanName, isWhiteoutName, OPAQUE_NAME, WHITEOUT_PREFIX } from "../../../cache/layers/names.ts";
import { type TarEntry, tarReader } from "../../../cache/layers/tar.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import type { LayerFile } from "./contract.ts";

/** All members of all layers; a tree of them is in memory. */
const MEMBERS_MAX = 4_000_000;
/** Wasted files that are kept by name; all count. */
const WASTED_MAX = 10_000;

interface Place {
  bytes: number;
  layer: number;
  isFile: boolean;
  /** By name, in Latin-1. */
  children: Map<string, Place> | null;
}

export interface LayerTotals {
  readonly files: number;
  readonly fileBytes: number;
  wastedBytes: number;
}

export interface FileLedger {
  /** Takes the plain tar of the next layer, oldest first. Throws IMAGE_INVALID, ARCHIVE_INVALID, LIMIT_EXCEEDED. */
  layer(): { push(chunk: Uint8Array): void; finish(): void };
  /** By layer. */
  totals(): readonly LayerTotals[];
  /** The largest files of the image, and the largest of those that are gone. */
  largest(count: number): { readonly kept: readonly LayerFile[]; readonly wasted: readonly LayerFile[] };
}

/** Opens an empty ledger. `name`: of the image, for messages. */
export function openFileLedger(name: string): FileLedger {
  const root: Place = { bytes: 0, layer: 0, isFile: false, children: new Map() };
  const totals: { files: number; fileBytes: number; wastedBytes: number }[] = [];
  let wasted: LayerFile[] = [];
  let members = 0;

  const refuse = (why: string): never => {
    throw new BuildError("IMAGE_INVALID", `${name}: a member of a layer ${why}`);
  };

  /** Everything at and below a place is gone, as far as it is of an older layer. */
  function drop(place: Place, path: readonly string[], layer: number): void {
    const waiting: { readonly place: Place; readonly path: readonly string[] }[] = [{ place, path }];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      if (next.place.isFile && next.place.layer < layer) waste(next.place, next.path, layer);
      for (const [part, child] of next.place.children ?? [])
        waiting.push({ place: child, path: [...next.path, part] });
    }
  }

  function waste(place: Place, path: readonly string[], goneIn: number): void {
    const total = totals[place.layer - 1];
    if (total !== undefined) total.wastedBytes += place.bytes;
    if (place.bytes === 0) return;
    wasted.push({ path: shownPath(path), bytes: place.bytes, layer: place.layer, goneIn });
    if (wasted.length >= 2 * WASTED_MAX) wasted = bySize(wasted).slice(0, WASTED_MAX);
  }

  /** Removes what is older below a directory; what this layer has stays. */
  function hide(place: Place, path: readonly string[], layer: number): void {
    for (const [part, child] of place.children ?? []) {
      const own = [...path, part];
      if (child.layer < layer && child.children === null) {
        drop(child, own, layer);
        place.children?.delete(part);
      } else if (child.children !== null) {
        hide(child, own, layer);
        if (child.layer < layer && child.children.size === 0) place.children?.delete(part);
      }
    }
  }

  function parentOf(parts: readonly string[], layer: number): Place {
    let place = root;
    for (const [at, part] of parts.slice(0, -1).entries()) {
      place.children ??= new Map();
      let next = place.children.get(part);
      if (next?.children === null) {
        drop(next, parts.slice(0, at + 1), layer);
        next = undefined;
      }
      if (next === undefined) {
        next = { bytes: 0, layer, isFile: false, children: new Map() };
        place.children.set(part, next);
      }
      place = next;
    }
    return place;
  }

  function add(entry: TarEntry, layer: number): void {
    if (++members > MEMBERS_MAX)
      throw new BuildError("LIMIT_EXCEEDED", `${name}: its layers have more than ${MEMBERS_MAX} members`);
    const buffers = cleanName(entry.name, "layer", refuse);
    const last = buffers.at(-1);
    if (last === undefined) return;
    const parts = buffers.map((part) => part.toString("latin1"));
    const parent = parentOf(parts, layer);
    const directory = parts.slice(0, -1);
    if (last.equals(OPAQUE_NAME)) return hide(parent, directory, layer);
    if (isWhiteoutName(last)) {
      const gone = last.subarray(WHITEOUT_PREFIX.length).toString("latin1");
      const place = parent.children?.get(gone);
      if (place === undefined || place.layer === layer) return;
      drop(place, [...directory, gone], layer);
      parent.children?.delete(gone);
      return;
    }
    const key = parts.at(-1) as string;
    const known = parent.children?.get(key);
    const total = totals[layer - 1];
    if (entry.type === "dir") {
      if (known?.children === null) drop(known, parts, layer);
      const children = known?.children ?? new Map<string, Place>();
      parent.children?.set(key, { bytes: 0, layer, isFile: false, children });
      return;
    }
    if (known !== undefined) drop(known, parts, layer);
    const bytes = entry.type === "file" ? entry.size : 0;
    if (total !== undefined) {
      total.files++;
      total.fileBytes += bytes;
    }
    parent.children?.set(key, { bytes, layer, isFile: true, children: null });
  }

  return {
    layer() {
      const layer = totals.push({ files: 0, fileBytes: 0, wastedBytes: 0 });
      const reader = tarReader({ entry: (entry) => add(entry, layer), data: () => {}, end: () => {} });
      return { push: (chunk) => reader.push(chunk), finish: () => reader.finish() };
    },
    totals: () => totals,
    largest(count) {
      let kept: LayerFile[] = [];
      const waiting: { readonly place: Place; readonly path: readonly string[] }[] = [
        { place: root, path: [] },
      ];
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        const { place, path } = next;
        if (place.isFile && place.bytes > 0) {
          kept.push({ path: shownPath(path), bytes: place.bytes, layer: place.layer, goneIn: null });
          if (kept.length > 4 * count + 1000) kept = bySize(kept).slice(0, count);
        }
        for (const [part, child] of place.children ?? [])
          waiting.push({ place: child, path: [...path, part] });
      }
      return { kept: bySize(kept).slice(0, count), wasted: bySize(wasted).slice(0, count) };
    },
  };
}

function bySize(files: readonly LayerFile[]): LayerFile[] {
  return files.toSorted((a, b) => b.bytes - a.bytes || (a.path < b.path ? -1 : 1));
}

function shownPath(parts: readonly string[]): string {
  return `/${Buffer.from(parts.join("/"), "latin1").toString("utf8")}`;
}
