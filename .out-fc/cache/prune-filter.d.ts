import type { UsageEntry } from "./collect.ts";
/** One test out of all filters, each of which may be several joined by commas. Throws USAGE for what it does not know. */
export declare function parseFilters(filters: readonly string[]): (entry: UsageEntry) => boolean;
