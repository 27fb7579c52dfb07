// Makes the pages of this directory: names and descriptions from frontend/check-rules.ts, words and examples from examples.mjs.
//
//   npm run docs:checks             writes them
//   node docs/checks/generate.mjs --verify   fails when they are not what it would write

import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { EXAMPLES } from "./examples.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const { ruleOf } = await import("../../dist/frontend/check-rules.js");
const verify = process.argv.includes("--verify");

const HEAD = "<!-- Made by docs/checks/generate.mjs; words and examples are in examples.mjs. -->\n\n";
const pages = new Map();
const rows = [];
for (const name of Object.keys(EXAMPLES).sort()) {
  const rule = ruleOf(name);
  pages.set(`${name}.md`, page(name, rule, EXAMPLES[name]));
  rows.push(`| [${name}](${name}.md) | ${rule.description}${rule.experimental ? " (experimental)" : ""} |`);
}
pages.set(
  "README.md",
  `${HEAD}# Build checks

\`tsbuild build --check .\` looks for these without building; a build prints them as warnings at its end. Names, numbers and
words are BuildKit's, so that tools that read them go on working.

| check | |
|---|---|
${rows.join("\n")}

In a Dockerfile \`# check=skip=JSONArgsRecommended,StageNameCasing\` silences some, \`# check=skip=all\` all, and
\`# check=error=true\` makes a warning fail the build. Experimental checks run when \`# check=experimental=NAME\` (or \`all\`) asks for
them. With \`--build-arg BUILDKIT_DOCKERFILE_CHECK=...\` the same can be said on the command line.
`,
);

let stale = 0;
for (const [file, text] of pages) {
  const path = join(here, file);
  if (!verify) writeFileSync(path, text);
  else if (read(path) !== text) {
    stale += 1;
    console.error(`docs/checks/${file} is not up to date: npm run docs:checks`);
  }
}
process.exitCode = stale === 0 ? 0 : 1;

function page(name, rule, { why, bad, good, context, enable }) {
  const ignore = context?.[".dockerignore"];
  const parts = [
    `${HEAD}# ${name}\n\n${rule.description}\n`,
    `${why}\n`,
    ...(enable ? [`This check is experimental: \`# check=experimental=${name}\` turns it on.\n`] : []),
    ...(ignore === undefined ? [] : [`With this \`.dockerignore\`:\n\n\`\`\`\n${ignore}\`\`\`\n`]),
    ...(bad === "" ? [] : [`Warned about:\n\n\`\`\`dockerfile\n${bad}\`\`\`\n`, `Better:\n\n\`\`\`dockerfile\n${good}\`\`\`\n`]),
    "[All checks](README.md)\n",
  ];
  return parts.join("\n");
}

function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null; // not there yet: as stale as can be
  }
}
