// Attributes of sources: texts of a client that are read once. solver/pb/attr.go of BuildKit names them.

import { BuildError, printable } from "../../solver/graph/error.ts";
import { type Digest, isDigest } from "../../solver/graph/digest.ts";
import type { Attrs } from "../../solver/graph/op.ts";

/** Permission, set-id and sticky bits. */
const MODE_MAX = 0o7777;
/** -1 tells chown(2) to leave an owner as it is. */
const ID_MAX = 2 ** 32 - 2;

/** A whole number as Go's strconv.ParseInt(text, 0, 64) reads it: "0644", "0x1a4", "420". null: it is left out. Throws SOURCE_FAILED. */
function numberIn(attrs: Attrs, name: string, max: number): number | null {
  const text = attrs[name];
  if (text === undefined) return null;
  const [, sign, base = "", digits = ""] =
    /^([+-]?)(0[xX]|0[oO]|0[bB]|0(?=.))?([0-9a-fA-F]+)$/.exec(text) ?? [];
  const radix = { "": 10, "0x": 16, "0b": 2 }[base.toLowerCase()] ?? 8;
  const isNumber = digits !== "" && Array.from(digits).every((digit) => Number.parseInt(digit, 16) < radix);
  const value = isNumber ? Number.parseInt(digits, radix) : Number.NaN;
  if (sign === "-" || Number.isNaN(value) || value > max)
    throw new BuildError("SOURCE_FAILED", `${name}=${JSON.stringify(printable(text, 50))} is not supported`);
  return value;
}

/** What the file of a source is like. mode: zero and nothing are 0600. Throws SOURCE_FAILED. */
export function lookIn(attrs: Attrs): { readonly mode: number; readonly uid: number; readonly gid: number } {
  return {
    mode: numberIn(attrs, "http.perm", MODE_MAX) || 0o600,
    uid: numberIn(attrs, "http.uid", ID_MAX) ?? 0,
    gid: numberIn(attrs, "http.gid", ID_MAX) ?? 0,
  };
}

/** How many layers of an image are wanted, oldest first; null: all. Throws SOURCE_FAILED. */
export function layerLimitIn(attrs: Attrs, name: "image.layerlimit" | "oci.layerlimit"): number | null {
  const limit = numberIn(attrs, name, 2 ** 31);
  if (limit === 0)
    throw new BuildError("SOURCE_FAILED", "an image with no layers is asked for (invalid layer limit 0)");
  return limit;
}

/** A digest that something must have; null: any. Throws SOURCE_FAILED. */
export function digestIn(attrs: Attrs, name: string): Digest | null {
  const text = attrs[name];
  if (text === undefined || text === "") return null;
  if (isDigest(text)) return text;
  throw new BuildError(
    "SOURCE_FAILED",
    `${name}=${JSON.stringify(printable(text, 100))} is not a sha256 digest`,
  );
}

/** A JSON array of texts; left out: none. Throws SOURCE_FAILED. */
export function listIn(attrs: Attrs, name: string): readonly string[] {
  const text = attrs[name];
  if (text === undefined || text === "") return [];
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch (cause) {
    throw new BuildError("SOURCE_FAILED", `${name} is not a list in JSON`, { cause });
  }
  // Go writes a list that was never made as null.
  if (list === null) return [];
  if (!Array.isArray(list) || !list.every((item): item is string => typeof item === "string"))
    throw new BuildError("SOURCE_FAILED", `${name} is not a list of texts`);
  if (list.length > LIST_MAX)
    throw new BuildError("LIMIT_EXCEEDED", `${name} has more than ${LIST_MAX} entries`);
  return list;
}
const LIST_MAX = 100_000;

/** "true", "1" and the like, as Go's strconv.ParseBool has it. Throws SOURCE_FAILED. */
export function flagIn(attrs: Attrs, name: string): boolean {
  const text = attrs[name] ?? "false";
  if (/^(?:1|t|T|TRUE|true|True)$/.test(text)) return true;
  if (/^(?:0|f|F|FALSE|false|False)$/.test(text)) return false;
  throw new BuildError(
    "SOURCE_FAILED",
    `${name}=${JSON.stringify(printable(text, 50))} is neither true nor false`,
  );
}

/** What must not be left out silently, since whoever asks for it relies on it. Throws SOURCE_FAILED by the attribute's name. */
export function refuse(attrs: Attrs, ...beginnings: readonly string[]): void {
  for (const name of Object.keys(attrs)) {
    if (!beginnings.some((start) => name.startsWith(start))) continue;
    throw new BuildError("SOURCE_FAILED", `sources with ${printable(name, 100)} are not supported`);
  }
}
