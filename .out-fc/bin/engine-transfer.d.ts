import { type Platform } from "../solver/graph/op.ts";
import type { Descriptor } from "../solver/graph/request.ts";
import type { EngineParts } from "./engine.ts";
import type { EngineTransferOptions } from "./config.ts";
/** Fetches manifest, config and layers and gives them their name. Throws REGISTRY_*, PLATFORM_UNSUPPORTED. */
export declare function pullImage(parts: EngineParts, reference: string, platform: Platform | null, options: EngineTransferOptions): Promise<Descriptor>;
/** Sends an image under its name; layers are packed as gzip on the way. Throws IMAGE_UNKNOWN, REGISTRY_*. */
export declare function pushImage(parts: EngineParts, reference: string, options: EngineTransferOptions): Promise<Descriptor>;
