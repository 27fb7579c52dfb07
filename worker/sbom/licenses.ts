// Licences as SPDX expressions: what packages state is looked up, corrected where its meaning is beyond doubt, or kept as a reference
// to the words that were found (SPDX 2.3, clause 10 and annex D).

import { createHash } from "node:crypto";
import parse from "spdx-expression-parse";

export interface LicenseRef {
  readonly id: string; // LicenseRef-…
  readonly name: string; // as found
}

export interface Expression {
  readonly text: string;
  /** The references in it. */
  readonly refs: readonly LicenseRef[];
}

const EXPRESSION_MAX_CHARS = 1024;

/** All of the licences at once; null: none is stated. */
export function expressionOf(licenses: readonly string[]): Expression | null {
  const refs = new Map<string, LicenseRef>();
  const parts = new Set<string>();
  for (const stated of licenses) {
    const known = knownExpression(stated);
    if (known !== null) {
      parts.add(known);
      // References that the expression itself has.
      for (const [id] of known.matchAll(/\b(?<!DocumentRef-[\w.-]*:)LicenseRef-[A-Za-z0-9.-]+/g))
        refs.set(id, { id, name: id });
    } else {
      const ref = refOf(stated);
      parts.add(ref.id);
      refs.set(ref.id, ref);
    }
  }
  if (parts.size === 0) return null;
  const several = parts.size > 1;
  const text = [...parts].map((part) => (several && / OR /.test(part) ? `(${part})` : part)).join(" AND ");
  return { text, refs: [...refs.values()].sort((a, b) => (a.id < b.id ? -1 : 1)) };
}

/** A valid expression with the same meaning; null: none is known. */
export function knownExpression(stated: string): string | null {
  if (stated.length > EXPRESSION_MAX_CHARS) return null;
  const text = stated.trim();
  const alias = ALIASES.get(text.toLowerCase());
  if (alias !== undefined) return alias;
  if (isValid(text)) return text;
  // Debian's "GPL-2+ or Artistic", RPM's "GPLv2+ and MIT", Alpine's and Python's other spellings: word by word.
  const words = text
    .replaceAll(/,/g, " ")
    .replaceAll(/\b(and|or|with)\b/gi, (word) => word.toUpperCase())
    .split(/(\s+|[()])/)
    .map((word) => ALIASES.get(word.toLowerCase()) ?? inListedCase(word));
  const joined = words.join("").replaceAll(/\s+/g, " ").trim();
  return isValid(joined) ? joined : null;
}

/** Is it one identifier of the licence list? */
export function isLicenseId(text: string): boolean {
  return /^[A-Za-z0-9.-]+$/.test(text) && !text.startsWith("LicenseRef-") && isValid(text);
}

function isValid(text: string): boolean {
  try {
    parse(text);
    return true;
  } catch {
    return false;
  }
}

/** "mit" as "MIT": identifiers are not case-sensitive (annex D.2), but listed in one form. */
function inListedCase(word: string): string {
  for (const form of [word, word.toUpperCase(), CASED.get(word.toLowerCase()) ?? word])
    if (isValid(form)) return form;
  return word;
}

function refOf(stated: string): LicenseRef {
  const plain = stated
    .replaceAll(/[^A-Za-z0-9.-]+/g, "-")
    .replaceAll(/^-+|-+$/g, "")
    .slice(0, 64);
  // Different words may leave the same characters.
  const isExact = plain === stated;
  const hash = createHash("sha256").update(stated).digest("hex").slice(0, 8);
  return {
    id: `LicenseRef-${isExact ? plain : [plain, hash].filter((part) => part !== "").join("-")}`,
    name: stated,
  };
}

/** Identifiers in lower case that are not all capitals. */
const CASED: ReadonlyMap<string, string> = new Map(
  [
    "Apache-1.1",
    "Apache-2.0",
    "Artistic-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "Python-2.0",
    "Unlicense",
    "Zlib",
  ].map((id) => [id.toLowerCase(), id]),
);

/** Short names of Debian ("Machine-readable debian/copyright file", License short name), of RPM before SPDX, of Python's classifiers and of
 *  manifests. A version without "or later" is "only". */
const ALIASES: ReadonlyMap<string, string> = new Map(
  Object.entries({
    ...gnu("GPL", ["1", "2", "3"], "GPL"),
    ...gnu("LGPL", ["2", "2.1", "3"], "LGPL"),
    ...gnu("AGPL", ["3"], "AGPL"),
    ...gnu("GFDL", ["1.1", "1.2", "1.3"], "GFDL"),
    expat: "MIT",
    "mit license": "MIT",
    "the mit license": "MIT",
    "mit/x11": "MIT",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    apache2: "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "asl 2.0": "Apache-2.0",
    "http://www.apache.org/licenses/license-2.0": "Apache-2.0",
    "http://www.apache.org/licenses/license-2.0.txt": "Apache-2.0",
    "https://www.apache.org/licenses/license-2.0": "Apache-2.0",
    "https://www.apache.org/licenses/license-2.0.txt": "Apache-2.0",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mplv2.0": "MPL-2.0",
    "mplv1.1": "MPL-1.1",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
    "eclipse public license 2.0 (epl-2.0)": "EPL-2.0",
    artistic: "Artistic-1.0-Perl",
    zlib: "Zlib",
    zpl: "ZPL-2.1",
    boost: "BSL-1.0",
    "gnu general public license v2 (gplv2)": "GPL-2.0-only",
    "gnu general public license v2 or later (gplv2+)": "GPL-2.0-or-later",
    "gnu general public license v3 (gplv3)": "GPL-3.0-only",
    "gnu general public license v3 or later (gplv3+)": "GPL-3.0-or-later",
    "gnu lesser general public license v2 (lgplv2)": "LGPL-2.0-only",
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.0-or-later",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "gnu lesser general public license v3 or later (lgplv3+)": "LGPL-3.0-or-later",
    "gnu affero general public license v3": "AGPL-3.0-only",
    "gnu affero general public license v3 or later (agplv3+)": "AGPL-3.0-or-later",
  }),
);

/** "GPL-2", "GPL-2+", "GPL-2.0", "GPLv2", "GPLv2+", "GPL2", "GPL2+" and the same of its family, in lower case. */
function gnu(family: string, versions: readonly string[], id: string): Record<string, string> {
  return Object.fromEntries(
    versions.flatMap((version) => {
      const full = version.includes(".") ? version : `${version}.0`;
      return [...new Set([version, full])].flatMap((spelled) =>
        ["-", "v", "", " "].flatMap((between): [string, string][] => [
          [`${family}${between}${spelled}`.toLowerCase(), `${id}-${full}-only`],
          [`${family}${between}${spelled}+`.toLowerCase(), `${id}-${full}-or-later`],
        ]),
      );
    }),
  );
}
