// Results of one build in BuildKit's messages: what its frontends get, by ids, and what they return as images to be exported.

import { create } from "@bufbuild/protobuf";
import { randomBytes } from "node:crypto";
import { type BridgeResult, NO_WORDS, type Ref, type RefImage } from "../engine/bridge-contract.ts";
import type { FrontendCall } from "../../exporters/attestation/provenance.ts";
import { emptyImage, readResultConfig } from "../../frontend/frontend.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { formatPlatformAll, type Platform } from "../../solver/graph/op.ts";
import { hostPlatform, normalizePlatform } from "../../solver/graph/platform.ts";
import type { ImageConfig } from "../../solver/graph/request.ts";
import {
  type Ref as RefMessage,
  RefSchema,
  type Result,
  ResultSchema,
} from "../wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import { CODE, RpcError } from "../wire/status.ts";
import { definitionFor } from "./definitions.ts";
import { attestationsOf } from "./result-attestations.ts";
import { epochIn, wordsIn } from "./result-words.ts";

/** Results of one build; more are refused. */
const RESULTS_MAX = 10_000;
const CONFIG = "containerimage.config";
const BASE_CONFIG = "containerimage.base.config";
const PLATFORMS = "refs.platforms";

/** The results that a build has given out. */
export interface Results {
  /** Gives a result an id. */
  add(ref: Ref, session: string): RefMessage;
  /** A result by its id. Throws RpcError. */
  get(id: string): Ref;
  /** Results that a frontend has returned, for provenance; those of a frontend that it called itself stay that one's. */
  madeBy(call: FrontendCall, ids: readonly string[]): void;
  /** A result of a frontend of this process. */
  message(result: BridgeResult, session: string): Result;
  /** What a client returned; null: nothing. `empty`: what a result without files is. Throws RpcError, BuildError. */
  exportable(message: Result | undefined, how: ExportableOptions): BridgeResult | null;
}

export interface ExportableOptions {
  /** Of the build. */
  readonly sourceDateEpoch: number | null;
  readonly empty: Ref;
}

