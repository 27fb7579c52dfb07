import type { Flag } from "./instruction.ts";
export interface HealthcheckOptions {
    /** Nanoseconds; 0: not set. */
    readonly interval: number;
    readonly timeout: number;
    readonly startPeriod: number;
    readonly startInterval: number;
    readonly retries: number;
}
/** The options of a HEALTHCHECK CMD. Throws DOCKERFILE_SYNTAX. */
export declare function readHealthcheckOptions(flags: readonly Flag[]): HealthcheckOptions;
/** The same, for the error only. */
export declare function checkHealthcheckFlags(flags: readonly Flag[]): void;
