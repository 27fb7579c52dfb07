// Alpine packages: the installed database of apk-tools. Format: apk-v2 "installed", one letter for each field, an empty line after
// each package (https://wiki.alpinelinux.org/wiki/Apk_spec, "Installed Database V2").

import { type Cataloger, shown } from "../cataloger.ts";
import { field, Unreadable } from "../source-file.ts";

const INSTALLED_MAX_BYTES = 128 << 20;

export const apk: Cataloger = {
  name: "apk",
  *packages(file) {
    const text = file.whole(INSTALLED_MAX_BYTES).toString("utf8");
    if (text.trim() !== "" && !/^[A-Za-z]:/m.test(text)) throw new Unreadable("it is not a database of apk");
    for (const part of text.split(/\n\n+/)) {
      const fields = new Map<string, string>();
      for (const line of part.split("\n")) {
        // After F: come the files of the package; the fields are before them.
        if (line.startsWith("F:")) break;
        if (line[1] === ":" && !fields.has(line[0] as string)) fields.set(line[0] as string, line.slice(2));
      }
      const [name, version] = [field(fields.get("P")), field(fields.get("V"))];
      if (name === null || version === null) continue;
      const [license, architecture, origin] = [fields.get("L"), fields.get("A"), fields.get("o")].map(field);
      yield shown({
        type: "apk",
        name,
        version,
        licenses: license === null || license === undefined ? [] : [license],
        supplier: field(fields.get("m")),
        source: origin === null || origin === undefined ? null : `${origin} ${version}`,
        ...(architecture === null || architecture === undefined
          ? {}
          : { qualifiers: { arch: architecture } }),
      });
    }
  },
};

export function isApkDatabase(path: string): boolean {
  // Since the merge of /usr below it.
  return path === "lib/apk/db/installed" || path === "usr/lib/apk/db/installed";
}
