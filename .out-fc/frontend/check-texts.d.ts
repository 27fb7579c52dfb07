export declare const stageNameCasing: (stage: string) => string;
export declare const fromAsCasing: (from: string, as: string) => string;
export declare const emptyContinuation: () => string;
export declare const instructionCasing: (keyword: string, majority: "lowercase" | "uppercase") => string;
export declare const duplicateStageName: (stage: string) => string;
export declare const reservedStageName: (stage: string) => string;
export declare const jsonArgsRecommended: (keyword: string) => string;
export declare const deprecatedMaintainer: () => string;
/** `declared`: names of the ARGs before the first FROM. */
export declare function undefinedArgInFrom(name: string, declared: Iterable<string>): string;
/** `known`: names of the variables that are set at this place. */
export declare function undefinedVar(name: string, known: Iterable<string>): string;
export declare const relativeWorkdir: (workdir: string) => string;
export declare const multipleInstructions: (keyword: string) => string;
export declare const legacyKeyValue: (keyword: string) => string;
/** Platforms as os/architecture[/variant]. */
export declare const baseImagePlatform: (image: string, expected: string, actual: string) => string;
/** `flag`: the value of --platform as written. */
export declare const redundantTargetPlatform: (flag: string) => string;
export declare const secretInArgOrEnv: (instruction: "ARG" | "ENV", key: string) => string;
/** `image`: the FROM argument as written. */
export declare const invalidDefaultArg: (image: string) => string;
export declare const constantPlatform: (platform: string) => string;
export declare const copyIgnoredFile: (command: "Copy" | "Add", path: string) => string;
export declare function invalidDescription(instruction: "ARG" | "FROM", names: readonly string[]): string;
/** `port`: the argument as expanded, such as 80/TCP. */
export declare const exposeProtoCasing: (port: string) => string;
export declare const exposeInvalidFormat: (port: string) => string;
