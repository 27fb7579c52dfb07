import type { BuiltImage, LayerId } from "../solver/graph/request.ts";
import type { ExportContext, ExportDeps } from "./exporter.ts";
import type { FilesOutput } from "./output-grammar.ts";
/** One tree to be written out. */
export interface FilesTree {
    readonly layers: readonly LayerId[];
    /** Folder inside of the output, "linux_amd64"; null: its top. */
    readonly folder: string | null;
}
export interface FilesJob {
    readonly trees: readonly FilesTree[];
    readonly form: "tar" | "directory";
    /** tar: a file that does not exist yet. directory: one that exists; what is in it stays, unless it is overwritten. */
    readonly dest: string;
    /** Times are at most this, in seconds; null: as they are. */
    readonly epochSeconds: number | null;
}
/** Writes trees. The files belong to the caller's user where it may not give them their owner. */
export type FilesKeeper = (job: FilesJob, options: {
    readonly signal: AbortSignal;
}) => Promise<void>;
/** Writes the files of all images to a directory, a tar file or standard output. Throws OUTPUT_*. */
export declare function exportFiles(images: readonly BuiltImage[], output: FilesOutput, deps: ExportDeps, context: ExportContext): Promise<void>;
