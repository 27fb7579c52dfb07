// Registries for tests: Debian's docker-registry as a real one, and a small server that misbehaves as it is told.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import {} from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
/** The account of a registry started with `auth`. */
export const REGISTRY_USER = { username: "builder", password: "hunter2" };
// bcrypt of the password, cost 4, as `htpasswd -B` writes it.
const HTPASSWD = "builder:$2y$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm\n";
/** Starts docker-registry on a free port with an empty storage of its own; disposing ends it and removes the storage. */
export async function startRegistry(options = {}) {
    const dir = mkdtempSync(join(tmpdir(), "tsbuild-registry-"));
    writeFileSync(join(dir, "htpasswd"), HTPASSWD);
    const config = {
        version: "0.1",
        log: { level: "info", accesslog: { disabled: true } },
        storage: { filesystem: { rootdirectory: join(dir, "data") } },
        http: { addr: "127.0.0.1:0", secret: "test" },
        ...(options.auth ? { auth: { htpasswd: { realm: "test", path: join(dir, "htpasswd") } } } : {}),
    };
    writeFileSync(join(dir, "config.yml"), JSON.stringify(config)); // JSON is YAML
    const child = spawn("docker-registry", ["serve", join(dir, "config.yml")], {
        stdio: ["ignore", "ignore", "pipe"],
    });
    const closed = once(child, "close");
    const lines = [];
    const port = await new Promise((resolve, reject) => {
        child.once("error", reject);
        createInterface({ input: child.stderr }).on("line", (line) => {
            lines.push(line);
            const found = /listening on 127\.0\.0\.1:(\d+)/.exec(line)?.[1];
            if (found !== undefined)
                resolve(found);
        });
        closed.then(() => reject(new Error(`docker-registry ended:\n${lines.join("\n")}`)), () => { });
    });
    return {
        host: `localhost:${port}`,
        async [Symbol.asyncDispose]() {
            child.kill("SIGTERM");
            await closed;
            rmSync(dir, { recursive: true, force: true });
        },
    };
}
/** Starts a server on a free port that answers as `handle` says; `count` counts equal requests (method and URL) from 0. */
export async function startServer(handle) {
    const requests = [];
    const answer = async (incoming, response) => {
        const chunks = [];
        for await (const chunk of incoming)
            chunks.push(chunk);
        const { method = "", url = "", headers } = incoming;
        const request = { method, url, headers, body: Buffer.concat(chunks) };
        const count = requests.filter((one) => one.method === method && one.url === url).length;
        requests.push(request);
        await handle(request, response, count);
    };
    const server = createServer((incoming, response) => {
        answer(incoming, response).catch((error) => response.destroy(error));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const host = `localhost:${server.address().port}`;
    return {
        host,
        origin: `http://${host}`,
        requests,
        async [Symbol.asyncDispose]() {
            const closed = once(server, "close");
            server.close();
            server.closeAllConnections();
            await closed;
        },
    };
}
//# sourceMappingURL=registry.js.map