export interface TarFile {
    readonly kind: "file";
    readonly name: string;
    readonly size: number;
    readonly data: Uint8Array | (() => AsyncIterable<Uint8Array>);
}
export interface TarDirectory {
    readonly kind: "directory";
    readonly name: string;
}
/** Bytes of the whole tar. Modes are 0444 and 0755, owner 0:0, time 0: nothing of this machine is in it. */
export declare function tarBytes(members: readonly (TarFile | TarDirectory)[]): AsyncGenerator<Uint8Array, void, undefined>;
