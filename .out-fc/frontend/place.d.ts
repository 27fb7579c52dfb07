import { type SourceRange } from "../solver/graph/error.ts";
/** Runs `work`; an error of the user's without a place gets this one. */
export declare function atPlace<T>(at: SourceRange, work: () => T): T;
/** The same for work that takes time. */
export declare function atPlaceLater<T>(at: SourceRange, work: () => Promise<T>): Promise<T>;
