// --call=outline and --call=targets: what a Dockerfile offers, as data.

import type { SourceRange } from "../solver/graph/error.ts";
import type { OneConversion } from "./conversion.ts";
import type { ParsedDockerfile } from "./instruction.ts";
import { reachableFrom, splitStages } from "./stages.ts";
import type { Outline, Target } from "./contract.ts";

/** Arguments, secrets and agents that the target and all it needs make use of, by their place in the file. */
export function outlineOf({ conversion, target }: OneConversion): Outline {
  const args = new Map<string, Outline["args"][number]>();
  const secrets = new Map<string, Outline["secrets"][number]>();
  const ssh = new Map<string, Outline["ssh"][number]>();
  for (const stage of reachableFrom([target])) {
    const outline = conversion.states.get(stage)?.outline;
    if (outline === undefined) continue;
    const waiting = [...outline.usedArgs];
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      if (args.has(name)) continue;
      const arg = outline.args.get(name) ?? conversion.declaredArgs.get(name);
      if (arg === undefined) continue; // predefined, such as TARGETARCH
      args.set(name, { name, value: arg.value, description: arg.comment, at: arg.at });
      waiting.push(...arg.uses);
    }
    for (const [name, secret] of outline.secrets)
      if (!secrets.has(name)) secrets.set(name, { name, ...secret });
    for (const [name, agent] of outline.ssh) if (!ssh.has(name)) ssh.set(name, { name, ...agent });
  }
  return {
    name: target.name ?? "",
    description: target.description,
    args: byPlace(args.values()),
    secrets: byPlace(secrets.values()),
    ssh: byPlace(ssh.values()),
  };
}

function byPlace<T extends { readonly name: string; readonly at: SourceRange }>(
  values: Iterable<T>,
): readonly T[] {
  return [...values].sort(
    (a, b) =>
      a.at.start.line - b.at.start.line ||
      a.at.start.column - b.at.start.column ||
      (a.name < b.name ? -1 : 1),
  );
}

/** The stages of a file as they could be asked for with --target; FROM is shown as written. */
export function targetsOf(parsed: ParsedDockerfile): readonly Target[] {
  const { stages } = splitStages(parsed);
  return stages.map(({ from }, index) => ({
    name: from.as ?? "",
    description: from.comment,
    default: index === stages.length - 1,
    base: from.image,
    platform: from.platform ?? "",
    at: from.at,
  }));
}
