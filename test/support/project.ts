// The path of the checkout: tests run from dist/test/support/.

import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

/** Absolute path of the checkout (the directory of package.json). */
export const projectDir: string = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));
