// Ruby gems: specifications/*.gemspec, as `gem install` writes them (Gem::Specification#to_ruby): one assignment a line, of literals.

import { type Cataloger, shown } from "../cataloger.ts";
import { field, Unreadable } from "../source-file.ts";

const GEMSPEC_MAX_BYTES = 4 << 20;

export const gem: Cataloger = {
  name: "gem",
  *packages(file) {
    const text = file.whole(GEMSPEC_MAX_BYTES).toString("utf8");
    const value = (attribute: string): string | null =>
      field(new RegExp(`^[ \\t]*s\\.${attribute}[ \\t]*=[ \\t]*(.+)$`, "m").exec(text)?.[1]);
    const [name, version] = [literals(value("name"))[0], literals(value("version"))[0]];
    if (name === undefined || version === undefined) throw new Unreadable("it states no name and version");
    const platform = literals(value("platform"))[0];
    yield shown({
      type: "gem",
      name,
      version,
      licenses: [...literals(value("licenses")), ...literals(value("license"))],
      supplier: literals(value("authors")).join(", ") || null,
      ...(platform === undefined || platform === "ruby" ? {} : { qualifiers: { platform } }),
    });
  },
};

/** The string literals of an expression: "a".freeze, ["a".freeze, "b".freeze], Gem::Version.new("1.0"). */
function literals(expression: string | null): readonly string[] {
  return [...(expression ?? "").matchAll(/"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'/g)]
    .map(([, double, single]) => field((double ?? single ?? "").replaceAll(/\\(.)/g, "$1")))
    .filter((text) => text !== null);
}

export function isGemspec(path: string): boolean {
  return /(?:^|\/)specifications\/(?:default\/)?[^/]+\.gemspec$/.test(path);
}
