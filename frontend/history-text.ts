// Values in history lines. BuildKit prints them with Go's fmt; tools parse these lines, so they must be equal.

import type { Healthcheck } from "../solver/graph/request.ts";
import { quote } from "../solver/graph/go-quote.ts";

/** Go's %q of a list of texts: ["a" "b"]. */
export function quotedList(words: readonly string[]): string {
  return `[${words.map(quote).join(" ")}]`;
}

/** Go's %v of a list of texts: [a b]. */
export function plainList(words: readonly string[]): string {
  return `[${words.join(" ")}]`;
}

/** Go's %+v of a HealthcheckConfig. */
export function healthcheckText(check: Healthcheck): string {
  const { Test = [], Interval = 0, Timeout = 0, StartPeriod = 0, StartInterval = 0, Retries = 0 } = check;
  const times = { Interval, Timeout, StartPeriod, StartInterval };
  const fields = Object.entries(times).map(([name, value]) => `${name}:${formatDuration(value)}`);
  return `{Test:${plainList(Test)} ${fields.join(" ")} Retries:${Retries}}`;
}

/** Go's time.Duration.String, of nanoseconds that are not negative: 1h2m3.5s, 1.5ms, 0s. */
export function formatDuration(nanoseconds: number): string {
  if (nanoseconds === 0) return "0s";
  if (nanoseconds < 1e3) return `${nanoseconds}ns`;
  if (nanoseconds < 1e6) return `${decimal(nanoseconds, 3)}µs`;
  if (nanoseconds < 1e9) return `${decimal(nanoseconds, 6)}ms`;
  const minutes = Math.floor(nanoseconds / 60e9);
  const seconds = `${decimal(nanoseconds - minutes * 60e9, 9)}s`;
  if (minutes === 0) return seconds;
  const hours = Math.floor(minutes / 60);
  return `${hours === 0 ? "" : `${hours}h`}${minutes % 60}m${seconds}`;
}

/** value / 10^digits without rounding, no zeros at the end. */
function decimal(value: number, digits: number): string {
  const text = String(value).padStart(digits + 1, "0");
  const fraction = text.slice(-digits).replace(/0+$/, "");
  return `${text.slice(0, -digits)}${fraction === "" ? "" : `.${fraction}`}`;
}
