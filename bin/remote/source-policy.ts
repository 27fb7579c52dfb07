// Source policies of a request in BuildKit's messages.

import { create } from "@bufbuild/protobuf";
import type { SourcePolicy } from "../engine/source-policy.ts";
import {
  AttrMatch,
  MatchType,
  type Policy,
  PolicyAction,
  PolicySchema,
} from "../wire/messages/moby/buildkit/v1/sourcepolicy/policy_pb.ts";

/** One policy for all of a request: a field for a Solve. */
export function policyField(policies: readonly SourcePolicy[]): { readonly SourcePolicy?: Policy } {
  if (policies.length === 0) return {};
  const rules = policies.flatMap((policy) => policy.rules);
  return {
    SourcePolicy: create(PolicySchema, {
      version: 1n,
      rules: rules.map(({ action, selector, updates }) => ({
        action: PolicyAction[action],
        selector: {
          identifier: selector.identifier,
          matchType: MatchType[selector.matchType],
          constraints: selector.constraints.map(({ key, value, condition }) => ({
            ...{ key, value },
            condition: AttrMatch[condition],
          })),
        },
        ...(updates === null
          ? {}
          : { updates: { identifier: updates.identifier, attrs: { ...updates.attrs } } }),
      })),
    }),
  };
}