export function openResults(): Results {
  const refs = new Map<string, Ref>();
  const calls = new Map<Ref, FrontendCall>();
  const made = new Map<Ref, { readonly image: RefImage; readonly of: BridgeResult }>();

  function add(ref: Ref, session: string): RefMessage {
    if (refs.size >= RESULTS_MAX)
      throw new RpcError(CODE.RESOURCE_EXHAUSTED, `a build has no more than ${RESULTS_MAX} results`);
    const id = randomBytes(12).toString("hex");
    refs.set(id, ref);
    return create(RefSchema, { id, def: definitionFor(ref.definition, session) });
  }

  function get(id: string): Ref {
    const ref = refs.get(id);
    if (ref === undefined) throw new RpcError(CODE.NOT_FOUND, `no result ${printable(id)}`);
    return ref;
  }

  /** One image of a result, with what the frontend says of it; what this process said needs no second look. */
  function imageOf(ref: Ref, platform: Platform | null, say: (key: string) => Uint8Array | null): RefImage {
    const known = made.get(ref)?.image;
    const config = say(CONFIG);
    if (known !== undefined && config !== null && Buffer.from(config).equals(bytesOf(known.config)))
      return known;
    const scans = known?.scans ?? [];
    const wanted = platform ?? hostPlatform();
    if (config !== null && platform === null) checkPlatform(config); // where the result says nothing of platforms
    const image: ImageConfig = config === null ? bareImage(wanted) : readResultConfig(config, wanted);
    const base = say(BASE_CONFIG);
    const { os, architecture, variant } = image;
    return {
      ref,
      platform: platform ?? normalizePlatform({ os, architecture, variant: variant ?? "" }),
      config: image,
      baseHistory: base === null ? 0 : readResultConfig(base, wanted).history.length,
      scans,
    };
  }

  /** An image with what the result says of it. name: of its platform in the result; null: the result names none. */
  function attested(image: RefImage, name: string | null, { attestations }: Result): RefImage {
    const key = name ?? formatPlatformAll(image.platform);
    const found = Object.hasOwn(attestations, key) ? (attestations[key]?.attestation ?? []) : [];
    return found.length === 0 ? image : { ...image, attestations: attestationsOf(found, get) };
  }

  /** The call that made them all; null: there is none, or there are several. */
  function callOf(images: readonly RefImage[]): FrontendCall | null {
    const all = images.map(({ ref }) => made.get(ref)?.of.call ?? calls.get(ref) ?? null);
    const [first = null] = all;
    return all.every((one) => one === first) ? first : null;
  }

  return {
    add,
    get,
    madeBy(call, ids) {
      for (const id of ids) {
        const ref = refs.get(id);
        if (ref !== undefined && !made.has(ref) && !calls.has(ref)) calls.set(ref, call);
      }
    },
    message(result, session) {
      const named = result.images.map((image) => {
        const message = add(image.ref, session);
        made.set(image.ref, { image, of: result });
        return [formatPlatformAll(image.platform), message] as const;
      });
      const [only] = named;
      return create(ResultSchema, {
        metadata: Object.fromEntries(metadataOf(result)),
        result:
          result.multiPlatform || only === undefined
            ? {
                case: "refs",
                value: { $typeName: "moby.buildkit.v1.frontend.RefMap", refs: Object.fromEntries(named) },
              }
            : { case: "ref", value: only[1] },
      });
    },
    exportable(message, { sourceDateEpoch, empty }) {
      if (message === undefined) return null;
      const { single, byPlatform } = idsIn(message);
      const { metadata } = message;
      const platforms = platformsIn(metadata[PLATFORMS]);
      const said = (suffix: string) => (key: string) => metadata[`${key}${suffix}`] ?? null;
      const refOf = (id: string | null | undefined): Ref => (id ? get(id) : empty);
      const [only = null] = platforms;
      const images =
        byPlatform === null
          ? [attested(imageOf(refOf(single), only?.[1] ?? null, said("")), only?.[0] ?? null, message)]
          : [...platformsOf(byPlatform, platforms)].map(([name, platform]) =>
              attested(imageOf(refOf(byPlatform.get(name)), platform, said(`/${name}`)), name, message),
            );
      const of = images.map(({ ref }) => made.get(ref)?.of ?? null);
      const [whole] = of;
      const isWhole = whole !== null && whole !== undefined && of.every((one) => one === whole);
      return {
        images,
        multiPlatform: byPlatform !== null,
        words: wordsIn(metadata),
        sourceDateEpoch: isWhole ? whole.sourceDateEpoch : epochIn(metadata, sourceDateEpoch),
        trace: isWhole ? whole.trace : null,
        onExported: isWhole ? whole.onExported : null,
        call: callOf(images),
      };
    },
  };
}

/** An image of a graph alone. */
export function bareResult(ref: Ref, platform: Platform, sourceDateEpoch: number | null): BridgeResult {
  const image = { ref, platform, config: bareImage(platform), baseHistory: 0 };
  const rest = {
    multiPlatform: false,
    words: NO_WORDS,
    sourceDateEpoch,
    trace: null,
    onExported: null,
    call: null,
  };
  return { images: [image], ...rest };
}

/** As BuildKit's exporter has it: a PATH, and the root directory to work in. */
const bareImage = emptyImage;

/** The metadata of a result, as dockerfile.v0 gives it. */
export function metadataOf({ images, multiPlatform }: BridgeResult): Map<string, Uint8Array> {
  const platforms = images.map(({ platform }) => ({ ID: formatPlatformAll(platform), Platform: platform }));
  const metadata = new Map<string, Uint8Array>([[PLATFORMS, bytesOf({ Platforms: platforms })]]);
  for (const { platform, config } of images) {
    const suffix = multiPlatform ? `/${formatPlatformAll(platform)}` : "";
    metadata.set(`${CONFIG}${suffix}`, bytesOf(config));
  }
  return metadata;
}

