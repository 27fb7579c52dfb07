// Requests to Azure Blob Storage, signed with an account key or by what the address already says (SAS).
// https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key

import { createHmac } from "node:crypto";
import { transferMs } from "../registry/calls.ts";
import type { Answer } from "../registry/exchange.ts";
import { xmlText } from "./s3-calls.ts";
import type { WebCall, WebCalls, WebDocument, WebProblem } from "./web-calls.ts";

/** A container of an account. */
export interface AzureContainer {
  /** For messages: the address without its query. */
  readonly name: string;
  /** Of the account; its query, if any, is a shared access signature. */
  readonly account: URL;
  readonly accountName: string;
  readonly container: string;
  /** The account's key in base64; null: the signature in the address, or nothing. */
  readonly key: () => string | null;
}

/** One request to a container. */
export interface AzureCall {
  readonly method: WebCall["method"];
  /** "" is the container itself. */
  readonly blob: string;
  readonly query?: readonly (readonly [string, string])[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: WebCall["body"];
  /** Bytes of the body. */
  readonly size?: number;
  /** Bytes of the answer that is expected: it may take the longer. */
  readonly answerSize?: number;
  readonly ok: readonly number[];
  readonly signal: AbortSignal;
  readonly isTransfer?: boolean;
}

export interface AzureCalls {
  call(call: AzureCall): Promise<Answer>;
  document(call: AzureCall, maxBytes: number): Promise<WebDocument>;
}

/** The version whose signatures these are. */
const VERSION = "2021-08-06";

export function openAzureCalls(container: AzureContainer, calls: WebCalls): AzureCalls {
  const webCall = (call: AzureCall): WebCall => {
    const { method, size, body, signal, ok } = call;
    const url = addressOf(container, call.blob, call.query ?? []);
    return {
      method,
      url,
      headers() {
        const sent = {
          ...call.headers,
          ...(size === undefined && body === undefined ? {} : { "content-length": String(size ?? 0) }),
          "x-ms-date": new Date().toUTCString(),
          "x-ms-version": VERSION,
        };
        const key = container.key();
        if (key === null) return sent;
        const signature = sign({ method, url, headers: sent }, container.accountName, key);
        return { ...sent, authorization: `SharedKey ${container.accountName}:${signature}` };
      },
      ...(body === undefined ? {} : { body }),
      ok,
      name: container.name,
      explain: explainAzure,
      isTransfer: call.isTransfer ?? false,
      ...(call.isTransfer ? { totalMs: transferMs(size ?? call.answerSize ?? 0) } : {}),
      signal,
    };
  };
  return {
    call: (call) => calls.call(webCall(call)),
    document: (call, maxBytes) => calls.document(webCall(call), maxBytes),
  };
}

function addressOf({ account, container }: AzureContainer, blob: string, query: AzureCall["query"]): URL {
  const url = new URL(account);
  const names = [container, ...(blob === "" ? [] : blob.split("/"))];
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/${names.map(encodeURIComponent).join("/")}`;
  // As text: a signature in the address stays as it came.
  const own = (query ?? []).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  url.search = [url.search.slice(1), ...own].filter((part) => part !== "").join("&");
  return url;
}

/** What is signed of a request. */
export interface SignedRequest {
  readonly method: string;
  readonly url: URL;
  /** With lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
}

/** The signature of "SharedKey". */
export function sign({ method, url, headers }: SignedRequest, account: string, key: string): string {
  const length = headers["content-length"] ?? "";
  const standard = [
    ...["content-encoding", "content-language"].map((name) => headers[name] ?? ""),
    length === "0" ? "" : length,
    ...["content-md5", "content-type", "date", "if-modified-since", "if-match", "if-none-match"].map(
      (name) => headers[name] ?? "",
    ),
    ...["if-unmodified-since", "range"].map((name) => headers[name] ?? ""),
  ];
  const own = Object.entries(headers)
    .filter(([name]) => name.startsWith("x-ms-"))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}:${value.trim()}`);
  const values = new Map<string, string[]>();
  for (const [name, value] of url.searchParams) {
    const known = values.get(name.toLowerCase()) ?? [];
    values.set(name.toLowerCase(), [...known, value]);
  }
  const query = [...values]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, all]) => `\n${name}:${all.toSorted().join(",")}`);
  const text = [method, ...standard, ...own, `/${account}${url.pathname}${query.join("")}`].join("\n");
  return createHmac("sha256", Buffer.from(key, "base64")).update(text).digest("base64");
}

/** Codes of https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes. */
export function explainAzure(status: number, text: string): WebProblem {
  const hint = "check secret_access_key=, account_name= and account_url=";
  return { message: xmlText(text, "Code") ?? "", hint: status === 401 || status === 403 ? hint : null };
}
