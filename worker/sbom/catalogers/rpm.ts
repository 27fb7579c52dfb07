// RPM databases: rpmdb.sqlite (Fedora, RHEL 9 and later), Packages.db ("ndb": SUSE) and Packages (Berkeley DB: RHEL 8 and earlier).
// ndb: lib/backend/ndb/rpmpkg.c of rpm: pages of 4096 bytes, of which the first ones hold slots of 16 bytes, and blocks of 16 bytes
// with the headers. Numbers are little-endian.

import { type Cataloger, type Shown, type TreeContext } from "../cataloger.ts";
import { bytesAt, type SourceFile, isUnreadable, Unreadable } from "../source-file.ts";
import { berkeleyHeaders } from "./rpm-berkeley.ts";
import { rpmPackage } from "./rpm-header.ts";

const HEADER_MAX_BYTES = 64 << 20;
const PACKAGES_MAX = 200_000;

export const rpmSqlite: Cataloger = {
  name: "rpm",
  async packages(file, path, context) {
    const { sqliteHeaders } = await import("../rpm-sqlite.ts");
    return ofHeaders(await sqliteHeaders(file), path, context);
  },
};

export const rpmNdb: Cataloger = {
  name: "rpm",
  packages: (file, path, context) => ofHeaders(ndbHeaders(file), path, context),
};

/** The log of a database that was not closed. */
export const rpmLog: Cataloger = {
  name: "rpm",
  packages({ size }) {
    if (size > 0) throw new Unreadable("it holds changes of an RPM database that are not read");
    return [];
  },
};

export const rpmBerkeley: Cataloger = {
  name: "rpm",
  packages: (file, path, context) => ofHeaders(berkeleyHeaders(file), path, context),
};

/** One broken header does not hide the others. */
function* ofHeaders(headers: Iterable<Buffer>, path: string, context: TreeContext): Generator<Shown> {
  for (const header of headers) {
    try {
      const found = rpmPackage(header);
      if (found !== null) yield found;
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      context.unread(path, error.message);
    }
  }
}

const PAGE_BYTES = 4096;
const SLOT_BYTES = 16;
const BLOCK_BYTES = 16;
/** Slots that the header of the database takes. */
const HEADER_SLOTS = 2;
const SLOT_PAGES_MAX = 4096;

function* ndbHeaders(file: SourceFile): Generator<Buffer> {
  const top = bytesAt(file, 0, HEADER_SLOTS * SLOT_BYTES);
  if (top.toString("latin1", 0, 4) !== "RpmP") throw new Unreadable("it is not an RPM database");
  if (top.readUInt32LE(4) !== 0) throw new Unreadable("it is an RPM database of a version that is not read");
  const pages = top.readUInt32LE(12);
  if (pages === 0 || pages > SLOT_PAGES_MAX) throw new Unreadable("its slots are not valid");
  const slots = bytesAt(file, 0, pages * PAGE_BYTES);
  let count = 0;
  for (let at = HEADER_SLOTS * SLOT_BYTES; at < slots.length; at += SLOT_BYTES) {
    if (slots.toString("latin1", at, at + 4) !== "Slot") throw new Unreadable("its slots are not valid");
    const [index, block] = [slots.readUInt32LE(at + 4), slots.readUInt32LE(at + 8)];
    if (index === 0) continue; // free
    if (++count > PACKAGES_MAX) throw new Unreadable(`it has more than ${PACKAGES_MAX} packages`);
    // "BlbS", the index again, a generation, the size; then the header.
    const head = bytesAt(file, block * BLOCK_BYTES, BLOCK_BYTES);
    const size = head.readUInt32LE(12);
    if (head.toString("latin1", 0, 4) !== "BlbS" || head.readUInt32LE(4) !== index || size > HEADER_MAX_BYTES)
      throw new Unreadable("a block of it is not valid");
    yield bytesAt(file, block * BLOCK_BYTES + BLOCK_BYTES, size);
  }
}

/** Where rpm keeps its database: %_dbpath of Fedora before 36 and others, of Fedora and SUSE now, of OSTree. */
const PLACES =
  /^(?:var\/lib\/rpm|usr\/lib\/sysimage\/rpm|usr\/share\/rpm)\/(rpmdb\.sqlite(?:-wal)?|Packages\.db|Packages)$/;

export function rpmCataloger(path: string): Cataloger | null {
  switch (PLACES.exec(path)?.[1]) {
    case "rpmdb.sqlite":
      return rpmSqlite;
    case "rpmdb.sqlite-wal":
      return rpmLog;
    case "Packages.db":
      return rpmNdb;
    case "Packages":
      return rpmBerkeley;
    default:
      return null;
  }
}
