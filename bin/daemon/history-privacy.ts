// What of a build's request may be kept in the history: no credentials, and no more than some kilobytes (threat model S1, S2).

import { create } from "@bufbuild/protobuf";
import { type Exporter, ExporterSchema } from "../wire/messages/moby/buildkit/v1/control_pb.ts";

type Attributes = Readonly<Record<string, string>>;

/** Of names and values of all attributes that a record keeps. */
const ATTRIBUTES_MAX_BYTES = 256 << 10;
/** One of more is left out, and says so. */
const VALUE_MAX_BYTES = 32 << 10;
const EXPORTERS_MAX = 64;

/** Attributes of caches and exporters that open something. */
const SECRET = /token|secret|password|passwd|access_key|account_key|credential|signature/i;
/** The same in the query of a URL: names of their own, and those of S3, Azure and Google. */
const SECRET_QUERY =
  /^(?:(?:access|auth|id|private|refresh|personal)?[_-]?(?:token|key)|api[_-]?key|password|secret|sig|signature|(?:x-amz|x-goog)-(?:signature|credential|security-token))$/i;

export interface Described {
  readonly attributes: Record<string, string>;
  readonly exporters: readonly Exporter[];
}

/** What a record says of a request. */
export function described(
  attributes: Attributes,
  exporters: readonly { readonly Type: string; readonly Attrs: Attributes }[],
): Described {
  const budget = { bytes: ATTRIBUTES_MAX_BYTES };
  return {
    attributes: kept(Object.entries(attributes), budget),
    exporters: exporters.slice(0, EXPORTERS_MAX).map(({ Type, Attrs }) => {
      const open = Object.entries(Attrs).filter(([name]) => isText(name) || !SECRET.test(name));
      return create(ExporterSchema, { Type: Type.slice(0, 256), Attrs: kept(open, budget) });
    }),
  };
}

/** Annotations are named by the user, and go into the image. */
function isText(name: string): boolean {
  return name.startsWith("annotation");
}

/** The short ones first, so that one long value does not cost all others. */
function kept(
  entries: readonly (readonly [string, string])[],
  budget: { bytes: number },
): Record<string, string> {
  const left: [string, string][] = [];
  const texts = entries.map(([name, value]) => ({ name, text: textOf(name, value) }));
  for (const { name, text } of texts.toSorted((a, b) => a.text.length - b.text.length)) {
    const size = Buffer.byteLength(name) + Buffer.byteLength(text);
    if (size > budget.bytes) continue;
    budget.bytes -= size;
    left.push([name, text]);
  }
  return Object.fromEntries(left);
}

function textOf(name: string, value: string): string {
  const bytes = Buffer.byteLength(value);
  if (bytes > VALUE_MAX_BYTES) return `(${bytes} bytes, left out of the history)`;
  return name === "cache-imports" ? openImports(value) : withoutCredentials(value);
}

/** The JSON of cache imports without their secrets; "" where it is none. */
function openImports(json: string): string {
  try {
    const entries = JSON.parse(json) as { readonly Type?: unknown; readonly Attrs?: unknown }[];
    return JSON.stringify(
      entries.map(({ Type, Attrs }) => ({
        Type,
        Attrs: Object.fromEntries(
          Object.entries((Attrs ?? {}) as Record<string, unknown>).flatMap(([name, value]) =>
            SECRET.test(name) || typeof value !== "string" ? [] : [[name, withoutCredentials(value)]],
          ),
        ),
      })),
    );
  } catch {
    return "";
  }
}

const END_OF_AUTHORITY = /[\s/?#"'`<>\\,;|(){}[\]]/;
const END_OF_QUERY = /[\s#"'`<>\\]/;

/** The text with what stands for user and password in its URLs replaced as BuildKit does, and what in their queries is a token. The user of
 *  ssh URLs is no secret. */
export function withoutCredentials(text: string): string {
  return text.includes("://") ? withoutTokens(withoutUsers(text)) : text;
}

function withoutUsers(text: string): string {
  let done = "";
  let from = 0;
  for (let at = text.indexOf("://"); at >= 0; at = text.indexOf("://", at + 3)) {
    const start = at + 3;
    const end = endOf(text, start, END_OF_AUTHORITY);
    const sign = text.slice(start, end).lastIndexOf("@");
    if (sign < 0) continue;
    const [user = "", password] = text.slice(start, start + sign).split(":", 2);
    const isSsh = text.slice(Math.max(0, at - 3), at).toLowerCase() === "ssh";
    done += `${text.slice(from, start)}${isSsh ? user : "xxxxx"}${password === undefined ? "" : ":xxxxx"}`;
    from = start + sign;
  }
  return done + text.slice(from);
}

function withoutTokens(text: string): string {
  let done = "";
  let from = 0;
  for (let at = text.indexOf("?"); at >= 0; at = text.indexOf("?", from)) {
    const end = endOf(text, at + 1, END_OF_QUERY);
    const fields = text.slice(at + 1, end).split("&");
    done += `${text.slice(from, at + 1)}${fields.map(withoutToken).join("&")}`;
    from = end;
  }
  return done + text.slice(from);
}

function withoutToken(field: string): string {
  const equals = field.indexOf("=");
  return equals > 0 && SECRET_QUERY.test(field.slice(0, equals)) ? `${field.slice(0, equals)}=xxxxx` : field;
}

function endOf(text: string, from: number, end: RegExp): number {
  let at = from;
  while (at < text.length && !end.test(text[at] as string)) at++;
  return at;
}
