// PHP packages: vendor/composer/installed.json, and composer.lock where nothing is installed beside it.
// Format: getcomposer.org, "The composer.json schema"; installed.json of composer 1 is a list, of composer 2 an object.

import { type Cataloger, type Shown, shown } from "../cataloger.ts";
import { field, isRecord, type SourceFile, isUnreadable, Unreadable } from "../source-file.ts";

const INSTALLED_MAX_BYTES = 64 << 20;

export const composerInstalled: Cataloger = { name: "composer", packages: (file) => listed(file) };
export const composerLock: Cataloger = {
  name: "composer",
  installedBeside: "vendor/composer/installed.json",
  packages: (file) => listed(file),
};

function* listed(file: SourceFile): Generator<Shown> {
  let document: unknown;
  try {
    document = JSON.parse(file.whole(INSTALLED_MAX_BYTES).toString("utf8"));
  } catch (error) {
    throw isUnreadable(error) ? error : new Unreadable("it is not JSON");
  }
  const packages = isRecord(document) ? document.packages : document;
  if (!Array.isArray(packages)) throw new Unreadable("it has no list of packages");
  for (const entry of packages) {
    if (!isRecord(entry)) continue;
    const [name, version] = [field(entry.name), field(entry.version)];
    if (name === null || version === null) continue;
    const licenses = (Array.isArray(entry.license) ? entry.license : [entry.license])
      .slice(0, 100)
      .map(field);
    const known = licenses.filter((license) => license !== null);
    const slash = name.indexOf("/");
    yield shown({
      type: "composer",
      name,
      version,
      // Several are a choice: composer's schema, "license".
      licenses: known.length > 1 ? [known.join(" OR ")] : known,
      namespace: slash < 0 ? null : name.slice(0, slash),
    });
  }
}
