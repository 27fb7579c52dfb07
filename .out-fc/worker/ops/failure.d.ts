/** Failed system calls as sentences of the user; everything else passes. */
export declare function inWords<T>(doing: string, work: () => T): T;
/** inWords for work that waits. */
export declare function inWordsAsync<T>(doing: string, work: () => Promise<T>): Promise<T>;
