// PATH | URL | - and -f: where the context and the Dockerfile come from. Standard input is read here and nowhere else.
import { createWriteStream, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { BuildError } from "../solver/graph/error.js";
/** A Dockerfile from standard input is at most this long, bytes. */
const DOCKERFILE_MAX_BYTES = 16 << 20;
/** Resolves both. Throws CONTEXT_MISSING, USAGE, LIMIT_EXCEEDED. */
export async function resolveContext(context, file, options) {
    if (context === "-") {
        if (file === "-")
            throw new BuildError("USAGE", "context and Dockerfile cannot both be read from standard input");
        return readStdinContext(file, options);
    }
    const source = contextSource(context, options.cwd);
    if (file === "-")
        return { context: source, dockerfile: { kind: "bytes", data: await readDockerfile(options.stdin) } };
    return { context: source, dockerfile: dockerfileSource(file, source, options.cwd) };
}
function dockerfileSource(file, context, cwd) {
    if (file === null || file === "")
        return { kind: "default" };
    return { kind: "path", path: context.kind === "directory" ? resolve(cwd, file) : file };
}
/** As buildx decides: a directory of this machine comes before anything that looks like a URL. */
function contextSource(text, cwd) {
    const path = resolve(cwd, text);
    let found = "missing";
    try {
        found = statSync(path).isDirectory() ? "directory" : "other";
    }
    catch (error) {
        if (!["ENOENT", "ENOTDIR", "ENAMETOOLONG"].includes(error.code ?? "")) {
            throw new BuildError("CONTEXT_MISSING", `unable to prepare context: path "${text}" cannot be read`, {
                cause: error,
            });
        }
    }
    if (found === "directory" && text !== "")
        return { kind: "directory", path };
    if (isRemote(text))
        return { kind: "remote", url: text };
    if (found === "other")
        throw new BuildError("CONTEXT_MISSING", `unable to prepare context: path "${text}" is not a directory`);
    throw new BuildError("CONTEXT_MISSING", `unable to prepare context: path "${text}" not found`);
}
/** http(s), and the forms git is named in. */
function isRemote(text) {
    return /^(?:https?:\/\/|git:\/\/|ssh:\/\/|github\.com\/|[a-zA-Z0-9_.-]+@[^/:]+:)/.test(text);
}
/** "-": a tar (plain, gzip, bzip2, xz, zstd) is a context, anything else a Dockerfile without one. */
async function readStdinContext(file, options) {
    const input = options.stdin[Symbol.asyncIterator]();
    let head = Buffer.alloc(0);
    let ended = false;
    while (head.length < TAR_MAGIC_AT + 5 && !ended) {
        const next = await input.next();
        if (next.done)
            ended = true;
        else
            head = Buffer.concat([head, next.value]);
    }
    const all = async function* () {
        yield head;
        for (let next = await input.next(); !next.done; next = await input.next())
            yield next.value;
    };
    if (!isArchive(head)) {
        const data = await readDockerfile(all());
        if (data.length === 0)
            throw new BuildError("USAGE", "standard input holds no Dockerfile: it is empty");
        return { context: { kind: "empty" }, dockerfile: { kind: "bytes", data } };
    }
    const context = { kind: "archive", path: join(options.tempDir(), "context.tar") };
    await pipeline(all, createWriteStream(context.path, { mode: 0o600 }), { signal: options.signal });
    return { context, dockerfile: dockerfileSource(file, context, options.cwd) };
}
const TAR_MAGIC_AT = 257; // POSIX ustar: "ustar" at this offset of the first header
function isArchive(head) {
    if (head.toString("latin1", TAR_MAGIC_AT, TAR_MAGIC_AT + 5) === "ustar")
        return true;
    return ["1f8b08", "425a68", "fd377a585a00", "28b52ffd"].some((magic) => head.toString("hex").startsWith(magic));
}
async function readDockerfile(input) {
    const chunks = [];
    let length = 0;
    for await (const chunk of input) {
        length += chunk.length;
        if (length > DOCKERFILE_MAX_BYTES) {
            throw new BuildError("LIMIT_EXCEEDED", `the Dockerfile on standard input is longer than ${DOCKERFILE_MAX_BYTES >> 20} MiB`);
        }
        chunks.push(chunk);
    }
    return Buffer.concat(chunks);
}
//# sourceMappingURL=context-source.js.map