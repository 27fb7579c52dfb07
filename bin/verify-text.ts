// What verify found, for people and as JSON.

import { placeName, renderComparison, stepName } from "./diff-text.ts";
import type { Cause, Comparison, FileDifference } from "./engine/compare/contract.ts";
import { findingsOf, type Finding, isTimeField } from "./engine/compare/findings.ts";
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
  const { same, image, conditions, notVaried, stages, comparisons } = found;
  return {
    reproducible: same,
    image,
    findings: verificationFindings(found),
    conditions,
    notVaried,
    stages,
    comparisons,
  };
}

/** How much of a report in text: verdict and causes; also the conditions in short; everything. */
export type Extent = "causes" | "summary" | "all";

/** Steps and paths of one cause that are shown; --format json has all. */
const STEPS_SHOWN = 10;
const FILES_SHOWN = 3;

/** The verdict first, then causes by class, each with its remedy once. */
export function renderVerification(found: Verification, extent: Extent): string {
  const out = [...verdictLines(found)];
  if (extent !== "causes") {
    for (const { path, step, text } of found.comparisons.flatMap(({ comparison }) => comparison.dated))
      out.push(`warning: /${cleanText(path)} holds the day of the build (${text}): ${stepName(step)}`);
    out.push("", ...(extent === "all" ? allLines(found) : conditionLines(found)));
  }
  return `${out.join("\n")}\n`;
}

function verdictLines(found: Verification): string[] {
  const { same, image } = found;
  if (same)
    return [
      image === null
        ? "reproducible: both builds are the same"
        : `reproducible: the build is the same as ${cleanText(image)}`,
    ];
  const { later, rest } = sincePublished(found);
  const groups = new Map<string, Finding[]>();
  for (const finding of verificationFindings(rest))
    groups.set(finding.class, [...(groups.get(finding.class) ?? []), finding]);
  const count = groups.size + (later === null ? 0 : 1);
  const out = [`not reproducible: ${count === 1 ? "one cause" : `${count} causes`}`];
  if (later !== null) out.push(later);
  for (const [name, findings] of groups) {
    const [first] = findings;
    out.push(`  ${name} (${first?.title})`, ...findings.slice(0, STEPS_SHOWN).flatMap(stepLines));
    const left = findings.length - STEPS_SHOWN;
    if (left > 0) out.push(`    … and ${left} more steps (--format json has all of them)`);
    out.push(`    → ${first?.proposal}`);
  }
  return out;
}

function stepLines({ step, layer, files, detail }: Finding): string[] {
  const shown = files.slice(0, FILES_SHOWN).map((file) => `/${cleanText(file)}`);
  const rest = files.length - shown.length;
  const paths = `${shown.join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
  return [
    `    ${placeName({ step, layer, files })}`,
    `      ${paths === "" ? "" : `${paths}: `}${cleanText(detail)}`,
  ];
}

type Compared = Pick<Verification, "stages" | "comparisons">;

/** Times that differ from those of an image since it was built earlier, as one line (null: there are none), and what is left without them.
 *  Two builds of now are another matter: their times are equal, unless --reproducible=false asks for the difference. */
function sincePublished({ image, stages, comparisons }: Verification): {
  readonly later: string | null;
  readonly rest: Compared;
} {
  const rest: Compared = { stages, comparisons };
  if (image === null) return { later: null, rest };
  const paths = new Set<string>();
  let isConfig = false;
  const isOfMember = (file: FileDifference, cause: Cause): boolean =>
    cause.class === "file-times" &&
    file.fields.some(({ field, a, b }) => field === "mtime" && cause.detail === `${a} and ${b}`);
  const fileWithout = (file: FileDifference): FileDifference => {
    const causes = file.causes.filter((cause) => !isOfMember(file, cause));
    if (causes.length < file.causes.length) paths.add(file.path);
    return { ...file, causes };
  };
  const without = (comparison: Comparison): Comparison => {
    const config = comparison.config.filter(({ field }) => !isTimeField(field));
    isConfig ||= config.length < comparison.config.length;
    const layers = comparison.layers.map((layer) => ({ ...layer, files: layer.files.map(fileWithout) }));
    return { ...comparison, config, layers };
  };
  const left = comparisons.map((one) => ({ ...one, comparison: without(one.comparison) }));
  if (paths.size === 0 && !isConfig) return { later: null, rest };
  const isCut = comparisons.some(({ comparison }) => comparison.layers.some(({ more }) => more > 0));
  const files = `times of ${paths.size}${isCut ? " or more" : ""} ${paths.size === 1 ? "file" : "files"}`;
  const what = [...(paths.size > 0 ? [files] : []), ...(isConfig ? ["times in the image config"] : [])].join(
    " and ",
  );
  const later = `  file-times: ${what}: ${cleanText(image)} was built earlier, without --reproducible or with another SOURCE_DATE_EPOCH`;
  return { later, rest: { stages, comparisons: left } };
}

function conditionLines({ conditions, notVaried }: Verification): string[] {
  const names = (all: readonly string[]): string => all.map(cleanText).join(", ");
  return [
    `varied: ${names(conditions.map(({ name }) => name))}`,
    `not varied: ${names(notVaried.map((text) => text.replace(/:.*/s, "")))}`,
    "(--verbose has all values and differences; so have --format json and html)",
  ];
}

function allLines({ same, comparisons, stages, conditions, notVaried }: Verification): string[] {
  const out = ["varied in the second build:"];
  for (const { name, a, b } of conditions)
    out.push(`  ${cleanText(name)}: ${cleanText(a)} → ${cleanText(b)}`);
  out.push("not varied:", ...notVaried.map((text) => `  ${cleanText(text)}`));
  if (same) return out;
  for (const { name, comparison } of stages)
    out.push("", `stage ${cleanText(name)}`, renderComparison(comparison, { causes: false }).trimEnd());
  for (const { platform, comparison } of comparisons) {
    out.push("", ...(platform === null ? [] : [`platform ${platform}`]));
    out.push(renderComparison(comparison, { causes: false }).trimEnd());
  }
  return out;
}
