// The key that signs owner notes of a store's layers (layers/owner.ts): 32 random bytes in the file `owner-key`.
//
// Losing it loses layers, never owners: records of layers created with one id contain the key's name (layer-store.ts), and
// those with another key count as missing. So a file torn by a power cut is simply recreated.

import { createHash, randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { BuildError } from "../solver/graph/error.ts";
import { errnoOf, onDisk } from "./disk-fault.ts";

/** "1 " and the key in hex: form 1 of the file. */
const FORM = /^1 ([0-9a-f]{64})\n$/;

/** The key of the store in `dir`, made when there is none. Throws STORE_UNUSABLE, STORE_FULL. */
export function noteKey(dir: string): Uint8Array {
  const file = join(dir, "owner-key");
  return onDisk("reading its key for owners", file, () => read(file) ?? make(file));
}

/** Names a key without telling it. */
export function nameOfKey(key: Uint8Array): string {
  return createHash("sha256").update("tsbuild owner-key ").update(key).digest("hex").slice(0, 16);
}

/** Over what is no key. */
function replace(draft: string, file: string): void {
  try {
    renameSync(draft, file);
  } catch (cause) {
    if (errnoOf(cause) !== "EISDIR") throw cause;
    throw new BuildError("STORE_UNUSABLE", `${file} is a directory, but must be a file`, {
      cause,
      hint: "remove it",
    });
  }
}

/** null: there is none, or what has its name is none. */
function read(file: string): Uint8Array | null {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (["ENOENT", "ELOOP", "ENXIO"].includes(errnoOf(error) ?? "")) return null;
    throw error;
  }
  try {
    const stat = fstatSync(fd);
    const match = stat.isFile() && stat.size < 100 ? FORM.exec(readFileSync(fd, "latin1")) : null;
    return match === null ? null : Buffer.from(match[1] as string, "hex");
  } finally {
    closeSync(fd);
  }
}

function make(file: string): Uint8Array {
  const draft = `${file}.${process.pid}-${randomBytes(6).toString("hex")}`;
  const key = randomBytes(32);
  writeFileSync(draft, `1 ${key.toString("hex")}\n`, { mode: 0o600, flush: true, flag: "wx" });
  try {
    // link(2): who comes second takes the first one's key.
    linkSync(draft, file);
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
    const other = read(file);
    if (other !== null) return other;
    replace(draft, file);
  } finally {
    rmSync(draft, { force: true });
  }
  return read(file) ?? key;
}
