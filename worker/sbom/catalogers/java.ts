// Java archives: pom.properties of Maven, else the manifest. Archives within archives (WEB-INF/lib, BOOT-INF/lib, ear files) as well.
// Formats: JAR File Specification, "JAR Manifest"; Maven Archiver, "pom.properties content".

import { type Cataloger, type Shown, shown, type TreeContext } from "../cataloger.ts";
import { field, memoryFile, type SourceFile, isUnreadable, Unreadable } from "../source-file.ts";
import { zipMembers } from "../zip.ts";

const PROPERTIES_MAX_BYTES = 1 << 20;
const MANIFEST_MAX_BYTES = 4 << 20;
const INNER_MAX_BYTES = 128 << 20;
const DEPTH_MAX = 3;
/** Of the archives within one archive, at all depths: a zip bomb in layers ends here. */
const INNER_TOTAL_MAX_BYTES = 1 << 30;

const ARCHIVE = /\.(?:jar|war|ear|hpi|jpi)$/i;
const POM = /^META-INF\/maven\/[^/]+\/[^/]+\/pom\.properties$/;
const MANIFEST = /^META-INF\/MANIFEST\.MF$/i;

export const java: Cataloger = {
  name: "java",
  packages: (file, path, context) =>
    archive(file, path, { context, depth: 0, left: { bytes: INNER_TOTAL_MAX_BYTES } }),
};

interface Within {
  readonly context: TreeContext;
  readonly depth: number;
  readonly left: { bytes: number };
}

/** `path`: of the archive, with those it is in: "/app.war!/WEB-INF/lib/a.jar". */
function* archive(file: SourceFile, path: string, within: Within): Generator<Shown> {
  const { context, depth, left } = within;
  let manifest: ReadonlyMap<string, string> = new Map();
  const own: Shown[] = [];
  const wanted = (name: string): boolean => POM.test(name) || MANIFEST.test(name) || ARCHIVE.test(name);
  for (const member of zipMembers(file, wanted)) {
    try {
      if (MANIFEST.test(member.name))
        manifest = mainSection(member.read(MANIFEST_MAX_BYTES).toString("utf8"));
      else if (POM.test(member.name)) {
        const found = ofPom(member.read(PROPERTIES_MAX_BYTES).toString("latin1"));
        if (found !== null) own.push(found);
      } else {
        if (depth >= DEPTH_MAX)
          throw new Unreadable(`archives are nested more than ${DEPTH_MAX} levels deep`);
        const inner = member.read(Math.min(INNER_MAX_BYTES, left.bytes));
        left.bytes -= inner.length;
        yield* archive(memoryFile(inner), `${path}!/${member.name}`, { ...within, depth: depth + 1 });
      }
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      context.unread(`${path}!/${member.name}`, error.message);
    }
  }
  if (own.length === 0) {
    const found = ofManifest(manifest, path);
    if (found !== null) own.push(found);
  }
  const license = field(manifest.get("bundle-license"));
  // Of an archive with one package the manifest is about that one.
  for (const found of own)
    yield own.length === 1 && license !== null ? { ...found, licenses: [license] } : found;
}

function ofPom(text: string): Shown | null {
  const value = (key: string): string | null =>
    field(new RegExp(`^${key}[ \\t]*[=:][ \\t]*(.*)$`, "m").exec(text)?.[1]);
  const [group, artifact, version] = [value("groupId"), value("artifactId"), value("version")];
  return group === null || artifact === null || version === null
    ? null
    : mavenPackage(group, artifact, version);
}

function mavenPackage(group: string | null, artifact: string, version: string): Shown {
  return shown({
    type: "maven",
    name: artifact,
    version,
    namespace: group,
    ...(group === null ? { nameless: true } : {}),
  });
}

/** A package without Maven's properties: by what the manifest says, else by the file's name. Without a group it has no package URL. */
function ofManifest(manifest: ReadonlyMap<string, string>, path: string): Shown | null {
  const value = (...keys: readonly string[]): string | null =>
    keys.map((key) => field(manifest.get(key))).find((found) => found !== null) ?? null;
  const file = /([^/]+?)(?:-(\d[\w.+-]*))?\.\w+$/.exec(path);
  const version =
    value("implementation-version", "bundle-version", "specification-version") ?? field(file?.[2]);
  const name = field(file?.[1]) ?? value("implementation-title", "automatic-module-name");
  if (version === null || name === null) return null;
  const group = value("implementation-vendor-id");
  return mavenPackage(group !== null && /^[\w.-]+$/.test(group) ? group : null, name, version);
}

/** The first section of a manifest; a line that begins with a space continues the one before. */
function mainSection(text: string): ReadonlyMap<string, string> {
  const lines = text.replaceAll("\r\n", "\n").split("\n\n", 1)[0]?.replaceAll("\n ", "").split("\n") ?? [];
  return new Map(
    lines.flatMap((line): [string, string][] => {
      const colon = line.indexOf(":");
      return colon <= 0 ? [] : [[line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]];
    }),
  );
}

export function isJavaArchive(path: string): boolean {
  return ARCHIVE.test(path);
}
