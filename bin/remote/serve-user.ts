// What the builder may ask of the user in the session: secrets, agents, credentials of registries, and an archive from standard input.

import { create } from "@bufbuild/protobuf";
import { closeSync, readSync } from "node:fs";
import { connect } from "node:net";
import { pipeline } from "node:stream/promises";
import { openRegularFile } from "../../cache/outside.ts";
import type { Session } from "../../solver/graph/session.ts";
import { sendBytes } from "../wire/bytes-message.ts";
import {
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus,
  HealthCheckResponseSchema,
} from "../wire/messages/grpc/health/v1/health_pb.ts";
import {
  GetSecretRequestSchema,
  GetSecretResponseSchema,
} from "../wire/messages/moby/buildkit/secrets/v1/secrets_pb.ts";
import {
  CredentialsRequestSchema,
  CredentialsResponseSchema,
} from "../wire/messages/moby/filesync/v1/auth_pb.ts";
import {
  CheckAgentRequestSchema,
  CheckAgentResponseSchema,
} from "../wire/messages/moby/sshforward/v1/ssh_pb.ts";
import { type Handler, unary } from "../wire/server.ts";
import { CODE, RpcError } from "../wire/status.ts";
import { openTunnel } from "../wire/tunnel.ts";

const CHUNK_BYTES = 1 << 20;

/** The handlers of a build's session. Credentials are given for any host: which registries a Dockerfile names is known to the builder only. */
export function userHandlers(session: Session): [string, Handler][] {
  const agentOf = async (id: string): Promise<string> => {
    const path = await session.sshSocket(id);
    if (path === null) throw new RpcError(CODE.NOT_FOUND, `no ssh agent ${JSON.stringify(id)} was given`);
    return path;
  };
  return [
    [
      "/grpc.health.v1.Health/Check",
      unary(HealthCheckRequestSchema, HealthCheckResponseSchema, async () =>
        create(HealthCheckResponseSchema, { status: HealthCheckResponse_ServingStatus.SERVING }),
      ),
    ],
    [
      "/moby.buildkit.secrets.v1.Secrets/GetSecret",
      unary(GetSecretRequestSchema, GetSecretResponseSchema, async ({ ID }) => {
        const data = await session.secret(ID);
        if (data === null) throw new RpcError(CODE.NOT_FOUND, `secret ${ID}: not found`);
        return create(GetSecretResponseSchema, { data });
      }),
    ],
    [
      "/moby.filesync.v1.Auth/Credentials",
      unary(CredentialsRequestSchema, CredentialsResponseSchema, async ({ Host }) => {
        const found = await session.credentials(Host === "registry-1.docker.io" ? "docker.io" : Host);
        switch (found?.kind) {
          case undefined:
            return create(CredentialsResponseSchema);
          case "basic":
            return create(CredentialsResponseSchema, { Username: found.username, Secret: found.password });
          case "identity-token":
            return create(CredentialsResponseSchema, { Secret: found.token });
          case "registry-token":
            throw new RpcError(
              CODE.FAILED_PRECONDITION,
              `the credentials of ${Host} are a registry token, which cannot be passed on to a builder`,
            );
        }
      }),
    ],
    [
      "/moby.sshforward.v1.SSH/CheckAgent",
      unary(CheckAgentRequestSchema, CheckAgentResponseSchema, async ({ ID }) => {
        await agentOf(ID);
        return create(CheckAgentResponseSchema);
      }),
    ],
    [
      "/moby.sshforward.v1.SSH/ForwardAgent",
      async (call) => {
        const socket = connect({
          path: await agentOf(call.header("buildkit.ssh.id")[0] ?? ""),
          allowHalfOpen: true,
        });
        const tunnel = openTunnel(call, { onEnd: () => {} });
        call.begin();
        call.signal.addEventListener("abort", () => socket.destroy(), { once: true });
        try {
          // Each direction ends by itself; the call ends with the agent's.
          const up = pipeline(tunnel, socket);
          up.catch(() => {}); // told by the other direction
          await pipeline(socket, async function (chunks: AsyncIterable<Buffer>) {
            for await (const chunk of chunks) await sendBytes(call, chunk);
          });
        } catch (cause) {
          throw new RpcError(
            CODE.UNAVAILABLE,
            `the ssh agent is gone: ${(cause as Error).message}`,
            [],
            cause,
          );
        } finally {
          socket.destroy();
          tunnel.destroy();
        }
      },
    ],
  ];
}

/** Upload.Pull of the one archive there is, under its path of the address in the request. */
export function uploadHandler(file: string, urlPath: string): [string, Handler] {
  return [
    "/moby.upload.v1.Upload/Pull",
    async (call) => {
      const [asked = ""] = call.header("urlpath");
      if (asked.replace(/^\/+/, "") !== urlPath)
        throw new RpcError(CODE.NOT_FOUND, "nothing is uploaded there");
      const fd = openRegularFile(file);
      try {
        call.begin();
        for (;;) {
          const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
          const count = readSync(fd, buffer, 0, buffer.length, null);
          if (count === 0) return;
          await sendBytes(call, buffer.subarray(0, count));
          call.signal.throwIfAborted();
        }
      } finally {
        closeSync(fd);
      }
    },
  ];
}
