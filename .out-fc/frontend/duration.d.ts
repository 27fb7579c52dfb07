/** Nanoseconds; null when the text is no duration. Whole results are exact up to 104 days. */
export declare function parseDuration(text: string): number | null;
