// Values of flags and of the configuration file that have a form of their own, as buildkitd takes them.

import { parsePlatforms, parseSize } from "../flags-values.ts";
import { parseDuration } from "../format.ts";
import { checkFilter } from "../../cache/prune-filter.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { Platform } from "../../solver/graph/op.ts";
import { LOG_FORMATS, LOG_LEVELS, type LogSettings } from "./log.ts";

/** Disk space: bytes, or a share of the disk (0 to 1). */
export type Space =
  | { readonly kind: "bytes"; readonly bytes: number }
  | { readonly kind: "share"; readonly share: number };

/** In bytes, on a disk of `diskBytes`. */
export function spaceBytes(space: Space, diskBytes: number): number {
  return space.kind === "bytes" ? space.bytes : Math.floor(diskBytes * space.share);
}

/** One rule of what the removal of cache may take, in BuildKit's terms. null: not said. */
export interface GcPolicy {
  /** Also what can be recreated at little cost. */
  readonly all: boolean;
  /** What it is about: any of them holds; none: everything. In the words of `prune --filter`. */
  readonly filters: readonly string[];
  /** What was used in this time stays; 0: no matter. */
  readonly keepDurationMs: number;
  readonly reserved: Space | null;
  readonly maxUsed: Space | null;
  readonly minFree: Space | null;
}

/** default: the limit of `tsbuild build --max-storage`. */
export type GcSettings =
  | { readonly kind: "default" }
  | { readonly kind: "off" }
  | { readonly kind: "policies"; readonly policies: readonly GcPolicy[] };

/** What builds may be granted. */
const ENTITLEMENTS: readonly string[] = ["network.host", "security.insecure", "device"];

/** Where steps are that ask for no network: their own, the host's, or none. */
export type DefaultNetwork = "sandbox" | "host" | "none";

/** What is wrong with a value, in words that follow its name: "must be …". The place is added by who knows it. */
export class InvalidValue extends Error {
  override readonly name = "InvalidValue";
}

/** 512000000, "512MB" (powers of 1024), "10%". Throws InvalidValue. */
export function spaceOf(value: number | string): Space | null {
  if (value === "") return null;
  const wrong = `must be a number of bytes, a size like "10GB" or a share like "10%", not ${shown(value)}`;
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value) || value < 0) throw new InvalidValue(wrong);
    return value === 0 ? null : { kind: "bytes", bytes: value };
  }
  const share = /^(\d{1,3})%$/.exec(value);
  if (share !== null && Number(share[1]) <= 100) return { kind: "share", share: Number(share[1]) / 100 };
  return orInvalid(wrong, () => {
    const bytes = parseSize(value);
    return bytes === 0 ? null : { kind: "bytes", bytes };
  });
}

/** Seconds, or "48h": milliseconds. Throws InvalidValue. */
export function durationOf(value: number | string): number {
  const wrong = `must be a number of seconds or a time like "48h", not ${shown(value)}`;
  if (value === "") return 0;
  if (typeof value === "number" || /^\d+$/.test(value)) {
    const ms = Number(value) * 1000;
    if (!Number.isSafeInteger(ms) || ms < 0) throw new InvalidValue(wrong);
    return ms;
  }
  return orInvalid(wrong, () => parseDuration(value));
}

/** "9000" or "9000,1000,20000": reserved, free and maximum in MB. Throws InvalidValue. */
export function keepStorageOf(text: string): readonly GcPolicy[] | null {
  if (text === "") return null;
  if (!/^\d{1,10}(?:,\d{1,10}){0,2}$/.test(text))
    throw new InvalidValue(`must be RESERVED[,FREE[,MAXIMUM]] in MB, not ${shown(text)}`);
  const [reserved = null, minFree = null, maxUsed = null] = text
    .split(",")
    .map((part) => spaceOf(Number(part) * 1e6));
  return policiesOf({ reserved, minFree, maxUsed });
}

/** The rules for limits without rules: first what is of most use to remove, then everything that may go. */
export function policiesOf(spaces: Pick<GcPolicy, "reserved" | "maxUsed" | "minFree">): readonly GcPolicy[] {
  return [false, true].map((all) => ({ all, filters: [], keepDurationMs: 0, ...spaces }));
}

/** Throws InvalidValue. */
export function filterOf(text: string): string {
  return orInvalid(`is no filter: ${shown(text)}`, () => {
    checkFilter(text);
    return text;
  });
}

/** Throws InvalidValue. */
export function entitlementOf(text: string): string {
  return oneOf(text, ENTITLEMENTS);
}

/** Throws InvalidValue. */
export function networkModeOf(text: string): DefaultNetwork {
  const mode = oneOf(text, ["", "auto", "bridge", "cni", "host", "none"]);
  return mode === "host" || mode === "none" ? mode : "sandbox";
}

/** Throws InvalidValue. */
export function platformOf(text: string): Platform {
  return orInvalid(`is no platform: ${shown(text)}`, () => parsePlatforms([text])[0] as Platform);
}

/** Throws InvalidValue. */
export function logLevelOf(text: string): LogSettings["level"] {
  const level = text.toLowerCase();
  return oneOf(level === "warning" ? "warn" : level, LOG_LEVELS);
}

/** Throws InvalidValue. */
export function logFormatOf(text: string): LogSettings["format"] {
  return oneOf(text, LOG_FORMATS);
}

/** A whole number of at least `least`. Throws InvalidValue. */
export function wholeNumberOf(value: number | string, least: number): number {
  const number = typeof value === "number" ? value : /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(number) || number < least)
    throw new InvalidValue(`must be a whole number of at least ${least}, not ${shown(value)}`);
  return number;
}

function oneOf<T extends string>(text: string, names: readonly T[]): T {
  const found = names.find((name) => name === text);
  if (found !== undefined) return found;
  const known = names.filter((name) => name !== "").join(", ");
  throw new InvalidValue(`must be one of ${known}, not ${shown(text)}`);
}

function orInvalid<T>(wrong: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    throw new InvalidValue(wrong);
  }
}

/** As it is quoted in messages. */
export function shown(value: unknown): string {
  return printable(JSON.stringify(value) ?? String(value), 100);
}
