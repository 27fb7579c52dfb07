export interface Terminal {
    readonly slave: number;
    start(onData: (data: Uint8Array) => Promise<void> | void): void;
    /** Queued by the stream: a command that does not read must not hold the keeper. */
    write(data: Uint8Array): void;
    resize(rows: number, columns: number): void;
    /** Resolves when all that was written to the terminal has been read, at the latest after `limitMs`. */
    finish(limitMs: number): Promise<void>;
    close(): void;
}
/** Opens a terminal pair of the given size (characters). */
export declare function openTerminal(rows: number, columns: number): Terminal;
