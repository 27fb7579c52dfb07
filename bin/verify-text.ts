// What verify found, for people and as JSON.

import { findingLines, renderComparison, stepName } from "./diff-text.ts";
import { findingsOf, type Finding } from "./engine/compare/findings.ts";
import { cleanText } from "./log-text.ts";
import type { Verification } from "./verify.ts";

/** All causes: those of stages first, where differences begin. */
export function verificationFindings({
  stages,
  comparisons,
}: Pick<Verification, "stages" | "comparisons">): readonly Finding[] {
  const all = [
    ...stages.map(({ comparison }) => comparison),
    ...comparisons.map(({ comparison }) => comparison),
  ].flatMap(findingsOf);
  const seen = new Set<string>();
  return all.filter(({ class: name, step, files, layer }) => {
    const key = JSON.stringify([name, step?.command, step?.place?.line, step === null ? layer : null, files]);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** With "findings": what --fix and programs need first. */
export function verificationJson(found: Verification): object {
  const { same, conditions, notVaried, stages, comparisons } = found;
  return {
    reproducible: same,
    findings: verificationFindings(found),
    conditions,
    notVaried,
    stages,
    comparisons,
  };
}

export function renderVerification(found: Verification): string {
  const { same, comparisons, stages, conditions, notVaried } = found;
  const out: string[] = [];
  out.push("varied in the second build:");
  for (const { name, a, b } of conditions)
    out.push(`  ${cleanText(name)}: ${cleanText(a)} → ${cleanText(b)}`);
  out.push("not varied:", ...notVaried.map((text) => `  ${cleanText(text)}`), "");
  const findings = verificationFindings(found);
  for (const { path, step, text } of comparisons.flatMap(({ comparison }) => comparison.dated))
    out.push(`warning: /${cleanText(path)} holds the day of the build (${text}): ${stepName(step)}`);
  if (same) return `${out.join("\n")}\nreproducible: both builds are the same\n`;
  for (const { name, comparison } of stages)
    out.push(`stage ${cleanText(name)}`, renderComparison(comparison, { causes: false }));
  for (const { platform, comparison } of comparisons) {
    if (platform !== null) out.push(`platform ${platform}`);
    out.push(renderComparison(comparison, { causes: false }));
  }
  out.push("not reproducible:", ...findings.flatMap(findingLines));
  return `${out.join("\n")}\n`;
}
