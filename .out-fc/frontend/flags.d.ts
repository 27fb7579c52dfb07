import type { Flag } from "./instruction.ts";
/** Throws DOCKERFILE_SYNTAX for an unknown, doubled or malformed flag. */
export declare function checkFlags(kind: string, flags: readonly Flag[]): void;
/** The value of a flag that may stand once; null when it was not given. */
export declare function flagValue(flags: readonly Flag[], name: string): string | null;
/** All values of a flag that may be repeated. */
export declare function flagValues(flags: readonly Flag[], name: string): readonly string[];
/** A checked flag that is a switch: on when given without a value or with "true". */
export declare function isFlagOn(flags: readonly Flag[], name: string): boolean;
