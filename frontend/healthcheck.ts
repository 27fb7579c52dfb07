// HEALTHCHECK's options: durations and a count (Dockerfile reference, "HEALTHCHECK").

import { BuildError } from "../solver/graph/error.ts";
import { parseDuration } from "./duration.ts";
import { flagValue } from "./flags.ts";
import type { Flag } from "./instruction.ts";
import { quote } from "../solver/graph/go-quote.ts";

const DURATIONS = ["interval", "timeout", "start-period", "start-interval"] as const;
const MIN_NANOSECONDS = 1_000_000; // 1 ms, container.MinimumDuration of the Docker API
const MAX_RETRIES = 2 ** 31 - 1;

export interface HealthcheckOptions {
  /** Nanoseconds; 0: not set. */
  readonly interval: number;
  readonly timeout: number;
  readonly startPeriod: number;
  readonly startInterval: number;
  readonly retries: number;
}

/** The options of a HEALTHCHECK CMD. Throws DOCKERFILE_SYNTAX. */
export function readHealthcheckOptions(flags: readonly Flag[]): HealthcheckOptions {
  const [interval = 0, timeout = 0, startPeriod = 0, startInterval = 0] = DURATIONS.map((name) =>
    readDuration(flags, name),
  );
  return { interval, timeout, startPeriod, startInterval, retries: readRetries(flags) };
}

/** The same, for the error only. */
export function checkHealthcheckFlags(flags: readonly Flag[]): void {
  if (flags.length > 0) readHealthcheckOptions(flags);
}

function readDuration(flags: readonly Flag[], name: string): number {
  const text = flagValue(flags, name) ?? "";
  if (text === "") return 0;
  const value = parseDuration(text);
  if (value === null) throw wrong(flags, name, `time: invalid duration ${quote(text)}`);
  if (value !== 0 && value < MIN_NANOSECONDS) {
    throw wrong(flags, name, `Interval ${quote(name)} cannot be less than 1ms`);
  }
  return value;
}

function readRetries(flags: readonly Flag[]): number {
  const text = flagValue(flags, "retries") ?? "";
  if (text === "") return 0;
  const value = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value) || Math.abs(value) > MAX_RETRIES) {
    throw wrong(flags, "retries", `--retries is not a number: ${quote(text)}`);
  }
  if (value < 0) throw wrong(flags, "retries", `--retries cannot be negative (${value})`);
  return value;
}

function wrong(flags: readonly Flag[], name: string, message: string): BuildError {
  return new BuildError("DOCKERFILE_SYNTAX", message, {
    at: flags.find((flag) => flag.name === name)?.at ?? null,
  });
}
