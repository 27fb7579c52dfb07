// The headers in rpmdb.sqlite, by SQLite itself, compiled to WebAssembly (sql.js): what a hostile database does stays in its memory. A bundle
// of its own, since few images have such a database.
//
// lib/backend/sqlite.c of rpm: CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)

import initSqlJs from "sql.js/dist/sql-wasm-inline.js";
import { type SourceFile, Unreadable } from "./source-file.ts";

/** The database is in memory. Those of full desktop systems have 200 MB. */
const DATABASE_MAX_BYTES = 512 << 20;
const PACKAGES_MAX = 200_000;
const HEADERS_MAX_BYTES = 2 ** 31;
const MAGIC = "SQLite format 3\0";
const SCHEMA =
  /^CREATE TABLE ['"]?Packages['"]? ?\(\s*hnum INTEGER PRIMARY KEY AUTOINCREMENT,\s*blob BLOB NOT NULL\s*\)$/i;

/** All headers, in the order of their numbers. Throws Unreadable. */
export async function sqliteHeaders(file: SourceFile): Promise<Iterable<Buffer>> {
  const bytes = Buffer.from(file.whole(DATABASE_MAX_BYTES)); // changed below
  if (bytes.toString("latin1", 0, MAGIC.length) !== MAGIC || bytes.length < 100)
    throw new Unreadable("it is not an SQLite database");
  // Bytes 18 and 19 of the header, "file format version numbers": 2 asks for a write-ahead log, which a database in memory has not. What is
  // in the log of an image is reported by the scan; a closed database has none.
  bytes[18] = bytes[19] = 1;
  const { Database } = await initSqlJs();
  return headers(() => new Database(bytes));
}

function* headers(open: () => import("sql.js").Database): Generator<Buffer> {
  const database = reading(open);
  try {
    reading(() => database.exec("PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON"));
    // Exactly rpm's table: a view or a generated column of that name would be a program.
    const found = reading(() =>
      database.exec("SELECT type, sql FROM sqlite_master WHERE name = 'Packages' COLLATE NOCASE"),
    );
    const rows = found[0]?.values ?? [];
    const [type, sql] = rows[0] ?? [];
    if (rows.length !== 1 || type !== "table" || typeof sql !== "string" || !SCHEMA.test(sql))
      throw new Unreadable("it has no table of packages as rpm makes it");
    const statement = reading(() => database.prepare("SELECT blob FROM Packages ORDER BY hnum"));
    let [count, total] = [0, 0];
    while (reading(() => statement.step())) {
      const [blob] = reading(() => statement.get());
      if (!(blob instanceof Uint8Array)) throw new Unreadable("a header of a package is not valid");
      total += blob.length;
      if (++count > PACKAGES_MAX || total > HEADERS_MAX_BYTES)
        throw new Unreadable("it has too many packages");
      yield Buffer.from(blob.buffer, blob.byteOffset, blob.length);
    }
  } finally {
    database.close();
  }
}

/** Whatever SQLite says of a broken database. */
function reading<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new Unreadable(`SQLite cannot read it: ${error instanceof Error ? error.message : String(error)}`);
  }
}
