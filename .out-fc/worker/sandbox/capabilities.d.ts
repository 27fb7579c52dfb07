/** Numbers of the default bounding, permitted and effective set. */
export declare const DEFAULT_CAPABILITIES: readonly number[];
/** Capability sets have 64 bits; Linux 6.18 uses 0 to 40 (CAP_CHECKPOINT_RESTORE), a later one may use more. */
export declare const LAST_CAPABILITY = 63;
/** Header and data of capset(2), version 3: effective = permitted = the set, inheritable empty. */
export declare function capsetArguments(capabilities: readonly number[]): {
    readonly header: Uint8Array;
    readonly data: Uint8Array;
};
