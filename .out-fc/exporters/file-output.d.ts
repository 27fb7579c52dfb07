import type { Writable } from "node:stream";
import type { Destination } from "./output-grammar.ts";
export interface WriteOptions {
    readonly signal: AbortSignal;
    /** Standard output; null: there is none to write bytes to (a terminal). */
    readonly stdout: Writable | null;
}
/**
 * Writes a stream to a file (temporary file, fsync, rename; the umask decides its mode), straight to a device or
 * pipe, or to standard output.
 */
export declare function writeOutput(dest: Destination, data: AsyncIterable<Uint8Array>, options: WriteOptions): Promise<void>;
/**
 * Lets `make` fill a temporary file beside `path`, then gives it that name. Links are followed. Throws OUTPUT_FAILED;
 * OUTPUT_INVALID for a directory and what else is no regular file.
 */
export declare function writeFileWhole(path: string, signal: AbortSignal, make: (temporary: string) => Promise<void>): Promise<void>;
/** Makes an output directory (with parents, the umask decides the mode). Throws OUTPUT_INVALID when a file has the name. */
export declare function makeOutputDirectory(path: string): Promise<void>;
/** Writes to a stream that stays open, with its back-pressure. A reader that goes away is OUTPUT_FAILED. */
export declare function writeToStream(stream: Writable, data: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void>;
/** Standard output for bytes. Throws OUTPUT_INVALID when it is a terminal. */
export declare function requireStdout(stdout: Writable | null): Writable;
