// tsbuild doctor: what builds can do on this machine, what is missing, and how to fix it.

import type { Finding } from "../../worker/probe-words.ts";
import { colourTable } from "../colours.ts";
import { searchPath } from "../engine/config.ts";
import { withStore } from "../local-store.ts";
import { cleanText } from "../log-text.ts";
import { renderFormat } from "../format-template.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Colours } from "../colours.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS]",
    positionals: { min: 0, max: 0 },
    flags: [
      {
        name: "format",
        kind: "string",
        help: 'Format output: "table", "json" or a Go template for each check',
      },
    ],
  },
  async run(flags, { config, print, signal }) {
    const { buildsWork, probeMachine } = await import("../../worker/probe.ts");
    let findings: readonly Finding[];
    try {
      findings = await withStore(config, (store) =>
        probeMachine({
          store,
          user: config.user,
          path: searchPath(config.env),
          signal,
        }),
      );
    } catch (error) {
      if (!(error instanceof BuildError) || error.code !== "STORE_UNUSABLE") throw error;
      findings = [unusableStore(error)];
    }
    const works = buildsWork(findings);
    const format = flags.one("format");
    if (format === "json") print(`${JSON.stringify({ works, checks: findings }, null, 2)}\n`);
    else if (format !== null && format !== "" && format !== "table")
      print(
        renderFormat(
          format,
          findings.map((finding) => ({ ...finding })),
        ),
      );
    else print(renderFindings(findings, works, process.stdout.isTTY ? colourTable(config.env) : null));
    return works ? 0 : 1;
  },
};

function unusableStore(error: BuildError): Finding {
  return {
    id: "store",
    title: "store",
    state: "missing",
    found: error.message,
    consequence: "Builds need a store; the remaining checks were skipped.",
    fix: error.hint ?? "use another store with --root DIR or TSBUILD_ROOT",
  };
}

/** One line a check; below those with a lack what it means and what to type. */
export function renderFindings(
  findings: readonly Finding[],
  works: boolean,
  colours: Colours | null,
): string {
  const width = Math.max(...findings.map(({ title }) => title.length)) + 2;
  const paint = { ok: colours?.run, limited: colours?.warning, missing: colours?.error };
  const lines = findings.flatMap(({ state, title, found, consequence, fix }) => {
    const sgr = paint[state];
    const word = state.padEnd(9);
    return [
      `${sgr === undefined || colours === null ? word : `\u001b[${sgr}m${word}\u001b[0m`}${title.padEnd(width)}${cleanText(found)}`,
      ...(consequence === null ? [] : [`${" ".repeat(9)}  ${cleanText(consequence)}`]),
      ...(fix === null ? [] : [`${" ".repeat(9)}  fix: ${cleanText(fix)}`]),
    ];
  });
  const limited = findings.filter(({ state }) => state === "limited").length;
  const verdict = !works
    ? "Builds do not work on this machine."
    : limited === 0
      ? "Builds work on this machine."
      : `Builds work on this machine, with ${limited === 1 ? "one limitation" : `${limited} limitations`}.`;
  return `${lines.join("\n")}\n\n${verdict}\n`;
}
