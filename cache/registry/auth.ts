// Handling of 401 responses: challenges, tokens, and which credentials may be sent where.
// RFC 9110 section 11; distribution spec "Token Authentication Specification".

import { BuildError, printable, redactUrl } from "../../solver/graph/error.ts";
import type { Credentials } from "../../solver/graph/session.ts";
import { unlessAborted } from "../../solver/graph/scope.ts";
import { apiHost, type Manner } from "./reference.ts";
import { type Kept, openRemembered } from "./remembered.ts";
import { type Answer, Fault } from "./exchange.ts";
import type { RegistryOptions } from "./contract.ts";
import type { Transport } from "./transport.ts";

export interface Challenge {
  readonly scheme: string; // lower case
  readonly params: ReadonlyMap<string, string>; // names in lower case
}

/** Where requests of one registry go. */
export interface Endpoint {
  /** As users write it; the key of credentials. */
  readonly host: string;
  readonly origin: string; // https://registry-1.docker.io
  /** What paths of the API begin with: /v2 */
  readonly root: string;
  readonly verifyTls: boolean;
  /** For requests to `origin` alone. */
  readonly manner: Manner;
}

export interface Authorizer {
  /** Authorization header for a request to the endpoint, as far as known without a new challenge; null: none. */
  header(
    endpoint: Endpoint,
    scopes: readonly string[],
    options: { readonly signal: AbortSignal },
  ): Promise<string | null>;
  /**
   * Learns from a 401. True: `header` will now give something else than `used`. Throws REGISTRY_DENIED when the token
   * service refuses.
   */
  learn(
    endpoint: Endpoint,
    challenges: readonly Challenge[],
    scopes: readonly string[],
    used: string | null,
    options: { readonly signal: AbortSignal },
  ): Promise<boolean>;
  /** How the user's own credentials went to the endpoint or its token service; null: they did not. */
  sent(endpoint: Endpoint): "basic" | "bearer" | null;
}

type Known =
  | { readonly kind: "basic"; readonly header: string }
  | { readonly kind: "bearer"; readonly realm: URL; readonly service: string };

/** What a token is for, and where it is to be had. */
export interface TokenWish {
  readonly endpoint: Endpoint;
  readonly from: Extract<Known, { kind: "bearer" }>;
  readonly scopes: readonly string[];
}

const HEADER_MAX_CHARS = 8192;
const TOKEN_ANSWER_MAX_BYTES = 1 << 20;
// Token specification: 60 s when expires_in is absent. Some services say 0 or years; both are brought to reason.
const TOKEN_DEFAULT_S = 60;
const TOKEN_MIN_S = 20;
const TOKEN_MAX_S = 3600;
const TOKEN_MARGIN_S = 10;
/** A token for each repository and set of actions; a build has a handful. */
const TOKENS_MAX = 256;
const TOKEN_IDLE_MS = 30_000;
const TOKEN_TOTAL_MS = 60_000;

