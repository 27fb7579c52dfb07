export interface IdRange {
    readonly inside: number;
    readonly outside: number;
    readonly count: number;
}
/** root: real root, ids as they are. subids: own id is 0 inside, the rest from /etc/subuid. single: only the own id. */
export type IdMaps = {
    readonly kind: "root";
    readonly uids: readonly IdRange[];
    readonly gids: readonly IdRange[];
} | {
    readonly kind: "subids";
    readonly uids: readonly IdRange[];
    readonly gids: readonly IdRange[];
} | {
    readonly kind: "single";
    readonly uids: readonly IdRange[];
    readonly gids: readonly IdRange[];
    readonly why: string;
};
/** Finds the maps for this user. Reads /etc/subuid and /etc/subgid; looks for newuidmap in `path`. */
export declare function findIdMaps(user: {
    uid: number;
    gid: number;
    name: string;
}, path: string): IdMaps;
/** Absolute path of a program in `path`, or null. */
export declare function findProgram(name: string, path: string): string | null;
/** Writes the maps for `pid`, which waits in a new user namespace. Throws SANDBOX_UNAVAILABLE with the helper's words. */
export declare function writeIdMaps(pid: number, maps: IdMaps, path: string): Promise<void>;
