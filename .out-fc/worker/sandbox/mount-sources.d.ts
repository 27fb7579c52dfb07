import type { ExecJobMount } from "../keeper/messages.ts";
import type { StepMount } from "./step-program.ts";
export interface MountSourceContext {
    readonly storeDir: string;
    /** Called with what must be given back after the step. */
    readonly onEnd: (release: () => void) => void;
}
/** Layer directories without those that come again further up: overlayfs refuses a directory that is listed twice. */
export declare function uniqueDirs(dirs: readonly string[]): string[];
/** Makes the source of one mount. Throws MOUNT_INVALID, CONTEXT_PATH_MISSING, SANDBOX_UNAVAILABLE. */
export declare function mountSource(mount: ExecJobMount, context: MountSourceContext): Promise<StepMount["source"]>;
/** An empty directory that only ever serves as a mount point of namespaces nobody else sees. */
export declare function scratchDir(storeDir: string): string;