/** Keeps tokens of all registries of one client. Credentials are asked for on the first challenge of a host. */
export function openAuthorizer(
  { credentials, tokens: given }: Pick<RegistryOptions, "credentials" | "tokens">,
  transport: Transport,
): Authorizer {
  const knownOf = new Map<string, Known>();
  const tokens = openRemembered<string>(TOKENS_MAX);
  const sentTo = new Map<string, "basic" | "bearer">();

  const keyOf = ({ endpoint: { origin }, from: { realm, service }, scopes }: TokenWish) =>
    JSON.stringify([origin, realm.href, service, ...scopes]);

  async function tokenFor(wish: TokenWish, signal: AbortSignal): Promise<string> {
    const { endpoint, from } = wish;
    const ask = async (asking: AbortSignal) => {
      const { realm, service } = from;
      const asked = { host: endpoint.host, realm: realm.href, service, scopes: wish.scopes };
      const fetched = (await given?.(asked, { signal: asking })) ?? null;
      if (fetched !== null) return keptToken(fetched.token, fetched.seconds, endpoint, realm);
      const found = await unlessAborted(credentials(endpoint.host), asking);
      if (found !== null && (found.kind === "registry-token" || isTokenServiceOf(endpoint, from.realm)))
        sentTo.set(endpoint.origin, "bearer");
      return await fetchToken(wish, found, transport, asking);
    };
    return await tokens.get(keyOf(wish), ask, { signal });
  }

  return {
    async header(endpoint, scopes, { signal }) {
      const known = knownOf.get(endpoint.origin);
      if (known === undefined) return null;
      return known.kind === "basic"
        ? known.header
        : await tokenFor({ endpoint, from: known, scopes }, signal);
    },
    async learn(endpoint, challenges, scopes, used, { signal }) {
      const bearer = challenges.find((challenge) => challenge.scheme === "bearer");
      if (bearer !== undefined) {
        const realm = realmOf(bearer, endpoint);
        const service = bearer.params.get("service") ?? "";
        let known = knownOf.get(endpoint.origin);
        if (known?.kind !== "bearer" || known.realm.href !== realm.href || known.service !== service) {
          known = { kind: "bearer", realm, service };
          knownOf.set(endpoint.origin, known);
        }
        const wish: TokenWish = { endpoint, from: known, scopes };
        const kept = await tokenFor(wish, signal);
        if (kept !== used) return true; // another request has got a new one meanwhile
        tokens.forget(keyOf(wish));
        return (await tokenFor(wish, signal)) !== used;
      }
      if (challenges.some((challenge) => challenge.scheme === "basic")) {
        const found = await unlessAborted(credentials(endpoint.host), signal);
        if (found === null || found.kind === "identity-token") return false;
        const header =
          found.kind === "basic" ? basicHeader(found.username, found.password) : `Bearer ${found.token}`;
        knownOf.set(endpoint.origin, { kind: "basic", header });
        sentTo.set(endpoint.origin, "basic");
        return header !== used;
      }
      return false;
    },
    sent: ({ origin }) => sentTo.get(origin) ?? null,
  };
}

/** A new token, for who has the credentials. They go to token services of the registry's own site alone. Throws REGISTRY_DENIED,
 *  REGISTRY_PROTOCOL, Fault. */
export async function fetchToken(
  { endpoint, from: { realm, service }, scopes }: TokenWish,
  credentials: Credentials | null,
  transport: Transport,
  signal: AbortSignal,
): Promise<Kept<string>> {
  if (credentials?.kind === "registry-token") {
    return { value: `Bearer ${credentials.token}`, validMs: null };
  }
  const trusted = credentials !== null && isTokenServiceOf(endpoint, realm);
  const url = new URL(realm);
  const manner = realm.origin === endpoint.origin ? endpoint.manner : {};
  const headers: Record<string, string> = {
    ...manner.headers,
    accept: "application/json",
    "accept-encoding": "identity",
  };
  const common = {
    signal,
    idleMs: TOKEN_IDLE_MS,
    totalMs: TOKEN_TOTAL_MS,
    verifyTls: endpoint.verifyTls,
    manner,
  };
  let answer: Answer;
  if (trusted && credentials.kind === "identity-token") {
    // OAuth2 form of the token specification: an identity token is a refresh token.
    const form = new URLSearchParams({
      grant_type: "refresh_token",
      service,
      client_id: "tsbuild",
      scope: scopes.join(" "),
      refresh_token: credentials.token,
    });
    const body = Buffer.from(form.toString());
    headers["content-type"] = "application/x-www-form-urlencoded";
    headers["content-length"] = String(body.length);
    answer = await transport.send({ method: "POST", url, headers, body, ...common });
  } else {
    if (service !== "") url.searchParams.append("service", service);
    for (const scope of scopes) url.searchParams.append("scope", scope);
    if (trusted && credentials.kind === "basic") {
      headers["authorization"] = basicHeader(credentials.username, credentials.password);
    }
    answer = await transport.send({ method: "GET", url, headers, ...common });
  }

  if (answer.status >= 500 || answer.status === 429) {
    await answer.discard();
    throw new Fault("EAGAIN", `the token service ${realm.host} answered with status ${answer.status}`);
  }
  if (answer.status !== 200) {
    await answer.discard();
    if (trusted && (answer.status === 401 || answer.status === 403)) {
      throw notAccepted(endpoint.host, endpoint.host, `the token service ${realm.host}`, answer.status);
    }
    throw new BuildError(
      "REGISTRY_DENIED",
      `${endpoint.host}: the token service ${redactUrl(`${realm.origin}${realm.pathname}`)} refused with status ${answer.status}`,
      {
        hint:
          credentials !== null && !trusted
            ? `the credentials of ${endpoint.host} were not sent to ${realm.host}, which is another site`
            : loginHint(endpoint.host),
      },
    );
  }
  return tokenOf(await readAtMost(answer, TOKEN_ANSWER_MAX_BYTES), endpoint, realm);
}

