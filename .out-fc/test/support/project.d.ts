/** Absolute path of the checkout (the directory of package.json). */
export declare const projectDir: string;
