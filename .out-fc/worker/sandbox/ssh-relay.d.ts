export interface SshRelay {
    /** A detached mount of the listening socket; closed by close(). */
    readonly fd: number;
    close(): void;
}
/** Listens on a new socket and passes every connection on to the agent at `socket` (a path of the host). */
export declare function openSshRelay(options: {
    readonly socket: string;
    readonly uid: number;
    readonly gid: number;
    readonly mode: number;
}): Promise<SshRelay>;
