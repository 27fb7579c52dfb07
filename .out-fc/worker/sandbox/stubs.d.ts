export interface Stubs {
    /** Removes what is still an empty directory or file, restores the parents' times, closes descriptors. */
    clear(): void;
}
/** Notes which of the targets are missing below rootFd. To be called before the step, after the root is mounted. */
export declare function noteStubs(rootFd: number, targets: readonly {
    readonly path: string;
    readonly isFile: boolean;
}[]): Stubs;
