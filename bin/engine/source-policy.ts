// Source policies: rules about which sources a build may use, and which it uses in place of others. BuildKit: sourcepolicy/engine.go,
// docs/build-repro.md, "Source policy".

import { posix } from "node:path";
import { setImmediate } from "node:timers/promises";
import { compileExpression, type LinearExpression, wildcardPattern } from "../../cache/linear-regexp.ts";
import { formatReference, parseReference, withDefaultTag } from "../../cache/registry/reference.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { SourceOp } from "../../solver/graph/op.ts";

/** Rules in their order: of those that match, the last that allows or denies counts, and the first that converts. */
export interface SourcePolicy {
  readonly rules: readonly SourceRule[];
}

export interface SourceRule {
  readonly action: "ALLOW" | "DENY" | "CONVERT";
  readonly selector: SourceSelector;
  /** What a source is converted to; null: nothing is said. */
  readonly updates: { readonly identifier: string; readonly attrs: Readonly<Record<string, string>> } | null;
}

export interface SourceSelector {
  /** "docker-image://docker.io/library/alpine:*". A source with just this identifier matches in any case. */
  readonly identifier: string;
  readonly matchType: "WILDCARD" | "EXACT" | "REGEX";
  readonly constraints: readonly AttrConstraint[];
}

/** A missing attribute is an empty text. */
export interface AttrConstraint {
  readonly key: string;
  readonly value: string;
  readonly condition: "EQUAL" | "NOTEQUAL" | "MATCHES";
}

/** Rules of all policies of a build: each one is compared with each source. */
export const RULES_MAX = 1_000;
/** What can be compared with rules, and made by them. */
const TEXT_MAX_CHARS = 16_384;
/** Characters of sources times instructions of the expressions they are compared with, for all of a build: 1,000 rules of usual length
 *  and 400 sources. All builds of a daemon share its time. */
const WORK_MAX = 2_000_000_000;
/** Others have their turn after this long. */
const TURN_MS = 10;
/** A converted source is judged again; more often than this it is going round in circles. */
const CONVERSIONS_MAX = 20;

/** Policies with their expressions compiled. */
export interface PolicyRules {
  /** The source to be used: the same one, or one it is converted to. Throws SOURCE_DENIED, USAGE, LIMIT_EXCEEDED. */
  evaluate(source: SourceOp, options: { readonly signal: AbortSignal }): Promise<SourceOp>;
}

export function openPolicyRules(policies: readonly SourcePolicy[]): PolicyRules {
  const count = policies.reduce((sum, { rules }) => sum + rules.length, 0);
  if (count > RULES_MAX)
    throw new BuildError("LIMIT_EXCEEDED", `source policies have ${count} rules, more than ${RULES_MAX}`);
  const compiled = new Map<string, Promise<LinearExpression>>();
  const compile = (pattern: string, shown: string): Promise<LinearExpression> => {
    const known =
      compiled.get(pattern) ?? compileExpression(pattern, `the source policy: ${JSON.stringify(shown)}`);
    compiled.set(pattern, known);
    return known;
  };

  let work = 0;
  let turnEndsAt = performance.now() + TURN_MS;
  async function test(expression: LinearExpression, text: string, signal: AbortSignal): Promise<boolean> {
    work += expression.size * text.length;
    if (work > WORK_MAX)
      throw new BuildError(
        "LIMIT_EXCEEDED",
        "the source policies are too complex for the sources of this build",
        {
          hint: "use fewer rules, or wildcards in place of regular expressions",
        },
      );
    if (performance.now() > turnEndsAt) {
      await setImmediate();
      signal.throwIfAborted();
      turnEndsAt = performance.now() + TURN_MS;
    }
    return expression.test(text);
  }

  /** null: it takes identifiers as they are. */
  async function expressionOf({ identifier, matchType }: SourceSelector): Promise<LinearExpression | null> {
    if (matchType === "EXACT") return null;
    if (matchType === "REGEX") return await compile(identifier, identifier);
    if (identifier.includes("**"))
      throw new BuildError("USAGE", `invalid wildcard in the source policy: ${JSON.stringify(identifier)}`);
    return await compile(wildcardPattern(identifier), identifier);
  }

  async function meets(
    { constraints }: SourceSelector,
    { attrs }: SourceOp,
    signal: AbortSignal,
  ): Promise<boolean> {
    for (const { key, value, condition } of constraints) {
      const found = Object.hasOwn(attrs, key) ? (attrs[key] ?? "") : "";
      if (condition === "EQUAL" && found !== value) return false;
      if (condition === "NOTEQUAL" && found === value) return false;
      if (condition !== "MATCHES") continue;
      if (!(await test(await compile(value, value), checkedText(found), signal))) return false;
    }
    return true;
  }

  async function convert(source: SourceOp, { selector, updates }: SourceRule): Promise<SourceOp> {
    if (updates === null)
      throw new BuildError("USAGE", "error mutating source policy: missing destination for convert rule");
    const { identifier, attrs } = source;
    const template = updates.identifier === "" ? selector.identifier : updates.identifier;
    const expression = await expressionOf(selector);
    const made = expression?.replaceAll(identifier, template, TEXT_MAX_CHARS) ?? template;
    const next = made === "" ? identifier : made;
    const converted = { ...source, identifier: next, attrs: { ...attrs, ...updates.attrs } };
    return Object.hasOwn(updates.attrs, GIT_URL) ? converted : withoutStaleUrl(source, converted);
  }

  /** One look at one policy: the source when nothing is said against it, else what it becomes. */
  async function look(source: SourceOp, { rules }: SourcePolicy, signal: AbortSignal): Promise<SourceOp> {
    const { identifier } = source;
    let isDenied = false;
    for (const rule of rules) {
      const { selector, action } = rule;
      if (!(await meets(selector, source, signal))) continue;
      if (selector.identifier !== identifier) {
        const expression = await expressionOf(selector);
        if (expression === null || !(await test(expression, identifier, signal))) continue;
      }
      if (action !== "CONVERT") {
        isDenied = action === "DENY";
        continue;
      }
      const made = await convert(source, rule);
      if (!isSameSource(made, source)) return made;
    }
    if (isDenied)
      throw new BuildError(
        "SOURCE_DENIED",
        `source ${JSON.stringify(printable(identifier))} denied by policy: source denied by policy`,
      );
    return source;
  }

  return {
    async evaluate(source, { signal }) {
      let current = source;
      for (let round = 0; round <= CONVERSIONS_MAX; round++) {
        checkedText(current.identifier);
        let next = current;
        for (const policy of policies) {
          next = await look(current, policy, signal);
          if (next !== current) break;
        }
        if (next === current) return current;
        current = next;
      }
      throw new BuildError("SOURCE_DENIED", "too many mutations on a single source: too many operations");
    },
  };
}

