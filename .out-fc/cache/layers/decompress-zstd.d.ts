/** Unpacks the file from its start. `failed` turns an error of a decoder into the caller's; errors of `sink` pass
 *  through. `sink` returning false ends it. */
export declare function readZstdFile(fd: number, sink: (chunk: Buffer) => boolean, failed: (cause: unknown) => Error): Promise<void>;
