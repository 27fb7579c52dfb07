// Python packages: *.dist-info/METADATA and *.egg-info. Format: "Core metadata specifications" (packaging.python.org), PEP 639.

import { type Cataloger, shown } from "../cataloger.ts";
import { field, Unreadable } from "../source-file.ts";
import { stanzas } from "../stanzas.ts";

/** Descriptions of packages are part of the file. */
const METADATA_MAX_BYTES = 16 << 20;

export const python: Cataloger = {
  name: "python",
  *packages(file) {
    const text = file.whole(METADATA_MAX_BYTES).toString("utf8");
    // The headers end at the first empty line, where the description begins.
    const headers = text.split(/\r?\n\r?\n/, 1)[0] ?? "";
    const [get] = stanzas(headers);
    const [name, version] = [field(get?.("name")), field(get?.("version"))];
    if (name === null || version === null) throw new Unreadable("it has no name and version");
    const [author, email] = [field(get?.("author")), field(get?.("author-email"))];
    const supplier = author !== null && email !== null ? `${author} <${email}>` : (author ?? email);
    yield shown({ type: "pypi", name, version, supplier, licenses: licensesOf(headers, get) });
  },
};

/** An expression, else the classifiers, else the free text if it is one short line. */
function licensesOf(
  headers: string,
  get: ((key: string) => string | undefined) | undefined,
): readonly string[] {
  const expression = field(get?.("license-expression"));
  if (expression !== null) return [expression];
  const classifiers = [
    ...headers.matchAll(/^Classifier:[ \t]*License :: (?:OSI Approved :: )?([^\r\n]+)$/gim),
  ]
    .map(([, name]) => field(name))
    .filter((name) => name !== null && name !== "OSI Approved");
  if (classifiers.length > 0) return [...new Set(classifiers as string[])].sort();
  const license = get?.("license") ?? "";
  const said = license.includes("\n") ? null : field(license);
  return said === null || said.toUpperCase() === "UNKNOWN" ? [] : [said];
}

export function isPythonMetadata(path: string): boolean {
  return /\.dist-info\/METADATA$|\.egg-info\/PKG-INFO$|(?:^|\/)EGG-INFO\/PKG-INFO$/.test(path);
}