function bytesOf(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}

/** The ids of all files of a result. */
export function idsOf(message: Result | undefined): readonly string[] {
  const { single, byPlatform } = idsIn(message);
  return byPlatform === null ? (single === null ? [] : [single]) : [...byPlatform.values()];
}

/** The ids of a result: one, or one a platform. No id: a result without files. */
function idsIn(message: Result | undefined): {
  readonly single: string | null;
  readonly byPlatform: ReadonlyMap<string, string> | null;
} {
  const found = message?.result;
  switch (found?.case) {
    case "ref":
      return { single: found.value.id || null, byPlatform: null };
    case "refDeprecated":
      return { single: found.value || null, byPlatform: null };
    case "refs":
      return {
        single: null,
        byPlatform: new Map(Object.entries(found.value.refs).map(([name, { id }]) => [name, id])),
      };
    case "refsDeprecated":
      return { single: null, byPlatform: new Map(Object.entries(found.value.refs)) };
    default:
      return { single: null, byPlatform: null };
  }
}

/** The platforms of several refs, in the order the frontend gives them. */
function platformsOf(
  ids: ReadonlyMap<string, string>,
  platforms: ReadonlyMap<string, Platform>,
): ReadonlyMap<string, Platform> {
  if (platforms.size === 0)
    throw new BuildError("OUTPUT_INVALID", "unable to export multiple refs, missing platforms mapping");
  for (const name of platforms.keys()) {
    if (!ids.has(name))
      throw new BuildError("OUTPUT_INVALID", `failed to find ref for ID ${printable(name)}`);
  }
  return platforms;
}

/** Half a platform is not filled up with that of this machine. */
function checkPlatform(config: Uint8Array): void {
  const { os, architecture } = (jsonOf(config) ?? {}) as Readonly<Record<string, unknown>>;
  if (!os === !architecture) return;
  const words = "invalid image config: os and architecture must be specified together";
  throw new BuildError("IMAGE_INVALID", words);
}

/** undefined: it is none, which who reads it says. */
function jsonOf(data: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(data).toString()) as unknown;
  } catch {
    return undefined;
  }
}

function platformsIn(data: Uint8Array | undefined): ReadonlyMap<string, Platform> {
  if (data === undefined) return new Map();
  const bad = (): BuildError =>
    new BuildError("OUTPUT_INVALID", `${PLATFORMS} of the result does not say which platforms it has`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(data).toString());
  } catch {
    throw bad();
  }
  const list = (parsed as { readonly Platforms?: unknown } | null)?.Platforms;
  const missing = (what: string): BuildError => new BuildError("OUTPUT_INVALID", `invalid ${what}`);
  if (list === null || list === undefined || (Array.isArray(list) && list.length === 0))
    throw missing("empty platforms index for exporter");
  if (!Array.isArray(list)) throw bad();
  return new Map(
    list.map((entry: unknown) => {
      const { ID, Platform } = (entry ?? {}) as { readonly ID?: unknown; readonly Platform?: unknown };
      if (typeof ID !== "string" || typeof Platform !== "object" || Platform === null) throw bad();
      const fields = Platform as Readonly<Record<string, unknown>>;
      const text = (name: string): string => {
        const value = fields[name] ?? "";
        if (typeof value !== "string") throw bad();
        return value;
      };
      if (ID === "") throw missing("empty platform key for exporter");
      if (text("os") === "" || text("architecture") === "")
        throw missing(`platform value ${JSON.stringify(Platform)} of ${printable(ID)}`);
      const osVersion = text("os.version");
      const platform = {
        ...{ os: text("os"), architecture: text("architecture"), variant: text("variant") },
        ...(osVersion === "" ? {} : { osVersion }),
      };
      return [ID, normalizePlatform(platform)] as const;
    }),
  );
}
