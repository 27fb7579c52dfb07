import type { Platform } from "../solver/graph/op.ts";
import type { Checks } from "./checks.ts";
import type { CallOptions, ConvertedImage, FrontendHost, FrontendOptions } from "./frontend.ts";
import type { ParsedDockerfile } from "./instruction.ts";
import type { Conversion, StageState } from "./stage-state.ts";
import { type Stage } from "./stages.ts";
export interface ConvertRequest {
    readonly options: FrontendOptions;
    readonly host: FrontendHost;
    readonly call: CallOptions;
    readonly parsed: ParsedDockerfile;
    readonly checks: Checks;
}
export interface OneConversion {
    readonly conversion: Conversion;
    readonly target: Stage;
    readonly state: StageState;
    readonly image: ConvertedImage;
}
/** Platforms the result is for. */
export declare function targetPlatforms(options: FrontendOptions): readonly Platform[];
/** Several platforms, or an index asked for with BUILDKIT_MULTI_PLATFORM. */
export declare function isMultiPlatform({ platforms, buildArgs }: FrontendOptions): boolean;
/** Converts for one platform. Throws BuildError. */
export declare function convertFor(request: ConvertRequest, targetPlatform: Platform): Promise<OneConversion>;
