// Reports of diff and verify as one page that needs nothing else: no scripts, no fonts, no requests.

import { layerTitle, stepName } from "./diff-text.ts";
import { findingsOf, type Finding } from "./engine/compare/findings.ts";
import type {
  Comparison,
  FieldDifference,
  FileDifference,
  LayerDifference,
} from "./engine/compare/contract.ts";
import { verificationFindings } from "./verify-text.ts";
import type { Verification } from "./verify.ts";

/** Files of one layer on the page; --format json has more. */
const FILES_SHOWN = 1_000;

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem;border-bottom:1px solid #d5dbe3}h3{font-size:1rem;margin:1.2rem 0 .3rem}
code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:#f4f6f8;padding:.5rem .7rem;overflow-x:auto;margin:.3rem 0}
table{border-collapse:collapse;width:100%;margin:.4rem 0}td,th{text-align:left;vertical-align:top;padding:.25rem .5rem;border-bottom:1px solid #e4e8ee;word-break:break-word}
.same{color:#12663a}.differs{color:#a3250c}.class{display:inline-block;background:#e8edf5;border-radius:.3rem;padding:0 .4rem;font:13px ui-monospace,monospace}
details{border:1px solid #e4e8ee;border-radius:.3rem;margin:.4rem 0;padding:.2rem .6rem}summary{cursor:pointer}
.a{background:#fdecea}.b{background:#e6f4ea}.quiet{color:#5b6675}
@media(prefers-color-scheme:dark){body{color:#dde3ea;background:#14181d}pre{background:#1d232a}td,th,h2,details{border-color:#333c46}.class{background:#2b3440}.a{background:#40201c}.b{background:#1b3524}.same{color:#6fcf97}.differs{color:#ff8a70}.quiet{color:#97a3b0}}`;

/** The page of a comparison. */
export function comparisonHtml(comparison: Comparison): string {
  const { a, b, same } = comparison;
  const title = `${a.shown} and ${b.shown}`;
  return page(title, [
    `<h1>${escape(title)}</h1>`,
    same ? '<p class="same">No differences.</p>' : '<p class="differs">They differ.</p>',
    findingsHtml(findingsOf(comparison)),
    ...comparisonParts(comparison),
  ]);
}

/** The page of a verification. */
export function verificationHtml(found: Verification): string {
  const { same, comparisons, stages, conditions, notVaried, dockerfile } = found;
  const rows = conditions.map(
    ({ name, a, b }) => `<tr><td>${escape(name)}</td><td>${escape(a)}</td><td>${escape(b)}</td></tr>`,
  );
  return page(`verify ${dockerfile.name}`, [
    `<h1>${escape(dockerfile.name)}</h1>`,
    same
      ? '<p class="same">Reproducible: both builds are the same.</p>'
      : '<p class="differs">Not reproducible.</p>',
    findingsHtml(verificationFindings(found)),
    ...stages.flatMap(({ name, comparison }) => [
      `<h2>Stage ${escape(name)}</h2>`,
      ...comparisonParts(comparison),
    ]),
    ...comparisons.flatMap(({ platform, comparison }) => [
      `<h2>Image${platform === null ? "" : ` for ${escape(platform)}`}</h2>`,
      ...comparisonParts(comparison),
    ]),
    "<h2>Conditions</h2>",
    `<table><tr><th>varied</th><th>first build</th><th>second build</th></tr>${rows.join("")}</table>`,
    `<p>Not varied:</p><ul>${notVaried.map((text) => `<li>${escape(text)}</li>`).join("")}</ul>`,
  ]);
}

function page(title: string, body: readonly string[]): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>${escape(title)}</title>
<style>${STYLE}</style>
</head>
<body>
${body.filter((part) => part !== "").join("\n")}
</body>
</html>
`;
}

function findingsHtml(findings: readonly Finding[]): string {
  if (findings.length === 0) return "";
  const rows = findings.map(({ class: name, title, proposal, step, files, detail }) => {
    const shown = files.slice(0, 5).map((file) => `<code>/${escape(file)}</code>`);
    const rest = files.length > 5 ? ` and ${files.length - 5} more` : "";
    const where = step === null ? "" : `<code>${escape(stepName(step))}</code>`;
    return `<tr><td><span class="class">${name}</span><br>${escape(title)}</td><td>${where}<br>${shown.join(", ")}${rest}</td><td>${escape(detail)}<br><b>${escape(proposal)}</b></td></tr>`;
  });
  return `<h2>Causes</h2>\n<table><tr><th>class</th><th>step and files</th><th>what, and what to do</th></tr>\n${rows.join("\n")}\n</table>`;
}

function comparisonParts({ a, b, config, layers, notes, dated }: Comparison): readonly string[] {
  const names = [a, b].map(
    ({ shown, digest }, at) =>
      `<tr><td>${"AB"[at]}</td><td>${escape(shown)}</td><td><code>${escape(digest ?? "")}</code></td></tr>`,
  );
  return [
    `<table>${names.join("")}</table>`,
    ...notes.map((note) => `<p class="quiet">${escape(note)}</p>`),
    config.length === 0 ? "" : `<h3>Image config</h3>${fieldsHtml(config)}`,
    ...dated.map(
      ({ path, step, text }) =>
        `<p>Warning: <code>/${escape(path)}</code> holds the day of the build (${escape(text)}): ${escape(stepName(step))}</p>`,
    ),
    ...layers.map(layerHtml),
  ];
}

function layerHtml(layer: LayerDifference): string {
  const { files, more, step, causes } = layer;
  const place = step?.place ?? null;
  const own = files.filter(({ follows }) => follows === null);
  const left = own.length - FILES_SHOWN + more;
  return [
    `<h3>${escape(layerTitle(layer))}: ${files.length + more} files differ</h3>`,
    step === null ? "" : `<p>${escape(stepName(step))}</p>`,
    place === null
      ? ""
      : `<pre>${place.text
          .split("\n")
          .map((line, at) => `${place.line + at} | ${escape(line)}`)
          .join("\n")}</pre>`,
    ...causes.map((cause) => `<p><span class="class">${cause.class}</span> ${escape(cause.detail)}</p>`),
    ...own.slice(0, FILES_SHOWN).map(fileHtml),
    left > 0 ? `<p class="quiet">… and ${left} more</p>` : "",
    ...files
      .flatMap(({ path, follows }) =>
        follows === null
          ? []
          : [`<p class="quiet"><code>/${escape(path)}</code> follows from ${escape(stepName(follows))}</p>`],
      )
      .slice(0, FILES_SHOWN),
  ].join("\n");
}

function fileHtml({ path, change, fields, content, causes }: FileDifference): string {
  const where = change === "only-a" ? " (only in A)" : change === "only-b" ? " (only in B)" : "";
  const at =
    content === null
      ? ""
      : content.line === null
        ? `byte ${content.offset}`
        : `line ${content.line}, byte ${content.offset}`;
  return [
    `<details open><summary><code>/${escape(path)}</code>${where} ${causes.map((cause) => `<span class="class">${cause.class}</span>`).join(" ")}</summary>`,
    fields.length === 0 ? "" : fieldsHtml(fields),
    content === null
      ? ""
      : `<p class="quiet">content at ${at}${content.bytes === null ? "" : `, ${content.bytes} bytes differ`}</p><pre class="a">${escape(content.a)}</pre><pre class="b">${escape(content.b)}</pre>`,
    ...causes.map((cause) => `<p>${escape(cause.detail)}</p>`),
    "</details>",
  ].join("");
}

function fieldsHtml(fields: readonly FieldDifference[]): string {
  const rows = fields.map(
    ({ field, a, b }) =>
      `<tr><td>${escape(field)}</td><td class="a">${escape(a)}</td><td class="b">${escape(b)}</td></tr>`,
  );
  return `<table><tr><th>field</th><th>A</th><th>B</th></tr>${rows.join("")}</table>`;
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Text of images, which may be anything: control characters become visible, and no mark-up stays. */
function escape(text: string): string {
  return text
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, "\uFFFD")
    .replace(/[&<>"']/g, (character) => ENTITIES[character] ?? "");
}
