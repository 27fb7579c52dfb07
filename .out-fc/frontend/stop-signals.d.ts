/** A name, with or without SIG, in any case; or any number but 0. */
export declare function isSignal(text: string): boolean;
