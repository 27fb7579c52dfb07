// What differs between two images or trees, for people.

import { findingsOf, followersOf, type Finding } from "./engine/compare/findings.ts";
import type { Comparison, FileDifference, LayerDifference, Step } from "./engine/compare/contract.ts";
import { cleanText } from "./log-text.ts";

/** Files of one layer that are shown; --format json has all. */
const FILES_SHOWN = 25;
const VALUE_SHOWN = 160;

/** The report: config, layers with their files, then the causes with what to do. */
export function renderComparison(
  comparison: Comparison,
  { causes = true }: { readonly causes?: boolean } = {},
): string {
  const { a, b, same, config, layers, notes } = comparison;
  const out: string[] = [`A  ${nameOf(a)}`, `B  ${nameOf(b)}`];
  for (const note of notes) out.push(`note: ${cleanText(note)}`);
  if (same) return `${out.join("\n")}\nno differences\n`;
  if (config.length > 0) {
    out.push("", "image config");
    for (const { field, a: one, b: other } of config) out.push(...pair(cleanText(field), one, other, "  "));
  }
  for (const layer of layers) out.push("", ...layerLines(layer));
  const findings = causes ? findingsOf(comparison) : [];
  if (findings.length > 0) out.push("", "causes", ...findings.flatMap(findingLines));
  return `${out.join("\n")}\n`;
}

function nameOf({ shown, digest }: Comparison["a"]): string {
  return digest === null ? cleanText(shown) : `${cleanText(shown)} (${digest})`;
}

function layerLines(layer: LayerDifference): string[] {
  const { files, more, step } = layer;
  const count = files.length + more;
  const out = [
    `${layerTitle(layer)}: ${count === 0 ? "no file differs" : `${count} ${count === 1 ? "file differs" : "files differ"}`}`,
  ];
  if (step !== null) out.push(...stepLines(step).map((line) => `  ${line}`));
  for (const cause of layer.causes) out.push(`  ${cause.class}: ${cleanText(cause.detail)}`);
  const followers = followersOf(layer);
  const own = files.filter(({ follows }) => follows === null);
  for (const file of own.slice(0, FILES_SHOWN)) out.push(...fileLines(file).map((line) => `  ${line}`));
  const left = own.length - FILES_SHOWN + more;
  if (left > 0)
    out.push(`  … and ${left} more files (--format json has ${more > 0 ? "more" : "all"} of them)`);
  const [first] = followers;
  if (first?.follows != null)
    out.push(
      `  ${followers.length} ${followers.length === 1 ? "file follows" : "files follow"} from an earlier step, ${stepName(first.follows)}: ${cleanText(first.path)}${followers.length > 1 ? ", …" : ""}`,
    );
  return out;
}

/** "layer 3", or where there is no counterpart "layer 3 of A". */
export function layerTitle({ a, b }: Pick<LayerDifference, "a" | "b">): string {
  if (a === null && b === null) return "files";
  if (a === null) return `layer ${b} of B`;
  if (b === null) return `layer ${a} of A`;
  return a === b ? `layer ${a}` : `layer ${a} of A, ${b} of B`;
}

/** A step in one line. */
export function stepName({ command, place, stage }: Step): string {
  const at = place === null ? "" : ` (${cleanText(place.file)}:${place.line})`;
  const text = cleanText(command).replaceAll("\n", " ");
  return `${stage === null ? "" : `[${cleanText(stage)}] `}${text.length > 100 ? `${text.slice(0, 99)}…` : text}${at}`;
}

function stepLines(step: Step): string[] {
  if (step.place === null) return [`step: ${stepName(step)}`];
  const { file, line, text } = step.place;
  const stage = step.stage === null ? "" : ` (stage ${cleanText(step.stage)})`;
  return [
    `step: ${cleanText(file)}:${line}${stage}`,
    ...text.split("\n").map((one, at) => `${String(line + at).padStart(5)} | ${cleanText(one)}`),
  ];
}

function fileLines({ path, change, fields, content, causes }: FileDifference): string[] {
  const where = change === "only-a" ? " (only in A)" : change === "only-b" ? " (only in B)" : "";
  const out = [`/${cleanText(path)}${where}`];
  for (const { field, a, b } of fields) out.push(...pair(cleanText(field), a, b, "  "));
  if (content !== null) {
    const at =
      content.line === null ? `byte ${content.offset}` : `line ${content.line}, byte ${content.offset}`;
    const bytes =
      content.bytes === null
        ? ""
        : `, ${content.bytes} ${content.bytes === 1 ? "byte differs" : "bytes differ"}`;
    out.push(`  content at ${at}${bytes}`, `    A  ${value(content.a)}`, `    B  ${value(content.b)}`);
  }
  for (const cause of causes) out.push(`  cause: ${cause.class}: ${cleanText(cause.detail)}`);
  return out;
}

function pair(title: string, a: string, b: string, indent: string): string[] {
  const [one, other] = [value(a), value(b)];
  if (one.length + other.length < 60) return [`${indent}${title}: ${one} → ${other}`];
  return [`${indent}${title}`, `${indent}  A  ${one}`, `${indent}  B  ${other}`];
}

function value(text: string): string {
  const clean = cleanText(text).replaceAll("\n", "⏎");
  return clean.length > VALUE_SHOWN ? `${clean.slice(0, VALUE_SHOWN - 1)}…` : clean;
}

/** Where a cause is: its step, or what there is in place of one. */
export function placeName({ step, layer, files }: Pick<Finding, "step" | "layer" | "files">): string {
  if (step !== null) return stepName(step);
  if (layer !== null) return `layer ${layer}`;
  return files.length > 0 ? "files of no step" : "the image config";
}

/** A cause with its files and what to do. */
function findingLines(finding: Finding): string[] {
  const { class: name, title, proposal, files, detail } = finding;
  const shown = files.slice(0, 3).map((file) => `/${cleanText(file)}`);
  const rest = files.length - shown.length;
  return [
    `  ${name} (${title}) in ${placeName(finding)}`,
    ...(shown.length === 0 ? [] : [`    files: ${shown.join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`]),
    `    ${cleanText(detail)}`,
    `    → ${proposal}`,
  ];
}
