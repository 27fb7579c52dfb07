// `# syntax=` and the build argument BUILDKIT_SYNTAX: the frontend a file is written for. The official names mean the built-in one;
// others are ForeignFrontend, for who runs images (threat model D6). Dockerfile reference, "syntax"; moby/buildkit
// frontend/dockerfile/parser/directives.go, DetectSyntax.

import { BuildError, type SourceRange } from "../solver/graph/error.ts";
import { openDirectives } from "./directives.ts";
import { trimNewline, trimSpace } from "./go-strings.ts";
import { parseImageName } from "./image-name.ts";
import { openLines, wholeLine } from "./lines.ts";

/** Images of the Dockerfile frontend, of any tag or digest: the language of all of them is read here. */
const OFFICIAL: ReadonlySet<string> = new Set(["docker/dockerfile", "docker/dockerfile-upstream"]);
/** Directives stand at the top; nobody needs more lines than this to say three of them. */
const HEAD_MAX_LENGTH = 64 * 1024;

/** A frontend that was asked for. */
export interface SyntaxWish {
  readonly image: string;
  /** All of what was written: the image, and what the frontend is told. */
  readonly cmdline: string;
  readonly origin: "BUILDKIT_SYNTAX" | "syntax";
  readonly at: SourceRange | null;
}

/** The frontend a build asks for; null: none by name. The build argument wins over the file. */
export function findSyntax(
  file: string,
  data: Uint8Array,
  buildArgs: ReadonlyMap<string, string>,
): SyntaxWish | null {
  const given = firstWord(buildArgs.get("BUILDKIT_SYNTAX") ?? "");
  if (given !== "")
    return {
      image: given,
      cmdline: trimSpace(buildArgs.get("BUILDKIT_SYNTAX") ?? ""),
      origin: "BUILDKIT_SYNTAX",
      at: null,
    };
  const head = new TextDecoder("utf-8", { ignoreBOM: true }).decode(data.subarray(0, HEAD_MAX_LENGTH));
  return fromLines(file, head, "#") ?? fromLines(file, head, "//") ?? fromJson(head, data);
}

/** Checks that the frontend is one that is served here, and says once which it was. Throws DOCKERFILE_UNSUPPORTED. */
export function checkSyntax(wish: SyntaxWish | null, note: (message: string) => void): void {
  if (wish === null) return;
  const { image, origin } = wish;
  const said = origin === "syntax" ? `syntax=${image}` : `BUILDKIT_SYNTAX=${image}`;
  if (isOfficial(image)) {
    note(`${said}: using the built-in Dockerfile frontend`);
    return;
  }
  throw new ForeignFrontend(wish);
}

/** The file is for another frontend than this one. */
export class ForeignFrontend extends BuildError {
  readonly wish: SyntaxWish;
  constructor(wish: SyntaxWish) {
    const { image, origin, at } = wish;
    super(
      "DOCKERFILE_UNSUPPORTED",
      `the frontend ${JSON.stringify(image)} is an image, which is not run unless it is allowed`,
      {
        at,
        hint:
          origin === "syntax"
            ? "allow it with --allow-frontend; if the file is a plain Dockerfile, remove the line or build with --build-arg BUILDKIT_SYNTAX=docker/dockerfile:1"
            : "allow it with --allow-frontend, omit the build argument, or use docker/dockerfile:1",
      },
    );
    this.wish = wish;
  }
}

function isOfficial(image: string): boolean {
  try {
    const { domain, path } = parseImageName(image);
    return domain === "docker.io" && OFFICIAL.has(path);
  } catch {
    return false; // no image name: it names no frontend that is known
  }
}

function fromLines(file: string, head: string, comment: "#" | "//"): SyntaxWish | null {
  const reader = openDirectives(comment);
  const lines = openLines(file, head);
  try {
    for (let line = lines.next(); line !== null; line = lines.next()) {
      if (line.number === 1 && line.text.startsWith("#!")) continue;
      const at = wholeLine(file, line.number, line.text);
      const directive = reader.read(trimNewline(line.text), at);
      if (directive === null) return null;
      if (directive.name === "syntax")
        return { image: firstWord(directive.value), cmdline: directive.value, origin: "syntax", at };
    }
  } catch (error) {
    if (!(error instanceof BuildError)) throw error; // a doubled directive or a long line: the parser reports it
  }
  return null;
}

/** A definition in JSON names its frontend as {"syntax": "…"}. */
function fromJson(head: string, data: Uint8Array): SyntaxWish | null {
  if (!head.trimStart().startsWith("{") || data.byteLength > HEAD_MAX_LENGTH) return null;
  try {
    const value: unknown = JSON.parse(head);
    const syntax = (value as { readonly syntax?: unknown }).syntax;
    return typeof syntax === "string" ? { image: syntax, cmdline: syntax, origin: "syntax", at: null } : null;
  } catch {
    return null; // no JSON, so no directive
  }
}

/** What follows the first blank is for the frontend. */
function firstWord(text: string): string {
  return trimSpace(text).split(" ", 1)[0] ?? "";
}
