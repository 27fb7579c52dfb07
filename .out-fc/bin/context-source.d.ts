import type { ContextSource, DockerfileSource } from "./config.ts";
export interface ContextOptions {
    readonly cwd: string;
    readonly stdin: AsyncIterable<Uint8Array>;
    /** Makes a directory for a context that comes as a tar; removed by who owns it. */
    readonly tempDir: () => string;
    readonly signal: AbortSignal;
}
/** Resolves both. Throws CONTEXT_MISSING, USAGE, LIMIT_EXCEEDED. */
export declare function resolveContext(context: string, file: string | null, options: ContextOptions): Promise<{
    readonly context: ContextSource;
    readonly dockerfile: DockerfileSource;
}>;
