// Tokens of registries for the builder: fetched here, so that passwords stay here. BuildKit, session/auth: the client has a key of each host
// by which a builder can tell that two sessions are of the same user.

import { create } from "@bufbuild/protobuf";
import { createHmac, createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto";
import { fetchToken, type TokenWish } from "../../cache/registry/auth.ts";
import { Fault, faultWords } from "../../cache/registry/exchange.ts";
import { apiHost, isLoopbackHost } from "../../cache/registry/reference.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Session } from "../../solver/graph/session.ts";
import { openUserTransport } from "../engine/registry-client.ts";
import type { Environment } from "../engine/config.ts";
import {
  FetchTokenRequestSchema,
  FetchTokenResponseSchema,
  GetTokenAuthorityRequestSchema,
  GetTokenAuthorityResponseSchema,
  VerifyTokenAuthorityRequestSchema,
  VerifyTokenAuthorityResponseSchema,
} from "../wire/messages/moby/filesync/v1/auth_pb.ts";
import { type Handler, unary } from "../wire/server.ts";
import { CODE, RpcError } from "../wire/status.ts";

const AUTH = "/moby.filesync.v1.Auth";
/** What goes before the 32 bytes of an Ed25519 key in PKCS #8: RFC 8410, section 7. */
const ED25519_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");
const SALT_MAX_BYTES = 1024;
const PAYLOAD_MAX_BYTES = 4096;
const SCOPES_MAX = 100;

export interface TokenServing {
  readonly env: Environment;
  /** A secret of this user, for the keys. */
  readonly secret: string;
}

/** The handlers of token authorities; none where BUILDKIT_NO_CLIENT_TOKEN says that the builder is to fetch tokens itself. */
export function tokenHandlers(session: Session, { env, secret }: TokenServing): [string, Handler][] {
  if (/^(?:1|t|true)$/i.test(env.BUILDKIT_NO_CLIENT_TOKEN ?? "")) return [];
  const credentialsOf = (host: string) => session.credentials(hubOr(host));

  async function keyOf(host: string, salt: Uint8Array): Promise<KeyObject> {
    if (salt.length > SALT_MAX_BYTES) throw new RpcError(CODE.INVALID_ARGUMENT, "the salt is too long");
    const mac = createHmac("sha256", salt);
    // All who have no credentials are the same.
    if ((await credentialsOf(host)) !== null) mac.update(createHmac("sha256", secret).update(host).digest());
    const seed = Buffer.concat([ED25519_PREFIX, mac.digest()]);
    return createPrivateKey({ key: seed, format: "der", type: "pkcs8" });
  }

  return [
    [
      `${AUTH}/GetTokenAuthority`,
      unary(GetTokenAuthorityRequestSchema, GetTokenAuthorityResponseSchema, async ({ Host, Salt }) => {
        const { x = "" } = createPublicKey(await keyOf(Host, Salt)).export({ format: "jwk" });
        return create(GetTokenAuthorityResponseSchema, { PublicKey: Buffer.from(x, "base64url") });
      }),
    ],
    [
      `${AUTH}/VerifyTokenAuthority`,
      unary(VerifyTokenAuthorityRequestSchema, VerifyTokenAuthorityResponseSchema, async (asked) => {
        const { Host, Salt, Payload } = asked;
        if (Payload.length > PAYLOAD_MAX_BYTES)
          throw new RpcError(CODE.INVALID_ARGUMENT, "the payload is too long");
        const signature = sign(null, Payload, await keyOf(Host, Salt));
        return create(VerifyTokenAuthorityResponseSchema, { Signed: Buffer.concat([signature, Payload]) });
      }),
    ],
    [
      `${AUTH}/FetchToken`,
      unary(FetchTokenRequestSchema, FetchTokenResponseSchema, async (asked, { signal }) => {
        const { Host, Realm, Service, Scopes } = asked;
        if (Scopes.length > SCOPES_MAX) throw new RpcError(CODE.INVALID_ARGUMENT, "too many scopes");
        const wish = wishOf(Host, Realm, Service, Scopes);
        using transport = await openUserTransport(env);
        try {
          const { value, validMs } = await fetchToken(wish, await credentialsOf(Host), transport, signal);
          const Token = value.replace(/^Bearer /, "");
          const ExpiresIn = validMs === null ? 0n : BigInt(Math.floor(validMs / 1000));
          return create(FetchTokenResponseSchema, { Token, ExpiresIn });
        } catch (error) {
          // Words for the builder: what it makes of them, it may be no failure of the build.
          if (error instanceof Fault)
            throw new RpcError(CODE.UNKNOWN, `${wish.from.realm.host}: ${faultWords(error)}`, [], error);
          if (!(error instanceof BuildError)) throw error;
          const text = error.hint === null ? error.message : `${error.message} (${error.hint})`;
          throw new RpcError(CODE.PERMISSION_DENIED, text, [], error);
        }
      }),
    ],
  ];
}

/** The builder says which token service it is: fetchToken() gives credentials to none that is on another site than the host. */
function wishOf(host: string, realm: string, service: string, scopes: readonly string[]): TokenWish {
  const url = URL.canParse(realm) ? new URL(realm) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || !isHost(host))
    throw new RpcError(CODE.INVALID_ARGUMENT, "the token service has no usable address");
  if (url.protocol === "http:" && !(isLoopbackHost(host) && isLoopbackHost(url.host)))
    throw new RpcError(
      CODE.FAILED_PRECONDITION,
      `the connection to the token service ${url.host} is not encrypted; set BUILDKIT_NO_CLIENT_TOKEN=1 to leave tokens to the builder`,
    );
  url.username = url.password = "";
  const origin = `${url.protocol}//${host}`;
  const endpoint = { host: hubOr(host), origin, root: "/v2", verifyTls: true, manner: {} };
  return { endpoint, from: { kind: "bearer", realm: url, service }, scopes };
}

function isHost(text: string): boolean {
  return (
    URL.canParse(`http://${text}/`) &&
    new URL(`http://${text}/`).host === text.replace(/:80$/, "").toLowerCase()
  );
}

function hubOr(host: string): string {
  return host === apiHost("docker.io") ? "docker.io" : host;
}
