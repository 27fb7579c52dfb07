// Source policies in files, of --source-policy and of EXPERIMENTAL_BUILDKIT_SOURCE_POLICY, in JSON as buildx and buildctl take it.

import { resolve } from "node:path";
import { BuildError, printable } from "../solver/graph/error.ts";
import type { Environment } from "./engine/config.ts";
import type { SourcePolicy, SourceRule } from "./engine/source-policy.ts";
import { readGiven } from "./given-file.ts";

export const SOURCE_POLICY = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY";

const POLICY_MAX_BYTES = 1 << 20;
/** In the order of their numbers, which may stand for them. */
const ACTIONS = ["ALLOW", "DENY", "CONVERT"] as const;
const MATCH_TYPES = ["WILDCARD", "EXACT", "REGEX"] as const;
const CONDITIONS = ["EQUAL", "NOTEQUAL", "MATCHES"] as const;

/** The rules of the variable's file, if it names one, and then of the others, as one policy: builders elsewhere take one. Throws USAGE. */
export async function readSourcePolicies(
  files: readonly string[],
  { env, cwd, signal }: { readonly env: Environment; readonly cwd: string; readonly signal: AbortSignal },
): Promise<readonly SourcePolicy[]> {
  const rules: SourceRule[] = [];
  // A variable of a script that is not set must not turn the rules off.
  if (files.includes("")) throw new BuildError("USAGE", "--source-policy: the name of a file is missing");
  for (const file of [env[SOURCE_POLICY] ?? "", ...files]) {
    if (file === "") continue;
    let text: string;
    try {
      text = (await readGiven(resolve(cwd, file), POLICY_MAX_BYTES, signal)).toString("utf8");
    } catch (cause) {
      if (signal.aborted) throw cause;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new BuildError("USAGE", `failed to read policy file: ${why}`, { cause });
    }
    rules.push(...parsePolicy(text, file).rules);
  }
  return rules.length === 0 ? [] : [{ rules }];
}

/** `file`: for messages. Throws USAGE. */
export function parsePolicy(text: string, file = "a source policy"): SourcePolicy {
  try {
    const rules = fieldOf(objectOf(JSON.parse(text), "the policy"), "rules") ?? [];
    return { rules: listOf(rules, "rules").map(ruleOf) };
  } catch (cause) {
    if (!(cause instanceof SyntaxError || cause instanceof TypeError)) throw cause;
    throw new BuildError("USAGE", `failed to parse source policy: ${cause.message}`, {
      cause,
      hint: `${file} is to be a JSON file with "rules", each with "action" and "selector"`,
    });
  }
}

function ruleOf(value: unknown): SourceRule {
  const rule = objectOf(value, "a rule");
  const selector = objectOf(fieldOf(rule, "selector"), "the selector of a rule");
  const updates = fieldOf(rule, "updates") ?? null;
  const to = updates === null ? null : objectOf(updates, "updates");
  return {
    action: nameOf(fieldOf(rule, "action"), ACTIONS, "action"),
    selector: {
      identifier: textOf(fieldOf(selector, "identifier"), "identifier"),
      matchType: nameOf(fieldOf(selector, "match_type"), MATCH_TYPES, "match_type"),
      constraints: listOf(fieldOf(selector, "constraints") ?? [], "constraints").map((one) => {
        const constraint = objectOf(one, "a constraint");
        return {
          key: textOf(fieldOf(constraint, "key"), "key"),
          value: textOf(fieldOf(constraint, "value"), "value"),
          condition: nameOf(fieldOf(constraint, "condition"), CONDITIONS, "condition"),
        };
      }),
    },
    updates: to && {
      identifier: textOf(fieldOf(to, "identifier"), "identifier"),
      attrs: Object.fromEntries(
        Object.entries(objectOf(fieldOf(to, "attrs") ?? {}, "attrs")).map(([name, one]) => [
          name,
          textOf(one, "an attribute"),
        ]),
      ),
    },
  };
}

type Fields = Readonly<Record<string, unknown>>;

/** Names of fields count in any case, as in Go. */
function fieldOf(fields: Fields, name: string): unknown {
  if (Object.hasOwn(fields, name)) return fields[name];
  const found = Object.keys(fields).find((key) => key.toLowerCase() === name);
  return found === undefined ? undefined : fields[found];
}

function objectOf(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new TypeError(`${what} is not an object`);
  return value as Fields;
}

function listOf(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new TypeError(`${what} is not a list`);
  return value;
}

/** A field that is left out is empty. */
function textOf(value: unknown, what: string): string {
  if (value === undefined || value === null) return "";
  if (typeof value !== "string") throw new TypeError(`${what} is not a string`);
  return value;
}

/** A name or its number; left out: the first. */
function nameOf<Name extends string>(value: unknown, names: readonly Name[], what: string): Name {
  const named = value ?? 0;
  const name = typeof named === "number" ? names[named] : names.find((one) => one === named);
  if (name !== undefined) return name;
  const written = typeof named === "object" ? "a list or an object" : JSON.stringify(named);
  const proposal = typeof named === "string" ? names.find((one) => one === named.toUpperCase()) : undefined;
  throw new TypeError(
    `invalid ${what}: ${printable(written, 100)}${proposal === undefined ? "" : ` (did you mean ${JSON.stringify(proposal)}?)`}`,
  );
}
