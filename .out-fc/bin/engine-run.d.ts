import type { EngineParts } from "./engine.ts";
import type { EngineRunOptions, RunRequest } from "./config.ts";
/** Runs the command; its file changes are thrown away. Returns the exit code. Throws IMAGE_UNKNOWN, EXEC_FAILED… */
export declare function runImage(parts: EngineParts, request: RunRequest, options: EngineRunOptions): Promise<number>;
