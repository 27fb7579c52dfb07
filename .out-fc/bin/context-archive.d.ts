/** Unpacks the tar (plain or compressed) at `file` into the empty directory `dest`. Throws ARCHIVE_INVALID, LIMIT_EXCEEDED. */
export declare function extractContext(file: string, dest: string): Promise<void>;
