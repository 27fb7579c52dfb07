export interface ExportOptions {
    /** All times become this (seconds); null: as they are. */
    readonly epochSeconds: number | null;
    /** Told what was left out. */
    readonly note?: (message: string) => void;
}
/** Writes the tree below `rootDir` as a tar over `outFile` (path or descriptor). Throws SysError, CONTEXT_CHANGED. */
export declare function writeTreeTar(rootDir: string, outFile: string | number, options: ExportOptions): void;
/** Copies the tree below `rootDir` into the user's directory `destDir`, which stays and keeps what else it holds; files
 *  in the way are replaced, directories merged. Nothing is written through links that lie in `destDir`. Owners are kept
 *  by root of the machine only; anybody else gets files of their own, and devices are left out. Set-id bits are dropped
 *  where the owner is not kept. Throws OUTPUT_FAILED where a directory would replace something else, SysError. */
export declare function copyTree(rootDir: string, destDir: string, options: ExportOptions): void;
