/** This process as owner, and what it knows of others. */
export interface Owner {
    /** Fit for a file name; has no "-". */
    readonly id: string;
    /** Short id of the running kernel's boot: the same until the machine is started anew. */
    readonly boot: string;
    /** false only when the process is certainly gone; what is gone stays gone. */
    isAlive(id: string): Promise<boolean>;
    /** Gives back the socket. */
    close(): void;
}
/** 12 hex digits of /proc/sys/kernel/random/boot_id. */
export declare function bootId(): string;
/** Makes this process known in `dir` (which exists). */
export declare function openOwner(dir: string): Owner;
/** Removes sockets and lease files of dead owners in `dir`. */
export declare function sweepOwners(dir: string, owner: Owner): Promise<void>;
