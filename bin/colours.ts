// Terminal colours: BuildKit's defaults, overridden by BUILDKIT_COLORS, none with NO_COLOR (no-color.org).

import type { Environment } from "./engine/config.ts";

const DEFAULTS: Colours = { run: "34", cancel: "33", error: "31", warning: "33" };

const NAMES: ReadonlyMap<string, string> = new Map([
  ["black", "30"],
  ["red", "31"],
  ["green", "32"],
  ["yellow", "33"],
  ["blue", "34"],
  ["magenta", "35"],
  ["cyan", "36"],
  ["white", "37"],
  ["lightblack", "90"],
  ["lightred", "91"],
  ["lightgreen", "92"],
  ["lightyellow", "93"],
  ["lightblue", "94"],
  ["lightmagenta", "95"],
  ["lightcyan", "96"],
  ["lightwhite", "97"],
]);

/** SGR parameters by meaning, or null for a terminal without colours. BUILDKIT_COLORS: "run=green:error=255,0,0". */
export function colourTable(env: Environment): Colours | null {
  if (env.NO_COLOR) return null;
  const table: Record<string, string> = { ...DEFAULTS };
  for (const field of (env.BUILDKIT_COLORS ?? "").split(":")) {
    const [key = "", value = ""] = field.toLowerCase().split("=");
    const colour = NAMES.get(value.replace(/^light-/, "light")) ?? rgb(value);
    // what is not understood is left as it is: a colour is no reason to fail a build
    if (colour !== null && Object.hasOwn(DEFAULTS, key)) table[key] = colour;
  }
  return table as unknown as Colours;
}

function rgb(text: string): string | null {
  const parts = text.split(",");
  const known = parts.length === 3 && parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256);
  return known ? `38;2;${parts.join(";")}` : null;
}

/** SGR parameters by meaning; BUILDKIT_COLORS changes them. */
export interface Colours {
  readonly run: string;
  readonly cancel: string;
  readonly error: string;
  readonly warning: string;
}
