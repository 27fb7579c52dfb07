export interface ExecUser {
    readonly uid: number;
    readonly gid: number;
    readonly groups: readonly number[];
    readonly home: string;
}
/** Resolves "user", "uid", "user:group", "uid:gid", "" (root). Throws USER_UNKNOWN. rootFd: root of the file system. */
export declare function resolveUser(rootFd: number, spec: string): ExecUser;
