/** errno name ("ENOENT") of a system error, or null. */
export declare function errnoOf(error: unknown): string | null;
/** The error to throw for a failed call on the store: STORE_FULL, STORE_UNUSABLE, or the error itself. */
export declare function diskFault(error: unknown, doing: string): unknown;
/** Runs a piece of synchronous disk work; failures leave as diskFault() words them. */
export declare function onDisk<T>(doing: string, work: () => T): T;
