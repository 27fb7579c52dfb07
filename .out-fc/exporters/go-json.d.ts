/**
 * Encodes as json.Marshal (indent 0) or json.MarshalIndent with that many spaces. Keys keep their order. `<`, `>`, `&`
 * and the two line separators are escaped as Go does; they can only stand inside strings, so replacing is safe.
 */
export declare function encodeGoJson(value: unknown, indent?: number): Uint8Array;
/** Entries as Go's maps are written: sorted by bytes of the key. */
export declare function sortedEntries<T>(map: Readonly<Record<string, T>>): [string, T][];
/** The map with sorted keys, or undefined (left out, Go's omitempty) when it is empty. */
export declare function sortedMap<T>(map: Readonly<Record<string, T>> | null | undefined): Record<string, T> | undefined;
/** A struct with omitempty fields: the named keys first, in order, then unknown ones sorted; empty values left out. */
export declare function orderedFields(value: Readonly<Record<string, unknown>>, order: readonly string[]): Record<string, unknown>;
/** A time as time.RFC3339Nano in UTC: no trailing zeros of the fraction. Milliseconds since 1970. */
export declare function goTime(ms: number): string;
