// The session of a client that is somewhere else: files, secrets, agents and credentials by calls through its tunnel.

import { create } from "@bufbuild/protobuf";
import { randomBytes } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { rmSync } from "node:fs";
import type { ClientHttp2Session } from "node:http2";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { type Duplex, pipeline } from "node:stream";
import { type HealthChecks, USUAL_CHECKS, watchHealth } from "./session-health.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { socketDirectory } from "../ssh-sockets.ts";
import {
  type FileRules,
  type FileTransfer,
  SECRET_MAX_BYTES,
  type Session,
  type WritableBlobs,
} from "../../solver/graph/session.ts";
import { decodeBytes, sendBytes } from "../wire/bytes-message.ts";
import { callUnary, type Metadata, openCall } from "../wire/client.ts";
import { receiveFiles } from "../wire/fsutil-receive.ts";
import { sendFiles } from "../wire/fsutil-send.ts";
import {
  GetSecretRequestSchema,
  GetSecretResponseSchema,
} from "../wire/messages/moby/buildkit/secrets/v1/secrets_pb.ts";
import {
  CredentialsRequestSchema,
  CredentialsResponseSchema,
  FetchTokenRequestSchema,
  FetchTokenResponseSchema,
  GetTokenAuthorityRequestSchema,
  GetTokenAuthorityResponseSchema,
} from "../wire/messages/moby/filesync/v1/auth_pb.ts";
import {
  type ExporterRequest,
  FinalizeExportRequestSchema,
  FinalizeExportResponseSchema,
  FindExportersRequestSchema,
  FindExportersResponseSchema,
} from "../wire/messages/moby/exporter/v1/exporter_pb.ts";
import {
  type CheckPolicyRequest,
  CheckPolicyRequestSchema,
  type CheckPolicyResponse,
  CheckPolicyResponseSchema,
} from "../wire/messages/moby/buildkit/v1/sourcepolicy/policysession/policysession_pb.ts";
import {
  CheckAgentRequestSchema,
  CheckAgentResponseSchema,
} from "../wire/messages/moby/sshforward/v1/ssh_pb.ts";
import { CODE, RpcError } from "../wire/status.ts";
import { openTunnel } from "../wire/tunnel.ts";
import { READ_CONTENT, remoteBlobs } from "./remote-content.ts";

const METHODS = {
  files: "/moby.filesync.v1.FileSync/DiffCopy",
  output: "/moby.filesync.v1.FileSend/DiffCopy",
  secret: {
    path: "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    input: GetSecretRequestSchema,
    output: GetSecretResponseSchema,
  },
  credentials: {
    path: "/moby.filesync.v1.Auth/Credentials",
    input: CredentialsRequestSchema,
    output: CredentialsResponseSchema,
  },
  authority: {
    path: "/moby.filesync.v1.Auth/GetTokenAuthority",
    input: GetTokenAuthorityRequestSchema,
    output: GetTokenAuthorityResponseSchema,
  },
  token: {
    path: "/moby.filesync.v1.Auth/FetchToken",
    input: FetchTokenRequestSchema,
    output: FetchTokenResponseSchema,
  },
  agent: {
    path: "/moby.sshforward.v1.SSH/CheckAgent",
    input: CheckAgentRequestSchema,
    output: CheckAgentResponseSchema,
  },
  policy: {
    path: "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy",
    input: CheckPolicyRequestSchema,
    output: CheckPolicyResponseSchema,
  },
  findExporters: {
    path: "/moby.exporter.v1.Exporter/FindExporters",
    input: FindExportersRequestSchema,
    output: FindExportersResponseSchema,
  },
  finalizeExport: {
    path: "/moby.exporter.v1.Exporter/FinalizeExport",
    input: FinalizeExportRequestSchema,
    output: FinalizeExportResponseSchema,
  },
  forward: "/moby.sshforward.v1.SSH/ForwardAgent",
  upload: "/moby.upload.v1.Upload/Pull",
} as const;

/** A directory is sent at once, with the folders of all platforms: the client may remove what else is in its own. */
const WHOLE: Metadata = { "buildkit-exporter-multi-platform": "1" };
/** What BuildKit gives a client for its credentials and tokens. */
const AUTH_WITHIN_MS = 60_000;