/** Linear time is long for long texts. */
function checkedText(text: string): string {
  if (text.length > TEXT_MAX_CHARS)
    throw new BuildError(
      "LIMIT_EXCEEDED",
      `a source is too long for a source policy: ${text.length} characters`,
    );
  return text;
}

export function isSameSource(a: SourceOp, b: SourceOp): boolean {
  const names = Object.keys(a.attrs);
  return (
    a.identifier === b.identifier &&
    names.length === Object.keys(b.attrs).length &&
    names.every((name) => Object.hasOwn(b.attrs, name) && a.attrs[name] === b.attrs[name])
  );
}

/** A converted repository is the one that its identifier names, unless the conversion says an address too. */
export function withoutStaleUrl(before: SourceOp, after: SourceOp): SourceOp {
  const { [GIT_URL]: url, ...attrs } = after.attrs;
  const isStale =
    url !== undefined && url === before.attrs[GIT_URL] && before.identifier !== after.identifier;
  return isStale ? { ...after, attrs } : after;
}
const GIT_URL = "git.fullurl";

/** A source by the name that rules are written for: images with registry and tag, repositories by the address they are fetched from. */
export function withFullName(source: SourceOp): SourceOp {
  if (source.identifier.startsWith("git://")) return { ...source, identifier: gitName(source) };
  const [, name] = /^docker-image:\/\/(.*)$/s.exec(source.identifier) ?? [];
  if (name === undefined) return source;
  try {
    return {
      ...source,
      identifier: `docker-image://${formatReference(withDefaultTag(parseReference(name)))}`,
    };
  } catch {
    return source; // told by who loads it
  }
}

/** git://HOST/PATH#REF:SUBDIR. The address in the attributes counts: it is what git is called with. */
function gitName({ identifier, attrs }: SourceOp): string {
  const [plain = "", fragment = ""] = identifier.split(/#(.*)/s);
  const url = attrs[GIT_URL] ?? plain;
  const [, scpHost, scpPath = ""] = /^[\w-]+@([^:/]+):(.*)$/s.exec(url) ?? [];
  const address = scpHost === undefined ? url.replace(/^[a-z]+:\/\//i, "") : `${scpHost}/${scpPath}`;
  const [, host = "", path = ""] = /^(?:[^/@]*@)?([^/]*)(.*)$/s.exec(address) ?? [];
  const [ref = "", directory = ""] = fragment.split(/:(.*)/s);
  const below = posix.join("/", directory).replace(/^\/|\/$/g, "");
  const rest = `${ref}${below === "" ? "" : `:${below}`}`;
  return `git://${host}${posix.join("/", path)}${rest === "" ? "" : `#${rest}`}`;
}
