// A lock as source policies, for builders elsewhere: what is listed is converted to what it is locked to, and what says nothing of its bytes
// after that is denied. The rules only deny, so they stand behind any others.

import { UPLOAD_HOST } from "../../solver/graph/session.ts";
import type { Lock } from "./lock.ts";
import { type AttrConstraint, type SourcePolicy, type SourceRule, withFullName } from "./source-policy.ts";

const CHECKSUM = "http.checksum";
const NO_CHECKSUM: AttrConstraint = { key: CHECKSUM, value: "", condition: "EQUAL" };
/** The Dockerfile does not say the commit beside the ref either. */
const NOT_BY_COMMIT: readonly AttrConstraint[] = [
  { key: "git.fetchbycommit", value: "true", condition: "NOTEQUAL" },
  { key: "git.checksum", value: "^(.{0,39}|.{41,63}|.{65,})$", condition: "MATCHES" },
];

/** RE2 has no negation: refs that are too short or long for a commit, or have other characters. */
const NO_COMMIT = "^git://[^#]*(#([^:]{0,39}|[^:]{41,63}|[^:]{65,}|[^:]*[^0-9a-f:][^:]*)?(:.*)?)?$";

export function lockPolicy({ images, urls, git }: Lock): SourcePolicy {
  return {
    rules: [
      ...[...images].map(([key, { digest }]) => {
        const identifier = `docker-image://${key}`;
        return convert({ identifier, matchType: "EXACT", constraints: [] }, `${identifier}@${digest}`, {});
      }),
      ...[...urls].map(([identifier, checksum]) =>
        convert({ identifier, matchType: "EXACT", constraints: [NO_CHECKSUM] }, identifier, {
          [CHECKSUM]: checksum,
        }),
      ),
      ...[...git].map(([key, commit]) => repository(key, commit)),
      deny("^docker-image://[^@]*$", []),
      deny(`^https?://`, [NO_CHECKSUM]),
      // What this command sends itself.
      { ...deny(`^http://${escaped(UPLOAD_HOST)}/`, []), action: "ALLOW" },
      deny(NO_COMMIT, NOT_BY_COMMIT),
    ],
  };
}

/** The directory stays, and so does the way git goes, which the name in policies does not say. */
function repository(key: string, commit: string): SourceRule {
  const [url = "", ref = ""] = key.split(/#(.*)/s);
  const source = { kind: "source", identifier: "git://host", attrs: { "git.fullurl": url } } as const;
  const name = withFullName(source).identifier;
  const asked = ref === "" ? "(?:#(:.*)?)?" : `#${escaped(ref)}(:.*)?`;
  const selector = {
    identifier: `^${escaped(name)}${asked}$`,
    matchType: "REGEX",
    constraints: NOT_BY_COMMIT,
  } as const;
  return convert(selector, `${name.replaceAll("$", "$$$$")}#${commit}\${1}`, { "git.fullurl": url });
}

function convert(
  selector: SourceRule["selector"],
  identifier: string,
  attrs: Readonly<Record<string, string>>,
): SourceRule {
  return { action: "CONVERT", selector, updates: { identifier, attrs } };
}

function deny(identifier: string, constraints: readonly AttrConstraint[]): SourceRule {
  return { action: "DENY", selector: { identifier, matchType: "REGEX", constraints }, updates: null };
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}