export interface RemoteSession extends Session, Disposable {
  readonly id: string;
  /** Who the client is. */
  readonly peer: string;
  /** Aborts when the client is gone. */
  readonly gone: AbortSignal;
  /** Resolves when no files are on their way, to whichever build. Rejects when the signal aborts. */
  quiet(signal: AbortSignal): Promise<void>;
  /** A directory of the client that is a build cache. */
  cache(directory: string): WritableBlobs;
  /** The client's judgement about a source. Throws RpcError, also for a client that judges none. */
  checkPolicy(
    request: CheckPolicyRequest,
    options: { readonly signal: AbortSignal },
  ): Promise<CheckPolicyResponse>;
  /** The exporters that the client wants for results; none where it has no such service. */
  findExporters(
    found: { readonly metadata: Record<string, Uint8Array>; readonly refs: string[] },
    options: { readonly signal: AbortSignal },
  ): Promise<readonly ExporterRequest[]>;
  /** Tells the client what exporters have made. Throws the client's error. */
  finalizeExport(response: Record<string, string>, options: { readonly signal: AbortSignal }): Promise<void>;
  /** What the client sends under an address of its own. */
  readonly upload: NonNullable<Session["upload"]>;
}

/** A session over the connection in its tunnel. `methods`: what the client serves; `peer`: who it is, which keys of its files are bound to. */
export function openRemoteSession(
  http: ClientHttp2Session,
  {
    id,
    sharedKey,
    methods,
    peer,
    tempDir,
    find,
    health = USUAL_CHECKS,
  }: {
    readonly id: string;
    readonly sharedKey: string;
    readonly methods: readonly string[];
    readonly peer: string;
    readonly tempDir: () => string;
    /** Finds sessions by their ids; throws RpcError NOT_FOUND. */
    readonly find: (id: string, signal: AbortSignal) => Promise<RemoteSession>;
    readonly health?: HealthChecks;
  },
): RemoteSession {
  const served = new Set(methods.map((one) => one.toLowerCase()));
  const serves = (method: string): boolean => served.has(method.toLowerCase());
  const controller = new AbortController();
  const { signal: gone } = controller;
  const lost = new RpcError(CODE.CANCELLED, "the session of the client has ended");
  http.once("close", () => controller.abort(lost));
  const agents = new Map<string, Promise<string | null>>();
  const authorities = new Map<string, Promise<boolean>>();
  const servers: Server[] = [];
  const transfers = new Set<Duplex>();
  const idle = new EventEmitter();
  let directory: string | null = null;

  const stopChecks = watchHealth(http, health, gone);

  async function serveAgent(agent: string): Promise<string | null> {
    const found = await unlessMissing(() =>
      callUnary(http, METHODS.agent, create(CheckAgentRequestSchema, { ID: agent }), { signal: gone }),
    );
    if (found === null) return null;
    directory ??= socketDirectory(tempDir());
    const path = join(directory, String(servers.length));
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      const call = openCall(http, METHODS.forward, {
        signal: gone,
        metadata: { "buildkit.ssh.id": agent },
      });
      const tunnel = openTunnel(call, { onEnd: () => call.end() });
      pipeline(socket, tunnel, () => {});
      pipeline(tunnel, socket, () => {});
    });
    servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject).listen({ path }, resolve);
    });
    return path;
  }

  /** Does the client fetch tokens itself? Its key only tells whether two sessions are of the same user; tokens here are of one session. */
  async function hasAuthority(Host: string, signal: AbortSignal): Promise<boolean> {
    const asked = create(GetTokenAuthorityRequestSchema, { Host, Salt: randomBytes(32) });
    const found = await unlessUnserved(() => callUnary(http, METHODS.authority, asked, { signal }));
    return found !== null && found.PublicKey.length === 32;
  }

  return {
    id,
    peer,
    gone,
    async quiet(signal) {
      if (transfers.size > 0) await once(idle, "idle", { signal });
    },
    async blobs(store) {
      if (serves(READ_CONTENT)) return remoteBlobs(http, `oci:${store}`, gone);
      throw new BuildError("CONTEXT_MISSING", `the client serves no OCI layouts: ${store} was asked for`);
    },
    async other(asked, { signal }) {
      if (asked === id) return null;
      const found = await unlessMissing(() => find(asked, signal));
      // An id is no secret that opens another client's files.
      return found?.peer === peer ? found : null;
    },
    async files(name) {
      if (!serves(METHODS.files))
        throw new BuildError("CONTEXT_MISSING", `the client sends no files: "${name}" was asked for`);
      return {
        kind: "elsewhere",
        key: JSON.stringify([peer, sharedKey]),
        async open(rules, { signal }) {
          const call = openCall(http, METHODS.files, {
            signal: AbortSignal.any([signal, gone]),
            metadata: { "dir-name": name, ...patternHeaders(rules) },
          });
          transfers.add(call.stream);
          call.stream.once("close", () => {
            transfers.delete(call.stream);
            if (transfers.size === 0) idle.emit("idle");
          });
          return withMissing(receiveFiles(call), name);
        },
      };
    },
    async secret(name) {
      const found = await unlessMissing(() =>
        callUnary(http, METHODS.secret, create(GetSecretRequestSchema, { ID: name }), { signal: gone }),
      );
      if (found !== null && found.data.length > SECRET_MAX_BYTES)
        throw new BuildError(
          "LIMIT_EXCEEDED",
          `secret "${name}" is larger than ${SECRET_MAX_BYTES / 1024} KiB`,
        );
      return found?.data ?? null;
    },
    sshSocket(agent) {
      const known = agents.get(agent) ?? serveAgent(agent === "" ? "default" : agent);
      agents.set(agent, known);
      return known;
    },
    async credentials(host) {
      const found = await unlessMissing(() =>
        callUnary(http, METHODS.credentials, create(CredentialsRequestSchema, { Host: wireHost(host) }), {
          signal: gone,
        }),
      );
      if (found === null || found.Secret === "") return null;
      return found.Username === ""
        ? { kind: "identity-token", token: found.Secret }
        : { kind: "basic", username: found.Username, password: found.Secret };
    },
    async token({ host, realm: Realm, service: Service, scopes }, { signal }) {
      const within = AbortSignal.any([signal, gone, AbortSignal.timeout(AUTH_WITHIN_MS)]);
      const Host = wireHost(host);
      let fetches = authorities.get(Host);
      if (fetches === undefined) {
        fetches = hasAuthority(Host, within);
        authorities.set(Host, fetches);
        fetches.catch(() => authorities.delete(Host)); // told below
      }
      if (!(await fetches)) return null;
      const message = create(FetchTokenRequestSchema, {
        ...{ ClientID: "buildkit-client", Host, Realm, Service, Scopes: [...scopes] },
      });
      try {
        const {
          Token: token,
          ExpiresIn,
          IssuedAt,
        } = await callUnary(http, METHODS.token, message, {
          signal: within,
        });
        const agedS = IssuedAt > 0n ? Math.max(0, Date.now() / 1000 - Number(IssuedAt)) : 0;
        return { token, seconds: ExpiresIn > 0n ? Number(ExpiresIn) - agedS : null };
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof RpcError)) throw error;
        throw new BuildError("REGISTRY_DENIED", `${host}: the client got no token: ${error.message}`, {
          cause: error,
        });
      }
    },
    async *upload({ host, pathname }, { signal }) {
      if (!serves(METHODS.upload)) throw new RpcError(CODE.UNIMPLEMENTED, "the client uploads nothing");
      const call = openCall(http, METHODS.upload, {
        signal: AbortSignal.any([signal, gone]),
        metadata: { urlpath: pathname, urlhost: host },
      });
      call.end();
      for await (const message of call.messages()) yield decodeBytes(message);
    },
    checkPolicy: (request, { signal }) =>
      callUnary(http, METHODS.policy, request, { signal: AbortSignal.any([signal, gone]) }),
    async findExporters(found, { signal }) {
      const within = { signal: AbortSignal.any([signal, gone]) };
      const answer = await unlessUnserved(() =>
        callUnary(http, METHODS.findExporters, create(FindExportersRequestSchema, found), within),
      );
      return answer?.exporters ?? [];
    },
    async finalizeExport(response, { signal }) {
      const message = create(FinalizeExportRequestSchema, { exporterResponse: response });
      const within = { signal: AbortSignal.any([signal, gone]) };
      await unlessUnserved(() => callUnary(http, METHODS.finalizeExport, message, within));
    },
    cache: (directory) => remoteBlobs(http, `local:${directory}`, gone),
    outputs: {
      layout: () => remoteBlobs(http, "export", gone),
      async file(name, data, { signal, about = {} }) {
        const call = openOutput(name, signal, about);
        // Read all along: a client that wants no more ends the call at once, and takes nothing from then on.
        let isOver = false;
        const taken = untilTaken(call.messages()).finally(() => {
          isOver = true;
        });
        taken.catch(() => {}); // told below
        try {
          for await (const chunk of data) {
            if (isOver) break;
            await sendBytes(call, chunk);
          }
          if (!isOver) call.end();
        } catch (error) {
          const isEnded = error instanceof RpcError && error.code === CODE.CANCELLED;
          if (!isEnded) call.cancel();
          if (!isEnded) throw error;
        }
        await taken;
      },
      async directory(name, path, { signal }) {
        await sendFiles(openOutput(name, signal, {}, WHOLE), path);
      },
    },
    [Symbol.dispose]() {
      stopChecks();
      for (const server of servers) server.close();
      if (directory !== null) rmSync(directory, { recursive: true, force: true });
      http.close();
    },
  };

  function openOutput(
    name: string,
    signal: AbortSignal,
    about: Readonly<Record<string, string>> = {},
    headers: Metadata = {},
  ) {
    if (!serves(METHODS.output)) throw new RpcError(CODE.UNIMPLEMENTED, "the client takes no outputs");
    const said = Object.entries(about).map(([key, value]) => [`exporter-md-${key}`, value]);
    const metadata = {
      "buildkit-attachable-exporter-id": name,
      ...headers,
      ...(Object.fromEntries(said) as Metadata),
    };
    return openCall(http, METHODS.output, { signal: AbortSignal.any([signal, gone]), metadata });
  }
}

