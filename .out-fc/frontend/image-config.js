// The image config a stage builds up, with its history. image-spec config.md; Docker's additions (OnBuild, Shell,
// Healthcheck) from docker-image-spec v1.3.
import { BuildError } from "../solver/graph/error.js";
import { normalizePlatform } from "./platform-args.js";
/** Marks history entries of a Dockerfile build; other tools look for it. */
const HISTORY_COMMENT = "buildkit.dockerfile.v0";
/** PATH where the base image says nothing. */
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** A longer history than this is no image but an attack: layers end at 127, config lines in the hundreds. */
const HISTORY_MAX_ENTRIES = 10_000;
/** FROM scratch. */
export function emptyImage(platform) {
    return {
        architecture: platform.architecture,
        os: platform.os,
        ...(platform.osVersion ? { "os.version": platform.osVersion } : {}),
        ...(platform.variant ? { variant: platform.variant } : {}),
        config: { Env: [`PATH=${DEFAULT_PATH}`], WorkingDir: "/" },
        history: [],
    };
}
/** Config bytes of a base image, checked; fields we do not know are dropped, as is `created`. Throws IMAGE_INVALID. */
export function readBaseImage(data, name) {
    const raw = readObject(parseJson(data, name), name, "the config");
    const config = readObject(raw["config"] ?? {}, name, "config");
    const text = (from, key) => {
        const value = from[key];
        if (value === undefined || value === null)
            return "";
        if (typeof value !== "string")
            throw invalid(name, `${key} is no text`);
        return value;
    };
    const texts = (key) => {
        const value = config[key];
        if (value === undefined || value === null)
            return undefined;
        if (!Array.isArray(value) || !value.every((entry) => typeof entry === "string")) {
            throw invalid(name, `${key} is no list of texts`);
        }
        return [...value];
    };
    const set = (key) => {
        const value = config[key];
        if (value === undefined || value === null)
            return undefined;
        return Object.fromEntries(Object.keys(readObject(value, name, key)).map((entry) => [entry, {}]));
    };
    const history = readHistory(raw["history"], name);
    const rootfs = readObject(raw["rootfs"] ?? {}, name, "rootfs");
    const diffIds = rootfs["diff_ids"];
    const image = {
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
function parseJson(data, name) {
    try {
        return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data));
    }
    catch (cause) {
        throw new BuildError("IMAGE_INVALID", `the config of ${name} is not valid JSON`, { cause });
    }
}
function readObject(value, name, what) {
    if (typeof value === "object" && value !== null && !Array.isArray(value))
        return value;
    throw invalid(name, `${what} is no object`);
}
function readLabels(value, name) {
    if (value === undefined || value === null)
        return undefined;
    const labels = readObject(value, name, "Labels");
    if (!Object.values(labels).every((label) => typeof label === "string"))
        throw invalid(name, "a label is no text");
    return { ...labels };
}
function readHealthcheck(value, name) {
    if (value === undefined || value === null)
        return undefined;
    const raw = readObject(value, name, "Healthcheck");
    const count = (key) => {
        const number = raw[key];
        if (number === undefined || number === null)
            return undefined;
        if (!Number.isInteger(number))
            throw invalid(name, `Healthcheck.${key} is no number`);
        return number;
    };
    const test = raw["Test"];
    const isTest = Array.isArray(test) && test.every((entry) => typeof entry === "string");
    return defined({
        Test: isTest ? [...test] : undefined,
        Interval: count("Interval"),
        Timeout: count("Timeout"),
        StartPeriod: count("StartPeriod"),
        StartInterval: count("StartInterval"),
        Retries: count("Retries"),
    });
}
function readHistory(value, name) {
    if (value === undefined || value === null)
        return [];
    if (!Array.isArray(value) || value.length > HISTORY_MAX_ENTRIES)
        throw invalid(name, "its history is no list");
    return value.map((entry) => {
        const raw = readObject(entry, name, "a history entry");
        const text = (key) => (typeof raw[key] === "string" ? raw[key] : undefined);
        return defined({
            created: text("created"),
            created_by: text("created_by"),
            author: text("author"),
            comment: text("comment"),
            empty_layer: raw["empty_layer"] === true ? true : undefined,
        });
    });
}
function invalid(name, what) {
    return new BuildError("IMAGE_INVALID", `the config of ${name} is not usable: ${what}`);
}
/** A copy for a stage to change. */
export function cloneImage(image) {
    return structuredClone(image);
}
/** Sets a variable at its place, or at the end. */
export function setImageEnv(config, key, value) {
    const env = config.Env ?? [];
    const index = env.findIndex((entry) => entry.split("=", 1)[0] === key);
    config.Env = index < 0 ? [...env, `${key}=${value}`] : env.with(index, `${key}=${value}`);
}
/** PATH is always set, but for Windows, which has its own. */
export function ensurePath(image) {
    const hasPath = (image.config.Env ?? []).some((entry) => entry.startsWith("PATH="));
    if (!hasPath && image.os !== "windows")
        image.config.Env = [...(image.config.Env ?? []), `PATH=${DEFAULT_PATH}`];
}
/** One line of history. withLayer: the step makes a layer. created null: the exporter takes the time of the layer, so that
 *  a cached build gives the same image again. */
export function addHistory(image, createdBy, withLayer, created) {
    image.history.push({
        ...(created === null ? {} : { created }),
        created_by: createdBy,
        comment: HISTORY_COMMENT,
        ...(withLayer ? {} : { empty_layer: true }),
    });
}
/** RFC 3339 as Go prints it: no fraction of a second where it is zero. */
export function formatTime(ms) {
    return new Date(ms).toISOString().replace(/\.?0+Z$/, "Z");
}
/** The config as it leaves the frontend: fields in the order of the spec, maps sorted, empty ones left out. */
export function finishImage(image, platform, created) {
    const { config } = image;
    const target = platform ?? platformOf(image);
    return defined({
        created: created ?? undefined,
        author: image.author || undefined,
        architecture: target.architecture,
        os: target.os,
        "os.version": target.osVersion || undefined,
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
export function platformOf(image) {
    return normalizePlatform({
        os: image.os,
        architecture: image.architecture,
        variant: image.variant ?? "",
        osVersion: image["os.version"] ?? "",
    });
}
function filled(list) {
    return list === null || list === undefined || list.length === 0 ? undefined : list;
}
/** Keys by bytes, as Go writes maps; none at all when there is none. */
function sorted(map) {
    if (map === undefined || Object.keys(map).length === 0)
        return undefined;
    return Object.fromEntries(Object.entries(map).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
}
/** The object without its undefined fields. */
function defined(value) {
    return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined));
}
//# sourceMappingURL=image-config.js.map