// Files that hold the day on which they were made: two builds of one day are equal, and those of the next day are not.

import type { DatedFile, SideLayer, Step } from "./contract.ts";
import { isText, readWhole } from "./bytes.ts";
import { shownPath } from "./trees.ts";

/** Longer files are not searched. */
const FILE_MAX_BYTES = 1 << 20;
const FOUND_MAX = 100;

const MONTHS: readonly string[] = [
  "Jan",
  "Feb",
  "Mar",
  "Apr",
  "May",
  "Jun",
  "Jul",
  "Aug",
  "Sep",
  "Oct",
  "Nov",
  "Dec",
];

/** A day as programs write it, with its year: a month and a day alone are in too many texts. `ms`: any moment of it, UTC. */
export function wordsOfDay(ms: number): readonly string[] {
  const date = new Date(ms);
  const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()];
  const two = (number: number): string => String(number).padStart(2, "0");
  const name = MONTHS[month] ?? "";
  return [
    ...[
      `${year}-${two(month + 1)}-${two(day)}`,
      `${year}/${two(month + 1)}/${two(day)}`,
      `${year}${two(month + 1)}${two(day)}`,
    ],
    ...[
      `${two(day)}/${two(month + 1)}/${year}`,
      `${two(month + 1)}/${two(day)}/${year}`,
      `${two(day)}.${two(month + 1)}.${year}`,
    ],
    ...[
      `${name} ${String(day).padStart(2, " ")} ${year}`,
      `${name} ${day}, ${year}`,
      `${two(day)} ${name} ${year}`,
      `${day} ${name} ${year}`,
    ],
  ];
}

/** Files of layers that RUN steps of the Dockerfile made; the layers are read. */
export async function datedFiles(
  layers: readonly SideLayer[],
  steps: readonly (Step | null)[],
  days: readonly number[],
  { signal }: { readonly signal: AbortSignal },
): Promise<readonly DatedFile[]> {
  const words = [...new Set(days.flatMap(wordsOfDay))];
  const found: DatedFile[] = [];
  for (const [at, layer] of layers.entries()) {
    const step = steps[at] ?? null;
    if (words.length === 0 || step === null || step.place === null || !step.command.startsWith("RUN "))
      continue;
    using tree = await layer.open({ signal });
    for (const [name, { content }] of tree.members) {
      signal.throwIfAborted();
      const bytes = content === null ? null : readWhole(content, FILE_MAX_BYTES);
      if (bytes === null || found.length >= FOUND_MAX || !isText(bytes)) continue;
      const text = bytes.toString("latin1");
      const word = words.find((one) => text.includes(one));
      if (word !== undefined) found.push({ path: shownPath(name), step, text: word });
    }
  }
  return found;
}
