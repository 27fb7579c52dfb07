// Source policies of clients in BuildKit's messages.

import type { SourcePolicy, SourceRule } from "../engine/source-policy.ts";
import { BuildError } from "../../solver/graph/error.ts";
import {
  AttrMatch,
  MatchType,
  type Policy,
  PolicyAction,
  type Rule,
} from "../wire/messages/moby/buildkit/v1/sourcepolicy/policy_pb.ts";

/** Throws USAGE for rules that say nothing, or what is not known. */
export function policiesIn(messages: readonly Policy[]): readonly SourcePolicy[] {
  return messages.map(({ rules }) => ({ rules: rules.map(ruleIn) }));
}

function ruleIn({ action, selector, updates }: Rule): SourceRule {
  if (selector === undefined) throw new BuildError("USAGE", "invalid nil selector in policy");
  const { identifier, matchType, constraints } = selector;
  return {
    action: nameIn(PolicyAction, action, "action"),
    selector: {
      identifier,
      matchType: nameIn(MatchType, matchType, "match type"),
      constraints: constraints.map(({ key, value, condition }) => ({
        ...{ key, value },
        condition: nameIn(AttrMatch, condition, "attr condition"),
      })),
    },
    updates: updates === undefined ? null : { identifier: updates.identifier, attrs: { ...updates.attrs } },
  };
}

/** The name of a value of an enum. */
function nameIn<Name extends string>(
  names: Readonly<Record<Name, unknown>>,
  value: number,
  what: string,
): Name {
  const name = Object.entries(names).find(([, one]) => one === value)?.[0];
  if (name === undefined) throw new BuildError("USAGE", `source policy: unknown type of ${what}: ${value}`);
  return name as Name;
}
