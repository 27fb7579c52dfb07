import type { NetworkHelper } from "../keeper/network-helper.ts";
export interface StepNetwork {
    /** Descriptor of the namespace, for setns(2); belongs to the pool. */
    readonly fd: number;
    /** A name server inside the namespace that asks the host's resolver. */
    readonly resolver: string;
    /** Gives it back once no process is in it. Not reusable: the step had the right to change it. */
    release(reusable: boolean): void;
}
export interface NetworkPool {
    /** A connected namespace nobody else uses; throws when the helper cannot make one, with its words. */
    acquire(): Promise<StepNetwork>;
    /** Starts the first namespace ahead of the step that needs it. */
    prepare(): void;
}
/** A pool that makes namespaces when they are needed. `dir`: a directory of the store, covered by a tmpfs only this process sees. */
export declare function openNetworkPool(helper: Exclude<NetworkHelper, {
    kind: "none";
}>, options: {
    readonly dir: string;
    readonly launcher: () => string;
}): NetworkPool;
/** resolv.conf for a step in a namespace: servers that only the host can reach are replaced by the namespace's own. */
export declare function stepResolvConf(text: string, resolver: string): string;
