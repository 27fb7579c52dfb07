// Filters of `tsbuild images`: name patterns and --filter, as in docker (docker image ls, "Filtering").

import { familiarReference, parseReference } from "../cache/registry/reference.ts";
import { BuildError } from "../solver/graph/error.ts";
import { parseDuration } from "./format.ts";
import { isNameless } from "../cache/image-record.ts";
import { findImage, type LocalImage, splitName } from "./engine/local-images.ts";
import type { Store } from "../cache/contract.ts";

export type ImageTest = (image: LocalImage) => boolean;

const FIELDS = ["before", "dangling", "label", "reference", "since", "until"];

/** When an image was made, in milliseconds: by its config, else when it came here. */
export function createdAtMs({ manifests, record }: LocalImage): number {
  const created = Date.parse(manifests[0]?.config.created ?? "");
  return Number.isFinite(created) ? created : record.createdAtMs;
}

/**
 * One test out of all: of several values for "reference" one is enough, all else has to hold. `store` finds the images that
 * "before" and "since" name. Throws USAGE for what it does not know, IMAGE_UNKNOWN.
 */
export function imageTest(filters: readonly string[], store: Store, nowMs: number): ImageTest {
  const references: ImageTest[] = [];
  const tests: ImageTest[] = [];
  for (const text of filters) {
    const { field, value } = parseFilter(text);
    switch (field) {
      case "reference":
        references.push(nameTest(value));
        break;
      case "dangling": {
        const wanted = parseBoolean(value);
        tests.push((image) => (splitName(image.record.name).tag === null) === wanted);
        break;
      }
      case "label":
        tests.push(labelTest(value));
        break;
      case "before":
      case "since": {
        const at = createdAtMs(findImage(store, value));
        tests.push((image) => (field === "before" ? createdAtMs(image) < at : createdAtMs(image) > at));
        break;
      }
      default: {
        const until = parseTime(value, nowMs);
        tests.push((image) => createdAtMs(image) < until);
      }
    }
  }
  return (image) =>
    (references.length === 0 || references.some((test) => test(image))) && tests.every((test) => test(image));
}

/** A name, with or without a tag, in which "*", "?" and "[a-z]" stand for characters other than "/". distribution/reference FamiliarMatch */
export function nameTest(pattern: string): ImageTest {
  const expression = globOf(pattern);
  return ({ record }) => {
    if (isNameless(record.name)) return false;
    const reference = parseReference(record.name);
    const forms = [
      familiarReference(reference),
      familiarReference({ ...reference, digest: null }),
      familiarReference({ ...reference, tag: null, digest: null }),
    ];
    // "docker.io/library/alpine" is no familiar name, but what somebody means by it is clear.
    return [...forms, record.name, record.name.replace(/[:@][^/]*$/, "")].some((form) =>
      expression.test(form),
    );
  };
}

/** Go's path.Match. Throws USAGE for a pattern that is none. */
function globOf(pattern: string): RegExp {
  // The last alternative takes what no other does, so that the parts are all of the pattern.
  const parts = pattern.matchAll(/\\(.)|(\*+)|(\?)|\[(\^?)((?:\\.|[^\]\\])+)\]|([\s\S])/g);
  const texts = Array.from(parts, ([, escaped, star, one, not, set, plain]) => {
    if (escaped !== undefined) return quoted(escaped);
    if (star !== undefined) return "[^/]*";
    if (one !== undefined) return "[^/]";
    if (set !== undefined) return `[${not ?? ""}${set.replace(/[[&~^]/g, "\\$&")}]`;
    return quoted(plain ?? "");
  });
  try {
    return new RegExp(`^${texts.join("")}$`, "s");
  } catch (cause) {
    throw new BuildError("USAGE", `invalid pattern ${JSON.stringify(pattern)}`, { cause });
  }
}

function quoted(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

function parseFilter(text: string): { readonly field: string; readonly value: string } {
  const at = text.indexOf("=");
  if (at < 0) {
    throw new BuildError("USAGE", `invalid argument ${JSON.stringify(text)} for "-f, --filter" flag`, {
      hint: "filters have the form NAME=VALUE",
    });
  }
  const field = text.slice(0, at).trim().toLowerCase();
  if (!FIELDS.includes(field)) {
    throw new BuildError("USAGE", `invalid filter '${field}'`, { hint: `known are ${FIELDS.join(", ")}` });
  }
  return { field, value: text.slice(at + 1).trim() };
}

function parseBoolean(value: string): boolean {
  if (["1", "true"].includes(value.toLowerCase())) return true;
  if (["0", "false"].includes(value.toLowerCase())) return false;
  throw new BuildError("USAGE", `invalid filter 'dangling=${value}'`, { hint: "use true or false" });
}

function labelTest(value: string): ImageTest {
  const at = value.indexOf("=");
  const [key, wanted] = at < 0 ? [value, null] : [value.slice(0, at), value.slice(at + 1)];
  return ({ manifests }) =>
    manifests.some(({ config }) => {
      const found = config.config?.Labels?.[key];
      return found !== undefined && (wanted === null || found === wanted);
    });
}

/** A time, or how long ago: milliseconds since 1970. Throws USAGE. */
function parseTime(value: string, nowMs: number): number {
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  if (/^\d{4}-/.test(value) && !Number.isNaN(Date.parse(value))) return Date.parse(value);
  return nowMs - parseDuration(value);
}
