// The flags of COPY and ADD as data. Dockerfile reference, "ADD" and "COPY".

import { BuildError } from "../solver/graph/error.ts";
import type { ChownOpt, UserOpt } from "../solver/graph/op.ts";
import { flagValue, flagValues, isFlagOn } from "./flags.ts";
import type { Instruction } from "./instruction.ts";

export type Copy = Extract<Instruction, { kind: "copy" | "add" }>;

/** The flags, expanded and read. */
export interface CopyFlags {
  readonly chown: string;
  readonly chmod: string;
  readonly mode: number | null;
  readonly modeStr: string;
  readonly link: boolean;
  readonly parents: boolean;
  readonly excludes: readonly string[];
  readonly checksum: string;
  readonly keepGitDir: boolean | null;
  readonly unpack: boolean | null;
}

const NO_FLAGS: CopyFlags = {
  chown: "",
  chmod: "",
  mode: null,
  modeStr: "",
  link: false,
  parents: false,
  excludes: [],
  checksum: "",
  keepGitDir: null,
  unpack: null,
};

/** Reads the flags; `expand` fills in variables. Throws DOCKERFILE_SYNTAX. */
export function readFlags(copy: Copy, expand: (word: string) => string): CopyFlags {
  if (copy.flags.length === 0) return NO_FLAGS;
  const text = (name: string): string => expand(flagValue(copy.flags, name) ?? "");
  const toggle = (name: string): boolean | null =>
    copy.flags.some((flag) => flag.name === name) ? isFlagOn(copy.flags, name) : null;
  const chmod = text("chmod");
  const { mode, modeStr } = readMode(chmod, copy);
  return {
    chown: text("chown"),
    chmod,
    mode,
    modeStr,
    link: toggle("link") ?? false,
    parents: toggle("parents") ?? false,
    excludes: flagValues(copy.flags, "exclude"), // variables stay as written, as in BuildKit
    checksum: text("checksum"),
    keepGitDir: toggle("keep-git-dir"),
    unpack: toggle("unpack"),
  };
}

const CLAUSE = "[ugoa]*(?:[-+=][rwxXstugo]*)+";
const SYMBOLIC = new RegExp(`^${CLAUSE}(?:,${CLAUSE})*$`);

/** Octal digits, or the symbolic form of chmod(1). */
function readMode(chmod: string, copy: Copy): { readonly mode: number | null; readonly modeStr: string } {
  if (chmod === "") return { mode: null, modeStr: "" };
  if (/^[0-7]+$/.test(chmod) && Number.parseInt(chmod, 8) <= 0o7777) {
    return { mode: Number.parseInt(chmod, 8), modeStr: "" };
  }
  if (SYMBOLIC.test(chmod)) return { mode: null, modeStr: chmod };
  throw new BuildError(
    "DOCKERFILE_SYNTAX",
    `invalid chmod parameter: '${chmod}'. it should be octal string and between 0 and 07777`,
    { at: copy.at, hint: "or symbolic, such as u+rw,go-w" },
  );
}

/** USER[:GROUP] by name or number. Names are looked up in the files that are copied onto. */
export function readOwner(text: string, input: number | null): ChownOpt {
  const colon = text.indexOf(":");
  const user = colon < 0 ? text : text.slice(0, colon);
  return { user: readUser(user, input), group: colon < 0 ? null : readUser(text.slice(colon + 1), input) };
}

function readUser(text: string, input: number | null): UserOpt {
  if (text === "root" || text === "") return { kind: "id", id: 0 };
  const number = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isInteger(number) && number >= -(2 ** 31) && number < 2 ** 31)
    return { kind: "id", id: number >>> 0 };
  return { kind: "name", name: text, input };
}
