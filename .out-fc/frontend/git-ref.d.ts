import type { SourceOp } from "../solver/graph/op.ts";
export interface GitRef {
    readonly remote: string;
    readonly host: string;
    readonly path: string;
    readonly ref: string;
    readonly subdir: string;
    readonly keepGitDir: boolean | null;
    readonly submodules: boolean | null;
    readonly checksum: string;
    /** "github.com/user/repo", which a directory may be called as well. */
    readonly looksLocal: boolean;
}
/** The repository a text names, or null when it names none. Throws USAGE for a query that makes no sense. */
export declare function parseGitRef(text: string): GitRef | null;
/** The op that fetches a repository; attributes as in moby/buildkit solver/pb/attr.go. */
export declare function gitSource(ref: GitRef, options: {
    readonly keepGitDir: boolean;
    readonly checksum: string;
}): SourceOp;
