// Durations as Go writes them ("1m30s"), for HEALTHCHECK. Go time.ParseDuration.
const UNITS = {
    ns: 1,
    us: 1e3,
    µs: 1e3, // U+00B5
    μs: 1e3, // U+03BC
    ms: 1e6,
    s: 1e9,
    m: 60e9,
    h: 3600e9,
};
const PART = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/y;
const MAX_NANOSECONDS = 2 ** 63;
/** Nanoseconds; null when the text is no duration. Whole results are exact up to 104 days. */
export function parseDuration(text) {
    const sign = text.startsWith("-") ? -1 : 1;
    const start = text.startsWith("-") || text.startsWith("+") ? 1 : 0;
    if (text.slice(start) === "0")
        return 0;
    if (start === text.length)
        return null;
    let total = 0;
    PART.lastIndex = start;
    while (PART.lastIndex < text.length) {
        const match = PART.exec(text);
        if (match === null)
            return null;
        total += Number(match[1]) * UNITS[match[2]];
    }
    if (total >= MAX_NANOSECONDS)
        return null;
    return sign * Math.trunc(total + 1e-6); // 0.3s must not become 299999999
}
//# sourceMappingURL=duration.js.map