/** Clients know the Hub by the name of its API. */
function wireHost(host: string): string {
  return host === "docker.io" ? "registry-1.docker.io" : host;
}

/** null: the client has no such thing, or no such service. */
async function unlessMissing<T>(call: () => Promise<T>): Promise<T | null> {
  try {
    return await call();
  } catch (error) {
    const isLack =
      error instanceof RpcError && (error.code === CODE.NOT_FOUND || error.code === CODE.UNIMPLEMENTED);
    if (isLack) return null;
    throw error;
  }
}

/** null: the client has no such service, or nothing behind it. */
async function unlessUnserved<T>(call: () => Promise<T>): Promise<T | null> {
  try {
    return await call();
  } catch (error) {
    const isUnserved =
      error instanceof RpcError && (error.code === CODE.UNAVAILABLE || error.code === CODE.UNIMPLEMENTED);
    if (isUnserved) return null;
    throw error;
  }
}

/** A directory that the client does not have is told as such. */
function withMissing(transfer: FileTransfer, name: string): FileTransfer {
  return {
    async *listing() {
      try {
        yield* transfer.listing();
      } catch (cause) {
        if (!(cause instanceof RpcError && cause.code === CODE.NOT_FOUND)) throw cause;
        throw new BuildError("CONTEXT_MISSING", `the client has no directory named ${printable(name)}`, {
          cause,
        });
      }
    },
    contents: (wanted) => transfer.contents(wanted),
    [Symbol.asyncDispose]: () => transfer[Symbol.asyncDispose](),
  };
}

async function untilTaken(messages: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    for await (const _ of messages);
  } catch (error) {
    // Not wanted, which is no error.
    if (!(error instanceof RpcError && error.code === CODE.ALREADY_EXISTS)) throw error;
  }
}

/** Patterns as repeated headers; escaped as in a URL's query where one has bytes that no header may have. */
function patternHeaders({ includes, excludes, follow }: FileRules): Metadata {
  const headers: Record<string, string | readonly string[]> = {};
  for (const [name, values] of [
    ["include-patterns", includes],
    ["exclude-patterns", excludes],
    ["followpaths", follow],
  ] as const) {
    if (values.length === 0) continue;
    const isPlain = values.every((value) => /^[\x20-\x7e]*$/.test(value) && value.trim() === value);
    headers[name] = isPlain ? values : values.map((value) => encodeURIComponent(value).replace(/%20/g, "+"));
    if (!isPlain) headers[`${name}-encoded`] = "1";
  }
  return headers;
}
