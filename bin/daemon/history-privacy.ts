// What of a build's request may be kept in the history: no credentials, and no more than some kilobytes (threat model S1, S2).

import { create } from "@bufbuild/protobuf";
import { type Exporter, ExporterSchema } from "../wire/messages/moby/buildkit/v1/control_pb.ts";
import { withoutCredentials } from "../without-credentials.ts";

type Attributes = Readonly<Record<string, string>>;

/** Of names and values of all attributes that a record keeps. */
const ATTRIBUTES_MAX_BYTES = 256 << 10;
/** One of more is left out, and says so. */
const VALUE_MAX_BYTES = 32 << 10;
const EXPORTERS_MAX = 64;

/** Attributes of caches and exporters that open something. */
const SECRET = /token|secret|password|passwd|access_key|account_key|credential|signature/i;

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
