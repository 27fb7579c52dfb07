/** /etc/hosts as BuildKit writes it. */
export declare function hostsFile(hostname: string, extra: readonly {
    readonly host: string;
    readonly ip: string;
}[]): string;
/** Environment of a step: entries without a value are dropped (I4), HOME comes from the account when it is not set. */
export declare function stepEnvironment(env: readonly string[], home: string, tty: boolean): string[];
/** Number of a limit, or null for an unknown name. */
export declare function rlimitNumber(name: string): number | null;
/** Value of a limit: -1 is no limit. */
export declare function rlimitValue(value: number): bigint;
