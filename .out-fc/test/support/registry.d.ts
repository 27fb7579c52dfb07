import { type IncomingMessage, type ServerResponse } from "node:http";
export interface RunningRegistry extends AsyncDisposable {
    /** localhost:PORT */
    readonly host: string;
}
/** The account of a registry started with `auth`. */
export declare const REGISTRY_USER: {
    readonly username: "builder";
    readonly password: "hunter2";
};
/** Starts docker-registry on a free port with an empty storage of its own; disposing ends it and removes the storage. */
export declare function startRegistry(options?: {
    readonly auth?: boolean;
}): Promise<RunningRegistry>;
export interface Request {
    readonly method: string;
    readonly url: string;
    readonly headers: IncomingMessage["headers"];
    readonly body: Buffer;
}
export interface MisbehavingServer extends RunningRegistry {
    readonly origin: string;
    /** All requests so far. */
    readonly requests: readonly Request[];
}
/** Starts a server on a free port that answers as `handle` says; `count` counts equal requests (method and URL) from 0. */
export declare function startServer(handle: (request: Request, response: ServerResponse, count: number) => void | Promise<void>): Promise<MisbehavingServer>;
