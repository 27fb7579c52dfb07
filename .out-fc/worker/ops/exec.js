// ExecOp to ExecJob: mounts, environment, secrets; outputs committed as layers.
var __addDisposableResource = (this && this.__addDisposableResource) || function (env, value, async) {
    if (value !== null && value !== void 0) {
        if (typeof value !== "object" && typeof value !== "function") throw new TypeError("Object expected.");
        var dispose, inner;
        if (async) {
            if (!Symbol.asyncDispose) throw new TypeError("Symbol.asyncDispose is not defined.");
            dispose = value[Symbol.asyncDispose];
        }
        if (dispose === void 0) {
            if (!Symbol.dispose) throw new TypeError("Symbol.dispose is not defined.");
            dispose = value[Symbol.dispose];
            if (async) inner = dispose;
        }
        if (typeof dispose !== "function") throw new TypeError("Object not disposable.");
        if (inner) dispose = function() { try { inner.call(this); } catch (e) { return Promise.reject(e); } };
        env.stack.push({ value: value, dispose: dispose, async: async });
    }
    else if (async) {
        env.stack.push({ async: true });
    }
    return value;
};
var __disposeResources = (this && this.__disposeResources) || (function (SuppressedError) {
    return function (env) {
        function fail(e) {
            env.error = env.hasError ? new SuppressedError(e, env.error, "An error was suppressed during disposal.") : e;
            env.hasError = true;
        }
        var r, s = 0;
        function next() {
            while (r = env.stack.pop()) {
                try {
                    if (!r.async && s === 1) return s = 0, env.stack.push(r), Promise.resolve().then(next);
                    if (r.dispose) {
                        var result = r.dispose.call(r.value);
                        if (r.async) return s |= 2, Promise.resolve(result).then(next, function(e) { fail(e); return next(); });
                    }
                    else s |= 1;
                }
                catch (e) {
                    fail(e);
                }
            }
            if (s === 1) return env.hasError ? Promise.reject(env.error) : Promise.resolve();
            if (env.hasError) throw env.error;
        }
        return next();
    };
})(typeof SuppressedError === "function" ? SuppressedError : function (error, suppressed, message) {
    var e = new Error(message);
    return e.name = "SuppressedError", e.error = error, e.suppressed = suppressed, e;
});
import { BuildError } from "../../solver/graph/error.js";
/** Host name every step sees, as in BuildKit. */
export const STEP_HOSTNAME = "buildkitsandbox";
/** Limit on one secret, as BuildKit has it. */
const SECRET_MAX_BYTES = 500 * 1024;
/** Runs the command and returns one Result per output. Throws EXEC_FAILED, SECRET_MISSING, ENTITLEMENT_DENIED, MOUNT_INVALID… */
export async function runExecOp(vertex, op, inputs, deps, context) {
    const env_1 = { stack: [], error: void 0, hasError: false };
    try {
        checkEntitlements(op, deps.entitlements);
        const held = __addDisposableResource(env_1, new Held(), true);
        const root = op.mounts.find((mount) => mount.target === "/");
        if (root === undefined || root.kind !== "bind")
            throw new BuildError("MOUNT_INVALID", "the step has no root file system");
        const outputs = new Map();
        const layer = async (input) => {
            if (input === null)
                return { dirs: [], result: null };
            const result = inputs[input];
            if (result === undefined)
                throw new Error(`the step has no input ${input}`);
            return { dirs: await deps.directories(result), result };
        };
        const [rootLayer, secretEnv] = await Promise.all([layer(root.input), readSecretEnv(op, context)]);
        const rootActive = held.add(deps.store.layers.prepare());
        if (root.output !== null)
            outputs.set(root.output, { active: rootActive, base: rootLayer.result });
        const mounts = [];
        for (const mount of op.mounts) {
            if (mount === root)
                continue;
            mounts.push(...(await makeMount(mount, op, layer, deps, context, held, outputs)));
        }
        const job = {
            rootfs: { dirs: rootLayer.dirs, upper: rootActive.upper, work: rootActive.work, readonly: root.readonly },
            args: op.args,
            env: [...op.env, ...proxyVariables(op), ...secretEnv],
            cwd: op.cwd,
            user: op.user,
            hostname: op.hostname === "" ? STEP_HOSTNAME : op.hostname,
            extraHosts: op.extraHosts,
            resolvConf: deps.resolvConf(deps.network),
            network: deps.network,
            security: op.security,
            mounts,
            rlimits: op.ulimits,
            tty: null,
            stdin: false,
            devices: [],
        };
        const outcome = await deps.keeper().exec(job, {
            signal: context.signal,
            onOutput: (fd, data) => context.emit({ kind: "log", vertex: vertex.digest, atMs: Date.now(), fd, data }),
        });
        context.emit({ kind: "usage", vertex: vertex.digest, cpuMs: outcome.cpuMs, peakBytes: outcome.peakBytes });
        if (outcome.code === null ||
            !(op.validExitCodes.length === 0 ? [0] : op.validExitCodes).includes(outcome.code)) {
            throw execFailure(op, outcome.code, outcome.signal);
        }
        const results = [];
        const count = Math.max(-1, ...op.mounts.map((mount) => ("output" in mount && mount.output !== null ? mount.output : -1))) + 1;
        for (let index = 0; index < count; index++) {
            const output = outputs.get(index);
            if (output === undefined) {
                // A read-only mount that is an output gives back its input.
                const mount = op.mounts.find((candidate) => "output" in candidate && candidate.output === index);
                const input = mount !== undefined && "input" in mount && mount.input !== null ? inputs[mount.input] : undefined;
                results.push(input ?? null);
                continue;
            }
            const below = output.base === null ? [] : await deps.layersOf(output.base);
            deps.lease.addLayers([output.active.id]);
            const record = output.active.commit({
                unpacked: true,
                createdAtMs: Date.now(),
                description: commandText(op),
            });
            results.push({ kind: "layers", layers: [...below, record.id] });
        }
        return results;
    }
    catch (e_1) {
        env_1.error = e_1;
        env_1.hasError = true;
    }
    finally {
        const result_1 = __disposeResources(env_1);
        if (result_1)
            await result_1;
    }
}
/** Disposes in reverse order of adding. */
class Held {
    #resources = [];
    add(resource) {
        this.#resources.push(resource);
        return resource;
    }
    async [Symbol.asyncDispose]() {
        for (const resource of this.#resources.reverse())
            await resource[Symbol.asyncDispose]();
    }
}
function checkEntitlements(op, granted) {
    const need = (entitlement, what) => {
        if (granted.has(entitlement))
            return;
        throw new BuildError("ENTITLEMENT_DENIED", `${entitlement} is not allowed: ${what}`, {
            hint: `tsbuild build --allow ${entitlement}`,
        });
    };
    if (op.network === "host")
        need("network.host", "the step asks for the host's network");
    if (op.security === "insecure")
        need("security.insecure", "the step asks for --security=insecure");
    if (op.devices.length > 0)
        need("device", `the step asks for the device ${op.devices[0]?.name}`);
}
async function makeMount(mount, op, layer, deps, context, held, outputs) {
    const target = mount.target.startsWith("/")
        ? mount.target
        : `${op.cwd === "/" ? "" : op.cwd}/${mount.target}`;
    switch (mount.kind) {
        case "tmpfs":
            return [{ kind: "tmpfs", target, sizeBytes: mount.sizeBytes }];
        case "bind": {
            const source = await layer(mount.input);
            if (mount.readonly) {
                return [
                    {
                        kind: "tree",
                        target,
                        dirs: source.dirs,
                        selector: mount.selector,
                        readonly: true,
                        upper: null,
                        work: null,
                    },
                ];
            }
            const active = held.add(deps.store.layers.prepare());
            if (mount.output !== null)
                outputs.set(mount.output, { active, base: source.result });
            return [
                {
                    kind: "tree",
                    target,
                    dirs: source.dirs,
                    selector: mount.selector,
                    readonly: false,
                    upper: active.upper,
                    work: active.work,
                },
            ];
        }
        case "cache": {
            const seed = await layer(mount.input);
            const seedKey = seed.result === null ? "" : JSON.stringify([await deps.layersOf(seed.result), mount.selector]);
            const hold = held.add(await deps.store.cacheMounts.acquire(mount.id, mount.sharing, { signal: context.signal, seedKey }));
            if (hold.fresh && seed.dirs.length > 0) {
                await deps.keeper().run({
                    kind: "materialize",
                    tree: { kind: "layers", dirs: seed.dirs },
                    selector: mount.selector,
                    upper: hold.path,
                });
                hold.seeded();
            }
            return [
                {
                    kind: "directory",
                    target,
                    path: hold.path,
                    readonly: mount.readonly,
                    owner: null,
                    fileAllowed: false,
                },
            ];
        }
        case "secret": {
            const data = await readSecret(mount.id, mount.optional, context);
            if (data === null)
                return [];
            return [{ kind: "secret", target, data, uid: mount.uid, gid: mount.gid, mode: mount.mode }];
        }
        case "ssh": {
            const socket = context.session.sshSocket(mount.id === "" ? "default" : mount.id);
            if (socket === null) {
                if (mount.optional)
                    return [];
                throw new BuildError("SECRET_MISSING", `unset ssh forward key ${mount.id === "" ? "default" : mount.id}`, {
                    hint: "pass --ssh default (with SSH_AUTH_SOCK set) or --ssh ID=SOCKET",
                });
            }
            return [{ kind: "ssh", target, socket, uid: mount.uid, gid: mount.gid, mode: mount.mode }];
        }
    }
}
async function readSecret(id, optional, context) {
    const data = await context.session.secret(id);
    if (data === null) {
        if (optional)
            return null;
        throw new BuildError("SECRET_MISSING", `secret ${id}: not found`, {
            hint: `pass --secret id=${id},src=FILE or --secret id=${id},env=NAME`,
        });
    }
    if (data.length > SECRET_MAX_BYTES) {
        throw new BuildError("LIMIT_EXCEEDED", `secret ${id} is larger than ${SECRET_MAX_BYTES / 1024} KiB`);
    }
    return data;
}
async function readSecretEnv(op, context) {
    const result = [];
    for (const { id, name, optional } of op.secretEnv) {
        const data = await readSecret(id, optional, context);
        if (data !== null)
            result.push(`${name}=${new TextDecoder().decode(data)}`);
    }
    return result;
}
/** Proxy settings reach the command but no key and no image; both spellings, as BuildKit sets them. */
function proxyVariables(op) {
    const proxy = op.proxyEnv;
    if (proxy === null)
        return [];
    const pairs = [
        ["HTTP_PROXY", proxy.httpProxy],
        ["HTTPS_PROXY", proxy.httpsProxy],
        ["FTP_PROXY", proxy.ftpProxy],
        ["NO_PROXY", proxy.noProxy],
        ["ALL_PROXY", proxy.allProxy],
    ];
    return pairs.flatMap(([name, value]) => value === "" ? [] : [`${name}=${value}`, `${name.toLowerCase()}=${value}`]);
}
function commandText(op) {
    return op.args.join(" ");
}
function execFailure(op, code, signal) {
    const command = commandText(op);
    const how = code !== null
        ? `exit code: ${code}`
        : signal === 9
            ? "killed (signal 9; out of memory?)"
            : `signal ${signal}`;
    return new BuildError("EXEC_FAILED", `process "${command}" did not complete successfully: ${how}`, {
        exitCode: code ?? 128 + (signal ?? 0),
        hint: code === 127 && op.args.length >= 3
            ? "127 is a shell's word for a command that was not found"
            : code === 126 && op.args.length >= 3
                ? "126 is a shell's word for a file that is not executable"
                : null,
    });
}
//# sourceMappingURL=exec.js.map