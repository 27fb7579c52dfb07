// JSON as Go's encoding/json writes it, so that equal images of tsbuild and BuildKit have equal bytes and digests.

/**
 * Encodes as json.Marshal (indent 0) or json.MarshalIndent with that many spaces. Keys keep their order. `<`, `>`, `&`
 * and the two line separators are escaped as Go does; they can only stand inside strings, so replacing is safe.
 */
export function encodeGoJson(value: unknown, indent = 0): Uint8Array {
  const text = JSON.stringify(value, null, indent);
  const escaped = text.replace(
    /[<>&\u2028\u2029]/g,
    (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return Buffer.from(escaped, "utf8");
}

/** Entries as Go's maps are written: sorted by bytes of the key. */
export function sortedEntries<T>(map: Readonly<Record<string, T>>): [string, T][] {
  return Object.entries(map).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** The map with sorted keys, or undefined (left out, Go's omitempty) when it is empty. */
export function sortedMap<T>(
  map: Readonly<Record<string, T>> | null | undefined,
): Record<string, T> | undefined {
  const entries = sortedEntries(map ?? {});
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

/** A struct with omitempty fields: the named keys first, in order, then unknown ones sorted; empty values left out. */
export function orderedFields(
  value: Readonly<Record<string, unknown>>,
  order: readonly string[],
): Record<string, unknown> {
  const known = new Set(order);
  const rest = sortedEntries(value).filter(([key]) => !known.has(key));
  const named = order.map((key) => [key, value[key]] as const);
  return Object.fromEntries([...named, ...rest].filter(([, field]) => !isEmpty(field)));
}

/** The fields that are there, in their order: no empty texts and lists; numbers, booleans and objects stay. */
export function withoutEmpty(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).filter(
      ([, value]) =>
        value !== undefined &&
        value !== null &&
        value !== "" &&
        !(Array.isArray(value) && value.length === 0),
    ),
  );
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === "" || value === false || value === 0) return true;
  if (Array.isArray(value)) return value.length === 0;
  return typeof value === "object" && Object.keys(value).length === 0;
}

/** A time as time.RFC3339Nano in UTC: no trailing zeros of the fraction. Milliseconds since 1970. */
export function goTime(ms: number): string {
  return new Date(ms).toISOString().replace(/\.?0*Z$/, "Z");
}
