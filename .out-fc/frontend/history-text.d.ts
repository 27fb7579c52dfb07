import type { Healthcheck } from "../solver/graph/request.ts";
/** Go's %q of a list of texts: ["a" "b"]. */
export declare function quotedList(words: readonly string[]): string;
/** Go's %v of a list of texts: [a b]. */
export declare function plainList(words: readonly string[]): string;
/** Go's %+v of a HealthcheckConfig. */
export declare function healthcheckText(check: Healthcheck): string;
/** Go's time.Duration.String, of nanoseconds that are not negative: 1h2m3.5s, 1.5ms, 0s. */
export declare function formatDuration(nanoseconds: number): string;
