// JSON as Go's encoding/json writes it, so that equal images of tsbuild and BuildKit have equal bytes and digests.
/**
 * Encodes as json.Marshal (indent 0) or json.MarshalIndent with that many spaces. Keys keep their order. `<`, `>`, `&`
 * and the two line separators are escaped as Go does; they can only stand inside strings, so replacing is safe.
 */
export function encodeGoJson(value, indent = 0) {
    const text = JSON.stringify(value, null, indent);
    const escaped = text.replace(/[<>&\u2028\u2029]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
    return Buffer.from(escaped, "utf8");
}
/** Entries as Go's maps are written: sorted by bytes of the key. */
export function sortedEntries(map) {
    return Object.entries(map).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}
/** The map with sorted keys, or undefined (left out, Go's omitempty) when it is empty. */
export function sortedMap(map) {
    const entries = sortedEntries(map ?? {});
    return entries.length === 0 ? undefined : Object.fromEntries(entries);
}
/** A struct with omitempty fields: the named keys first, in order, then unknown ones sorted; empty values left out. */
export function orderedFields(value, order) {
    const known = new Set(order);
    const rest = sortedEntries(value).filter(([key]) => !known.has(key));
    const named = order.map((key) => [key, value[key]]);
    return Object.fromEntries([...named, ...rest].filter(([, field]) => !isEmpty(field)));
}
function isEmpty(value) {
    if (value === undefined || value === null || value === "" || value === false || value === 0)
        return true;
    if (Array.isArray(value))
        return value.length === 0;
    return typeof value === "object" && Object.keys(value).length === 0;
}
/** A time as time.RFC3339Nano in UTC: no trailing zeros of the fraction. Milliseconds since 1970. */
export function goTime(ms) {
    return new Date(ms).toISOString().replace(/\.?0*Z$/, "Z");
}
//# sourceMappingURL=go-json.js.map