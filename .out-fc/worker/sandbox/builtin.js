// [keeper] The built-in sandbox: mounts are made here as detached mounts, the rest is a program for the launcher.
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { Socket } from "node:net";
import { dirname } from "node:path";
import { BuildError } from "../../solver/graph/error.js";
import { launcherArch } from "../launcher/install.js";
import { AT, close, O, pipe2 } from "../sys/file.js";
import { isSysError } from "../sys/libc.js";
import { OPEN_TREE, openTree, overlayMount } from "../sys/mount.js";
import { launcherInMemory } from "./launcher-file.js";
import { mountSource, scratchDir, uniqueDirs } from "./mount-sources.js";
import { stepResolvConf } from "./network.js";
import { outcomeOf } from "./outcome.js";
import { hostsFile, rlimitNumber, rlimitValue, stepEnvironment } from "./rootfs.js";
import { seccompFilter } from "./seccomp.js";
import { STEP_FD, STEP_MOUNT_POINTS, STEP_STATUS, stepProgram } from "./step-program.js";
import { noteStubs } from "./stubs.js";
import { resolveTarget } from "./targets.js";
import { openTerminal } from "./terminal.js";
import { resolveUser } from "./user.js";
/** Once all processes of a step are gone its pipes are at their end, unless one was handed to a process of another step
 *  (over a socket in a shared cache mount). That must not hold the build (E6). */
