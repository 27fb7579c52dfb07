/** Columns of a line; SGR sequences count nothing. */
export declare function textWidth(text: string): number;
/** As much of the line as fits `columns`; tabs become a space; colours are ended when it has any. */
export declare function cutText(text: string, columns: number): string;
