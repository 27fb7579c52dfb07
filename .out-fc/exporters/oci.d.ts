import { type Assembled } from "./assembled.ts";
import type { ExportContext, ExportDeps } from "./exporter.ts";
import type { ArchiveOutput } from "./output-grammar.ts";
/**
 * Writes one archive. Returns what the loading program said when there is no destination, else null. Throws OUTPUT_FAILED,
 * OUTPUT_INVALID, REGISTRY_* for layers that have to be fetched first.
 */
export declare function exportArchive(assembled: Assembled, output: ArchiveOutput, deps: ExportDeps, context: ExportContext): Promise<string | null>;
