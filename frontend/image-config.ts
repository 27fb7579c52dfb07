// The image config of a stage, with its history. image-spec config.md; Docker's additions (OnBuild, Shell,
// Healthcheck) from docker-image-spec v1.3.

import { BuildError, redactUrl } from "../solver/graph/error.ts";
import type { Platform } from "../solver/graph/op.ts";
import type { ContainerConfig, Healthcheck, HistoryEntry, ImageConfig } from "../solver/graph/request.ts";
import { normalizePlatform } from "../solver/graph/platform.ts";

/** Marks history entries of a Dockerfile build; other tools look for it. */
const HISTORY_COMMENT = "buildkit.dockerfile.v0";
/** PATH where the base image says nothing. */
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** A longer history than this is no image but an attack: layers end at 127, config lines in the hundreds. */
const HISTORY_MAX_ENTRIES = 10_000;

/** FROM scratch. */
export function emptyImage(platform: Platform): ImageConfig {
  return {
    architecture: platform.architecture,
    os: platform.os,
    ...(platform.osVersion ? { "os.version": platform.osVersion } : {}),
    ...(platform.variant ? { variant: platform.variant } : {}),
    config: { ...(platform.os === "windows" ? {} : { Env: [`PATH=${DEFAULT_PATH}`] }), WorkingDir: "/" },
    history: [],
  };
}

/** A base image as read from its config; `isEmpty`: it has no layers at all. */
export interface BaseImage {
  readonly image: ImageConfig;
  readonly isEmpty: boolean;
}

/** Config bytes of a base image, checked; fields we do not know are dropped, as is `created`. Throws IMAGE_INVALID. */
export function readBaseImage(data: Uint8Array, name: string): BaseImage {
  const raw = readObject(parseJson(data, name), name, "the config");
  const config = readObject(raw["config"] ?? {}, name, "config");
  const text = (from: Record<string, unknown>, key: string): string => {
    const value = from[key];
    if (value === undefined || value === null) return "";
    if (typeof value !== "string") throw invalid(name, `${key} is not a string`);
    return value;
  };
  const texts = (key: string): string[] | undefined => {
    const value = config[key];
    if (value === undefined || value === null) return undefined;
    if (!Array.isArray(value) || !value.every((entry) => typeof entry === "string")) {
      throw invalid(name, `${key} is not a list of strings`);
    }
    return [...value];
  };
  const set = (key: string): Record<string, Record<string, never>> | undefined => {
    const value = config[key];
    if (value === undefined || value === null) return undefined;
    return Object.fromEntries(Object.keys(readObject(value, name, key)).map((entry) => [entry, {}]));
  };
  const history = readHistory(raw["history"], name);
  const rootfs = readObject(raw["rootfs"] ?? {}, name, "rootfs");
  const diffIds = rootfs["diff_ids"];
  const image: ImageConfig = {
    author: text(raw, "author"),
    architecture: text(raw, "architecture"),
    os: text(raw, "os"),
    "os.version": text(raw, "os.version"),
    variant: text(raw, "variant"),
    config: defined({
      User: text(config, "User"),
      ExposedPorts: set("ExposedPorts"),
      Env: texts("Env"),
      Entrypoint: texts("Entrypoint"),
      Cmd: texts("Cmd"),
      Volumes: set("Volumes"),
      WorkingDir: text(config, "WorkingDir"),
      Labels: readLabels(config["Labels"], name),
      StopSignal: text(config, "StopSignal"),
      ArgsEscaped: config["ArgsEscaped"] === true ? true : undefined,
      OnBuild: texts("OnBuild"),
      Shell: texts("Shell"),
      Healthcheck: readHealthcheck(config["Healthcheck"], name),
    }),
    history,
  };
  const hasLayers = Array.isArray(diffIds) && diffIds.length > 0;
  return { image, isEmpty: !hasLayers && history.every((entry) => entry.empty_layer === true) };
}

/** The config that a frontend gave a result of its own. Throws IMAGE_INVALID. */
export function readResultConfig(data: Uint8Array, platform: Platform): ImageConfig {
  const name = "the image config of the result";
  const parsed = parseJson(data, name);
  if (parsed === null) throw new BuildError("IMAGE_INVALID", "invalid null image config for export");
  const { created } = readObject(parsed, name, "the config");
  const { image } = readBaseImage(data, name);
  const times = typeof created === "string" ? { created } : {};
  return { ...times, ...finishImage(image, image.os === "" ? platform : null, null) };
}

function parseJson(data: Uint8Array, name: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data));
  } catch (cause) {
    throw new BuildError("IMAGE_INVALID", `the config of ${name} is not valid JSON`, { cause });
  }
}

function readObject(value: unknown, name: string, what: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw invalid(name, `${what} is not an object`);
}

function readLabels(value: unknown, name: string): Record<string, string> | undefined {
  if (value === undefined || value === null) return undefined;
  const labels = readObject(value, name, "Labels");
  if (!Object.values(labels).every((label) => typeof label === "string"))
    throw invalid(name, "a label is not a string");
  return { ...(labels as Record<string, string>) };
}

function readHealthcheck(value: unknown, name: string): Healthcheck | undefined {
  if (value === undefined || value === null) return undefined;
  const raw = readObject(value, name, "Healthcheck");
  const count = (key: string): number | undefined => {
    const number = raw[key];
    if (number === undefined || number === null) return undefined;
    if (!Number.isInteger(number)) throw invalid(name, `Healthcheck.${key} is not a number`);
    return number as number;
  };
  const test = raw["Test"];
  const isTest = Array.isArray(test) && test.every((entry) => typeof entry === "string");
  return defined({
    Test: isTest ? [...(test as string[])] : undefined,
    Interval: count("Interval"),
    Timeout: count("Timeout"),
    StartPeriod: count("StartPeriod"),
    StartInterval: count("StartInterval"),
    Retries: count("Retries"),
  });
}