const DRAIN_MS = 2_000;
/** The sandbox of this keeper process. */
export function openSandbox(options) {
    const maskedDirs = cpuThrottleDirs();
    return {
        exec(job, onOutput) {
            const step = {
                job,
                onOutput,
                options,
                maskedDirs,
                held: [],
                pid: null,
                killed: null,
                terminal: null,
                stdin: null,
                input: [],
            };
            return {
                outcome: run(step),
                kill(signal) {
                    step.killed = signal;
                    if (step.pid !== null)
                        killQuietly(step.pid, signal);
                },
                stdin(data) {
                    if (step.terminal !== null) {
                        if (data !== null)
                            step.terminal.write(data);
                    }
                    else if (step.stdin === null)
                        step.input.push(data);
                    else
                        feed(step.stdin, data);
                },
                resize(rows, columns) {
                    step.terminal?.resize(rows, columns);
                },
            };
        },
    };
}
/** The launcher for `openSandbox`, made when first asked for. */
export function lazyLauncher() {
    let path = null;
    return () => {
        path ??= launcherInMemory();
        return path;
    };
}
function killQuietly(pid, signal) {
    try {
        process.kill(pid, signal);
    }
    catch (error) {
        if (error.code !== "ESRCH")
            throw error; // gone already is what was wanted
    }
}
function feed(stdin, data) {
    if (data === null)
        stdin.end();
    else
        stdin.write(data);
}
/** Temperature statistics of each CPU, which Docker masks as well: they tell steps about each other. */
function cpuThrottleDirs() {
    const cpus = "/sys/devices/system/cpu";
    try {
        return readdirSync(cpus)
            .filter((name) => /^cpu\d+$/.test(name))
            .filter((name) => readdirSync(`${cpus}/${name}`).includes("thermal_throttle"))
            .map((name) => `${cpus}/${name}/thermal_throttle`);
    }
    catch {
        return []; // no sysfs, or not readable: nothing to mask
    }
}
async function run(step) {
    const { job } = step;
    try {
        const storeDir = dirname(dirname(dirname(job.rootfs.upper)));
        const network = await joinNetwork(step);
        const { upper, work } = job.rootfs;
        const rootFd = overlayMount({ lowers: uniqueDirs(job.rootfs.dirs), upper, work, userxattr: true, volatile: true });
        step.held.push(() => close(rootFd));
        const user = resolveUser(rootFd, job.user);
        const mounts = [];
        for (const mount of job.mounts) {
            const source = await mountSource(mount, { storeDir, onEnd: (release) => step.held.push(release) });
            mounts.push({ target: resolveTarget(rootFd, mount.target), readonly: isReadonly(mount), source });
        }
        for (const device of job.devices)
            mounts.push(deviceMount(device, step));
        const own = STEP_MOUNT_POINTS.map(({ path, isFile }) => ({ path: isFile ? resolveTarget(rootFd, path) : path, isFile }));
        const stubs = noteStubs(rootFd, [...own, ...mounts.map(({ target, source }) => ({ path: target, isFile: isFileSource(source) }))]);
        step.held.push(() => stubs.clear());
        return await launch(step, { rootFd, user, mounts, storeDir, network, fileTargets: own.filter(({ isFile }) => isFile) });
    }
    finally {
        releaseAll(step.held);
    }
}
/** Runs every release even when one fails, then throws the first failure. */
function releaseAll(held) {
    const failures = [];
    for (let release = held.pop(); release !== undefined; release = held.pop()) {
        try {
            release();
        }
        catch (error) {
            failures.push(error);
        }
    }
    if (failures.length > 0)
        throw failures[0];
}
async function joinNetwork(step) {
    const pool = step.options.network;
    if (step.job.network !== "sandbox" || pool === null)
        return null;
    const network = await pool.acquire();
    step.held.push(() => network.release(step.job.security === "sandbox"));
    return network;
}
function isFileSource(source) {
    return source.kind === "data" || (source.kind === "fd" && source.isFile);
}
function isReadonly(mount) {
    if ("readonly" in mount)
        return mount.readonly;
    return mount.kind === "secret";
}
/** A device of the host at the same path. Its mount is read-only: that does not touch reading and writing the device. */
function deviceMount(path, step) {
    try {
        const fd = openTree(AT.FDCWD, path, OPEN_TREE.CLONE);
        step.held.push(() => close(fd));
        return { target: path, readonly: true, source: { kind: "fd", fd, isFile: true } };
    }
    catch (error) {
        if (!isSysError(error, "ENOENT", "ENOTDIR"))
            throw error;
        throw new BuildError("MOUNT_INVALID", `the device ${path} does not exist on this machine`, { cause: error });
    }
}
async function launch(step, prepared) {
    const { job } = step;
    if (job.tty !== null) {
        const terminal = openTerminal(job.tty.rows, job.tty.columns);
        step.terminal = terminal;
        step.held.push(() => {
            step.terminal = null;
            terminal.close();
        });
    }
    // Descriptors of the launcher from aliveRead on; the ends that are only for it are closed once it has them.
    const passed = [];
    const given = [];
    const pass = (fd) => {
        passed.push(fd);
        return STEP_FD.aliveRead + passed.length - 1;
    };
    const pipe = (flags = 0) => {
        const ends = pipe2(flags);
        given.push(...ends);
        return ends;
    };
    const keep = (fd) => {
        given.splice(given.indexOf(fd), 1);
        return fd;
    };
    let child;
    let plan;
    let outputs;
    try {
        const alive = pipe(O.NONBLOCK);
        pass(alive[0]);
        pass(alive[1]);
        const [outRead, outWrite] = pipe();
        const [errRead, errWrite] = pipe();
        const input = job.stdin && step.terminal === null ? pipe() : null;
        plan = planOf(step, prepared, pass, input?.[0] ?? null);
        child = spawn(step.options.launcher(), [], {
            stdio: ["pipe", outWrite, errWrite, "pipe", ...passed],
            env: {},
            cwd: "/",
        });
        outputs = [keep(outRead), keep(errRead)];
        if (input !== null) {
            const stdin = new Socket({ fd: keep(input[1]), readable: false, writable: true });
            stdin.on("error", () => { }); // the command closed its input: its business
            step.held.push(() => {
                step.stdin = null;
                stdin.destroy();
            });
            for (const data of step.input.splice(0))
                feed(stdin, data);
            step.stdin = stdin;
        }
    }
    finally {
        for (const fd of given)
            close(fd);
    }
    const drains = [drain(outputs[0], 1, step.onOutput), drain(outputs[1], 2, step.onOutput)];
    step.terminal?.start((data) => step.onOutput(1, data));
    child.stdin?.on("error", () => { }); // told by the exit status
    child.stdin?.end(plan.bytes);
    const status = await readStatus(child, step).finally(() => Promise.all(drains.map((one) => one.finish())));
    await step.terminal?.finish(DRAIN_MS);
    return outcomeOf(status, plan.describe, job, step.options.singleId);
}
function planOf(step, prepared, pass, stdin) {
    const { job, options } = step;
    const { network, user } = prepared;
    const insecure = job.security === "insecure";
    const [resolvConfPath = "/etc/resolv.conf", hostsPath = "/etc/hosts"] = prepared.fileTargets.map(({ path }) => path);
    return stepProgram({
        arch: launcherArch(),
        scratchDir: scratchDir(prepared.storeDir),
        rootFd: pass(prepared.rootFd),
        rootReadonly: job.rootfs.readonly,
        args: job.args,
        env: stepEnvironment(job.env, user.home, step.terminal !== null),
        cwd: job.cwd === "" ? "/" : job.cwd,
        uid: user.uid,
        gid: user.gid,
        groups: user.groups,
        hostname: job.hostname,
        hosts: { path: hostsPath, text: hostsFile(job.hostname, job.extraHosts) },
        resolvConf: {
            path: resolvConfPath,
            text: network === null ? job.resolvConf : stepResolvConf(job.resolvConf, network.resolver),
        },
        network: network !== null
            ? { kind: "join", fd: pass(network.fd) }
            : { kind: job.network === "none" ? "none" : "host" },
        mounts: prepared.mounts.map((mount) => mount.source.kind === "fd" ? { ...mount, source: { ...mount.source, fd: pass(mount.source.fd) } } : mount),
        maskedDirs: step.maskedDirs,
        rlimits: job.rlimits.map((limit) => {
            const resource = rlimitNumber(limit.name);
            if (resource === null)
                throw new BuildError("USAGE", `unknown ulimit "${limit.name}"`);
            return { name: limit.name, resource, soft: rlimitValue(limit.soft), hard: rlimitValue(limit.hard) };
        }),
        insecure,
        seccomp: insecure ? null : seccompFilter(launcherArch()),
        stdinFd: stdin === null ? null : pass(stdin),
        ttyFd: step.terminal === null ? null : pass(step.terminal.slave),
        singleId: options.singleId,
    });
}
/** Reads one stream of the step. A pipe of the kernel's, so that /dev/stdout can be opened inside. */
function drain(fd, stream, onOutput) {
    const socket = new Socket({ fd, readable: true, writable: false });
    socket.on("data", (data) => {
        const wait = onOutput(stream, data);
        if (wait === undefined)
            return;
        socket.pause();
        wait.then(() => socket.resume(), () => socket.destroy());
    });
    socket.on("error", () => { }); // ends with "close" all the same
    const closed = new Promise((resolve) => socket.once("close", () => resolve()));
    return {
        async finish() {
            const timer = setTimeout(() => socket.destroy(), DRAIN_MS);
            await closed;
            clearTimeout(timer);
        },
    };
}
/** All that the launcher said, once it is gone. */
function readStatus(child, step) {
    return new Promise((resolve, reject) => {
        const chunks = [];
        const pipe = child.stdio[3];
        let told = false;
        pipe.on("data", (data) => {
            chunks.push(data);
            if (told)
                return;
            const bytes = Buffer.concat(chunks);
            if (bytes.length < 16 || bytes.readBigUInt64LE(0) !== STEP_STATUS.pid)
                return;
            told = true;
            step.pid = Number(bytes.readBigUInt64LE(8));
            if (step.killed !== null)
                killQuietly(step.pid, step.killed);
        });
        pipe.on("error", () => { }); // what was read until then counts
        child.once("error", (cause) => {
            reject(new BuildError("SANDBOX_UNAVAILABLE", `the launcher of the step did not start: ${cause.message}`, { cause }));
        });
        child.once("close", () => {
            step.pid = null;
            resolve(Buffer.concat(chunks));
        });
    });
}
//# sourceMappingURL=builtin.js.map