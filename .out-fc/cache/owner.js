// Who owns unfinished things in the store, and whether that process still lives.
//
// An owner is written into names: <boot>.<pid namespace>.<pid>.<start time>.<random>. Process ids are used again, start times (ticks
// since boot, proc_pid_stat(5) field 22) are not. Inside one pid namespace /proc answers at once. A process of another pid
// namespace (a store shared by containers) cannot be found there; for those every owner listens on a Unix socket
// in the store: connect(2) says ECONNREFUSED as soon as the kernel has closed the dead process's descriptors.
import { randomBytes } from "node:crypto";
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { errnoOf } from "./disk-fault.js";
const PATTERN = /^([0-9a-f]{12})\.(\d+)\.(\d+)\.(\d+)\.([0-9a-f]+)$/;
/** 12 hex digits of /proc/sys/kernel/random/boot_id. */
export function bootId() {
    return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").replaceAll("-", "").slice(0, 12);
}
/** Start time of a process in clock ticks since boot, or null when there is none. A zombie is no process: it owns nothing. */
function startTime(pid) {
    let stat;
    try {
        stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    }
    catch (error) {
        if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ESRCH")
            return null;
        throw error;
    }
    // The name in parentheses may hold anything, also ") ": fields count from the last one.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? null : (fields[19] ?? null);
}
/** Makes this process known in `dir` (which exists). */
export function openOwner(dir) {
    const boot = bootId();
    const namespace = readlinkSync("/proc/self/ns/pid").replace(/\D/g, "");
    // Random at the end: one store may be open several times in a process, and each time closes for itself.
    const id = `${boot}.${namespace}.${process.pid}.${startTime("self")}.${randomBytes(4).toString("hex")}`;
    const server = listen(dir, id);
    async function isAlive(other) {
        if (other === id)
            return true;
        const match = PATTERN.exec(other);
        if (match === null || match[1] !== boot)
            return false;
        if (match[2] === namespace)
            return startTime(Number(match[3])) === match[4];
        return answers(dir, other);
    }
    function close() {
        server.close();
        rmSync(join(dir, socketName(id)), { force: true });
    }
    return { id, boot, isAlive, close };
}
/** bind(2) takes 107 bytes; a path through an open descriptor is short however deep the store lies. */
function throughDescriptor(dir, work) {
    const descriptor = openSync(dir, "r");
    try {
        return work(`/proc/self/fd/${descriptor}`);
    }
    finally {
        closeSync(descriptor);
    }
}
const socketName = (id) => `${id}.sock`;
function listen(dir, id) {
    // Node binds and listens within the call; only the event comes later. Without a socket (a file system that has none) only
    // processes of other pid namespaces err, so failure is no reason to stop.
    return throughDescriptor(dir, (short) => {
        const server = createServer((peer) => peer.destroy());
        server.on("error", () => undefined);
        server.listen(join(short, socketName(id)));
        server.unref();
        return server;
    });
}
function answers(dir, id) {
    const descriptor = openSync(dir, "r");
    return new Promise((resolve) => {
        const peer = connect(`/proc/self/fd/${descriptor}/${socketName(id)}`);
        const settle = (alive) => {
            peer.destroy();
            closeSync(descriptor);
            resolve(alive);
        };
        peer.once("connect", () => settle(true));
        // ENOENT: it closed in good order. Anything but these two is no proof.
        peer.once("error", (error) => {
            const errno = errnoOf(error);
            settle(errno !== "ECONNREFUSED" && errno !== "ENOENT");
        });
    });
}
/** Removes sockets and lease files of dead owners in `dir`. */
export async function sweepOwners(dir, owner) {
    for (const name of readdirSync(dir)) {
        const id = name.replace(/\.(sock|leases)$/, "");
        if (!(await owner.isAlive(id)))
            rmSync(join(dir, name), { force: true });
    }
}
//# sourceMappingURL=owner.js.map