function readHistory(value: unknown, name: string): HistoryEntry[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length > HISTORY_MAX_ENTRIES)
    throw invalid(name, "its history is not a list");
  return value.map((entry: unknown) => {
    const raw = readObject(entry, name, "a history entry");
    const text = (key: string): string | undefined => (typeof raw[key] === "string" ? raw[key] : undefined);
    return defined({
      created: text("created"),
      created_by: text("created_by"),
      author: text("author"),
      comment: text("comment"),
      empty_layer: raw["empty_layer"] === true ? true : undefined,
    });
  });
}

function invalid(name: string, what: string): BuildError {
  return new BuildError("IMAGE_INVALID", `the config of ${name} is not valid: ${what}`);
}

/** A copy for a stage to change. */
export function cloneImage(image: ImageConfig): ImageConfig {
  // Entries of the history are made once and never changed: they are shared.
  return { ...image, config: structuredClone(image.config), history: [...image.history] };
}

/** Sets a variable at its place, or at the end; `places` says where each is. */
export function setImageEnv(
  config: ContainerConfig,
  places: Map<string, number>,
  key: string,
  value: string,
): void {
  config.Env ??= [];
  const place = places.get(key) ?? config.Env.length;
  places.set(key, place);
  config.Env[place] = `${key}=${value}`;
}

/** Adds entries to a map of a config. Any name becomes a property of its own, `__proto__` as well. */
export function withOwn<T>(
  map: Record<string, T> | undefined,
  entries: readonly (readonly [string, T])[],
): Record<string, T> {
  const result = map ?? {};
  for (const [key, value] of entries) {
    // Only this name is a setter; a plain assignment takes a fifth of the time.
    if (key !== "__proto__") result[key] = value;
    else Object.defineProperty(result, key, { value, enumerable: true, configurable: true, writable: true });
  }
  return result;
}

/** PATH is always set, but for Windows, which has its own. */
export function ensurePath(image: ImageConfig, { os }: Platform): void {
  const hasPath = (image.config.Env ?? []).some((entry) => entry.startsWith("PATH="));
  if (!hasPath && os !== "windows") image.config.Env = [...(image.config.Env ?? []), `PATH=${DEFAULT_PATH}`];
}

/** One line of history. withLayer: the step makes a layer. created null: the exporter takes the time of the layer, so that
 *  a cached build gives the same image again. */
export function addHistory(
  image: ImageConfig,
  text: string,
  withLayer: boolean,
  created: string | null,
): void {
  const createdBy = redactUrl(text); // an image tells everybody (threat model S2)
  const entry: HistoryEntry =
    created === null
      ? { created_by: createdBy, comment: HISTORY_COMMENT }
      : { created, created_by: createdBy, comment: HISTORY_COMMENT };
  if (!withLayer) entry.empty_layer = true;
  image.history.push(entry);
}

/** RFC 3339 as Go prints it: no fraction of a second where it is zero. */
export function formatTime(ms: number): string {
  return new Date(ms).toISOString().replace(/\.?0+Z$/, "Z");
}

/** The config as it leaves the frontend: fields in the order of the spec, maps sorted, empty ones left out. */
export function finishImage(
  image: ImageConfig,
  platform: Platform | null,
  created: string | null,
): ImageConfig {
  const { config } = image;
  const target = platform ?? platformOf(image);
  return defined({
    created: created ?? undefined,
    author: image.author || undefined,
    architecture: target.architecture,
    os: target.os,
    // That of the base image, where nobody asked for one.
    "os.version": target.osVersion || (target.os === image.os ? image["os.version"] : "") || undefined,
    variant: target.variant || undefined,
    config: defined({
      User: config.User || undefined,
      ExposedPorts: sorted(config.ExposedPorts),
      Env: filled(config.Env),
      Entrypoint: filled(config.Entrypoint),
      Cmd: filled(config.Cmd),
      Volumes: sorted(config.Volumes),
      WorkingDir: config.WorkingDir || undefined,
      Labels: sorted(config.Labels),
      StopSignal: config.StopSignal || undefined,
      ArgsEscaped: config.ArgsEscaped || undefined,
      OnBuild: filled(config.OnBuild),
      Shell: filled(config.Shell),
      Healthcheck: config.Healthcheck,
    }),
    history: image.history,
  });
}

/** Of an image, in normal form: arm64/v8 is arm64. */
export function platformOf(image: ImageConfig): Platform {
  return normalizePlatform({
    os: image.os,
    architecture: image.architecture,
    variant: image.variant ?? "",
    osVersion: image["os.version"] ?? "",
  });
}

function filled(list: string[] | null | undefined): string[] | undefined {
  return list === null || list === undefined || list.length === 0 ? undefined : list;
}

/** Keys by bytes, as Go writes maps; none at all when there is none. */
function sorted<T>(map: Record<string, T> | undefined): Record<string, T> | undefined {
  if (map === undefined || Object.keys(map).length === 0) return undefined;
  return Object.fromEntries(
    Object.entries(map).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
  );
}

type Defined<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** The object without its undefined fields. */
function defined<T extends object>(value: T): Defined<T> {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as Defined<T>;
}
