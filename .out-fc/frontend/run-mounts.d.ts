declare const TYPES: readonly ["bind", "cache", "tmpfs", "secret", "ssh"];
declare const SHARINGS: readonly ["shared", "private", "locked"];
/** A mount as written; null where nothing was said. */
export interface RunMount {
    readonly type: (typeof TYPES)[number];
    readonly from: string;
    readonly source: string;
    readonly target: string;
    readonly readonly: boolean;
    readonly sizeBytes: number;
    readonly id: string;
    readonly sharing: (typeof SHARINGS)[number] | null;
    readonly required: boolean;
    readonly mode: number | null;
    readonly uid: number | null;
    readonly gid: number | null;
    readonly env: string | null;
}
/** The stage, image or context of a mount: known before any variable is. "" when none is named. Throws MOUNT_INVALID. */
export declare function mountFrom(text: string): string;
/** Reads a mount; `expand` is for the values. Throws MOUNT_INVALID and what `expand` throws. */
export declare function parseMount(text: string, expand: (value: string) => string): RunMount;
export interface RunDevice {
    readonly name: string;
    readonly required: boolean;
}
/** --device=vendor.com/class=name or name=…,required. Throws MOUNT_INVALID. */
export declare function parseDevice(text: string): RunDevice;
export {};
