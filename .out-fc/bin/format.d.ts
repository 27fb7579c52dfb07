/** Bytes as `docker images` prints them: three significant digits, units of 1000. */
export declare function humanSize(bytes: number): string;
/** "3 hours" for a time span, in the steps docker's units.HumanDuration has. */
export declare function humanDuration(ms: number): string;
/** Time span from "24h", "7d", "1h30m", "90s": milliseconds. Throws USAGE. */
export declare function parseDuration(text: string): number;
/** "2024-05-01 12:00:00 +0000 UTC", as docker's --format has times. */
export declare function goTime(ms: number): string;
export interface Column<T> {
    readonly title: string;
    readonly of: (row: T) => string;
}
/** A table as docker prints it: three spaces between columns. */
export declare function renderTable<T>(columns: readonly Column<T>[], rows: readonly T[]): string;
/** Values for --format, by field name. */
export type Fields = Readonly<Record<string, unknown>>;
/** Rows by --format: "json" (one object a line), "table {{...}}\t{{...}}", or a template. Throws USAGE for what it cannot do. */
export declare function renderFormat(format: string, rows: readonly Fields[]): string;
/** {{.Field}}, {{.A.B}}, {{json .}}, {{json .A}}. Unknown fields throw USAGE, as Go's templates do. */
export declare function fillTemplate(template: string, fields: Fields): string;
