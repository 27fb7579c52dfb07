import { type Assembled } from "./assembled.ts";
import type { ExportContext, ExportDeps } from "./exporter.ts";
import type { ImageOutput } from "./output-grammar.ts";
/** Pushes an image under all names. What a registry has is not sent; other repositories of it are mounted from. Throws REGISTRY_*. */
export declare function pushImage(assembled: Assembled, output: ImageOutput, names: readonly string[], deps: ExportDeps, context: ExportContext): Promise<void>;
