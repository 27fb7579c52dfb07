import type { WireError } from "./messages.ts";
/** An error as data. Only BuildError keeps its kind; everything else is a bug or a system error with its stack. */
export declare function freezeError(error: unknown): WireError;
/** The error again, on the other side. */
export declare function thawError(error: WireError): Error;
