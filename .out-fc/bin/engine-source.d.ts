import type { FrontendOptions } from "../frontend/frontend.ts";
import type { Platform, SourceOp } from "../solver/graph/op.ts";
import type { Session } from "../solver/graph/request.ts";
import type { BuildRequest } from "./config.ts";
/** Reads a file out of the main context, when that has to be fetched first. */
export type ReadRemote = (path: string) => Promise<Uint8Array | null>;
/** Platform of this machine in OCI's words. */
export declare function machinePlatform(): Platform;
/** The main context as a source. */
export declare function contextSource(request: BuildRequest): SourceOp;
/** A git context in any of the forms buildx takes, or null when the URL is a plain file. */
export declare function gitAddress(text: string): SourceOp | null;
/** Reads what is needed and checks what the frontend cannot know. Throws DOCKERFILE_MISSING, USAGE. */
export declare function frontendOptions(request: BuildRequest, session: Session, source: SourceOp, readRemote: ReadRemote, epochSeconds: number | null): Promise<FrontendOptions>;
/** SOURCE_DATE_EPOCH in seconds; --reproducible without one is 0. Throws USAGE. */
export declare function sourceDateEpoch(request: BuildRequest): number | null;
