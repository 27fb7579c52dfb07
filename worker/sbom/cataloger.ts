// What the catalogers have in common: each knows files of one kind by their path, and lists the packages in such a file.

import type { Distro, FoundPackage } from "./contract.ts";
import type { SourceFile } from "./source-file.ts";

/** A package as one file shows it. `purl` and `locations` are added by the scan. */
export interface Shown extends Omit<FoundPackage, "purl" | "locations" | "declared"> {
  /** Namespace of the package URL ("github.com/owner", a maven group, an npm scope); omitted: that of the distribution, or none. */
  readonly namespace?: string | null;
  /** Qualifiers of the package URL besides `distro`. */
  readonly qualifiers?: Readonly<Record<string, string>>;
  /** Has no package URL, since a required part of it is not known. */
  readonly nameless?: boolean;
}

/** What else a cataloger may ask of the tree that the file is in. */
export interface TreeContext {
  readonly distro: Distro | null;
  /** Text of another file of the tree, links followed within it; null: there is none, or it is larger than `maxBytes`. */
  readonly text: (path: string, maxBytes: number) => string | null;
  /** Reports a part of the file that could not be read. */
  readonly unread: (path: string, reason: string) => void;
}

export interface Cataloger {
  /** Package managers' own words, in messages. */
  readonly name: string;
  /** Lists packages that are to be installed, not installed ones: read only where this path is not in the same directory. */
  readonly installedBeside?: string;
  /** The packages in the file. Throws Unreadable, also after it has reported some packages. */
  readonly packages: (
    file: SourceFile,
    path: string,
    context: TreeContext,
  ) => Iterable<Shown> | Promise<Iterable<Shown>>;
  /** Adds what other files of the tree say, as licences. Only for packages that the tree shows. */
  readonly completed?: (shown: Shown, context: TreeContext) => Shown;
}

/** A shown package with what most kinds do not have. */
export function shown(fields: Pick<Shown, "type" | "name" | "version"> & Partial<Shown>): Shown {
  return { licenses: [], supplier: null, source: null, ...fields };
}
