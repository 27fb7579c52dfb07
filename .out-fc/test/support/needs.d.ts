/** Program to the Debian and Ubuntu package that has it; the same table as in test/setup.sh. */
declare const PACKAGES: Readonly<Record<string, string>>;
/** Absolute path of a program. Throws with the package to install. */
export declare function needs(program: keyof typeof PACKAGES): string;
export {};