function tokenOf(bytes: Uint8Array, endpoint: Endpoint, realm: URL): Kept<string> {
  let json: unknown = null;
  try {
    json = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    // Said below, without the text: it may hold a token.
  }
  const fields = (typeof json === "object" && json !== null ? json : {}) as Record<string, unknown>;
  const token = [fields["token"], fields["access_token"]].find(
    (text) => typeof text === "string" && text !== "",
  );
  const stated = fields["expires_in"];
  return keptToken(token, typeof stated === "number" ? stated : null, endpoint, realm);
}

function keptToken(token: unknown, stated: number | null, endpoint: Endpoint, realm: URL): Kept<string> {
  if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)) {
    throw new BuildError(
      "REGISTRY_PROTOCOL",
      `${endpoint.host}: the token service ${realm.host} did not send a token`,
    );
  }
  const seconds = stated !== null && stated > 0 ? stated : TOKEN_DEFAULT_S;
  const valid = Math.min(Math.max(seconds, TOKEN_MIN_S), TOKEN_MAX_S) - TOKEN_MARGIN_S;
  return { value: `Bearer ${token}`, validMs: valid * 1000 };
}

async function readAtMost(answer: Answer, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of answer.body) {
    size += chunk.length;
    if (size > maxBytes)
      throw new BuildError("REGISTRY_PROTOCOL", "the token service's response is too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function realmOf(challenge: Challenge, endpoint: Endpoint): URL {
  const text = challenge.params.get("realm") ?? "";
  const realm = URL.canParse(text) ? new URL(text) : null;
  if (realm === null || (realm.protocol !== "https:" && realm.protocol !== "http:")) {
    throw new BuildError(
      "REGISTRY_PROTOCOL",
      `${endpoint.host}: the registry does not name a usable token service: ${JSON.stringify(printable(redactUrl(text), 100))}`,
    );
  }
  if (endpoint.origin.startsWith("https:") && realm.protocol === "http:") {
    throw new BuildError(
      "REGISTRY_PROTOCOL",
      `${endpoint.host}: the registry uses https but names a token service without it: ${redactUrl(realm.origin)}`,
    );
  }
  realm.username = "";
  realm.password = "";
  return realm;
}

/**
 * May a token service see the credentials of a registry? It must be the same site: the same host, one below the
 * other, or siblings below one registrable domain. The registry alone names the service, so without this rule a
 * registry on a shared domain could send its users' passwords anywhere.
 */
export function isTokenServiceOf(endpoint: Endpoint, realm: URL): boolean {
  const registry = new URL(endpoint.origin);
  if (registry.protocol === "https:" && realm.protocol !== "https:") return false;
  const [a, b] = [registry.hostname.toLowerCase(), realm.hostname.toLowerCase()];
  if (a === b) return true;
  if (endpoint.host === "docker.io" && a === apiHost("docker.io") && b === "auth.docker.io") return true;
  if (/^[\d.]+$|^\[/.test(a) || /^[\d.]+$|^\[/.test(b)) return false; // addresses have no sites
  const site = siteOf(a);
  return site !== null && site === siteOf(b);
}

// Domains whose children belong to different people. Not the whole public suffix list (that would be 250 KB for one
// question); those where registries and pages of anybody live. An unknown one still needs a registry that attacks.
const SHARED = new Set(
  (
    "github.io gitlab.io azurewebsites.net azurecr.io cloudfront.net amazonaws.com herokuapp.com appspot.com run.app " +
    "web.app pages.dev workers.dev vercel.app netlify.app fly.dev ngrok.io ngrok.app onrender.com pkg.dev nip.io sslip.io " +
    "duckdns.org dyndns.org trycloudflare.com cloudapp.net azure.com windows.net googleusercontent.com render.com"
  ).split(" "),
);

/** The registrable domain: two labels, or three below country codes with a second level such as co.uk; null: none. */
function siteOf(host: string): string | null {
  const labels = host.split(".");
  if (labels.length < 2) return null;
  const two = labels.slice(-2).join(".");
  if (SHARED.has(two)) return null;
  const secondLevel =
    /^(?:ac|co|com|edu|gen|go|gov|gob|gouv|in|info|mil|ne|net|nom|or|org|sch)\.[a-z]{2}$/.test(two);
  if (!secondLevel) return two;
  return labels.length < 3 ? null : labels.slice(-3).join(".");
}

/** The command that logs in at a registry. */
export function loginCommand(host: string): string {
  return `tsbuild login ${host === "docker.io" ? "" : host}`.trimEnd();
}

/** What to do where no credentials were sent. */
export function loginHint(host: string): string {
  return `no credentials for ${host} were sent; log in: ${loginCommand(host)}`;
}

/** Credentials were sent, and are wrong. `subject`: what was asked for. */
export function notAccepted(subject: string, host: string, server: string, status: number): BuildError {
  return new BuildError(
    "REGISTRY_DENIED",
    `${subject}: ${server} does not accept the user name or password it was sent (${status})`,
    { hint: `they may be incorrect or expired; log in again: ${loginCommand(host)}` },
  );
}

function basicHeader(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

/** Reads WWW-Authenticate: scheme and parameters of each challenge; what it cannot read it leaves out. One pass. */
export function parseChallenges(header: string | undefined): readonly Challenge[] {
  const text = (header ?? "").slice(0, HEADER_MAX_CHARS);
  const challenges: { scheme: string; params: Map<string, string> }[] = [];
  const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
  let at = 0;
  const take = (): string | null => {
    token.lastIndex = at;
    const word = token.exec(text)?.[0] ?? null;
    if (word !== null) at += word.length;
    return word;
  };
  while (at < text.length) {
    if (/[\s,]/.test(text.charAt(at))) {
      at++;
      continue;
    }
    const word = take();
    if (word === null) {
      at++;
      continue;
    }
    let next = at;
    while (text.charAt(next) === " ") next++;
    if (text.charAt(next) !== "=") {
      challenges.push({ scheme: word.toLowerCase(), params: new Map() });
      continue;
    }
    at = next + 1;
    while (text.charAt(at) === " ") at++;
    const value = text.charAt(at) === '"' ? quoted() : plain();
    challenges.at(-1)?.params.set(word.toLowerCase(), value);
  }
  return challenges;

  // More than a token: some registries write realm and scope without quotes.
  function plain(): string {
    const start = at;
    while (at < text.length && !/[\s,"]/.test(text.charAt(at))) at++;
    return text.slice(start, at);
  }

  function quoted(): string {
    let value = "";
    for (at++; at < text.length && text.charAt(at) !== '"'; at++) {
      if (text.charAt(at) === "\\") at++;
      value += text.charAt(at);
    }
    at++;
    return value;
  }
}
