// Cache mounts: directories of RUN --mount=type=cache, kept from build to build.
//
//   mounts/<sha256 of id and seed>/id                    the id as written, for du
//   mounts/<...>/slot-<n>/fs                             the directory; several when `private` or busy ones made copies
//   mounts/<...>/fresh-<n>                               slot n is not filled yet
//   mounts/<...>/hold-<n>-<s|x>-<owner>-<serial>         somebody uses slot n, shared or alone
//
// Which slot is taken is decided under a lock of the mount, by chooseSlot(). Sharing as in BuildKit: `shared` joins others or takes
// a free one, `private` takes a free one or makes one, `locked` waits until one is free.
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync, } from "node:fs";
import { join } from "node:path";
import { errnoOf, onDisk } from "./disk-fault.js";
import { changeIn } from "./locks.js";
const HOLD = /^hold-(\d+)-([sx])-([^-]+)-\d+$/;
export function openCacheMounts(options) {
    const { owner } = options;
    let serial = 0;
    async function acquire(id, sharing, { signal, seedKey }) {
        const name = createHash("sha256").update(`${id}\0${seedKey}`).digest("hex");
        const dir = join(options.dir, name);
        for (;;) {
            const before = listing(dir);
            const hold = await options.exclusively(lockKey(name), () => tryAcquire(dir, id, sharing), { signal });
            if (hold !== null)
                return hold;
            await changeIn(dir, () => listing(dir) !== before, signal);
        }
    }
    /** Under the mount's lock. null: nothing free, wait. */
    async function tryAcquire(dir, id, sharing) {
        onDisk("making a cache mount", () => {
            mkdirSync(dir, { recursive: true, mode: 0o700 });
            writeFileSync(join(dir, "id"), id);
        });
        await dropDeadHolds(dir);
        const slots = readSlots(dir);
        const number = chooseSlot(slots, sharing);
        if (number === null)
            return null;
        const slot = slots.find((one) => one.number === number);
        return onDisk("taking a cache mount", () => {
            const fresh = slot === undefined || slot.fresh;
            if (fresh) {
                // Half filled by somebody who died: begins again.
                if (slot !== undefined)
                    options.discard(join(dir, `slot-${number}`));
                makeSlot(dir, number);
            }
            return hold(dir, number, sharing === "shared" ? "s" : "x", fresh);
        });
    }
    function hold(dir, number, kind, fresh) {
        const mark = join(dir, `hold-${number}-${kind}-${owner.id}-${serial++}`);
        writeFileSync(mark, "");
        const outer = join(dir, `slot-${number}`);
        utimesSync(outer, new Date(), new Date());
        let ended = false;
        const seeded = () => {
            if (fresh)
                rmSync(join(dir, `fresh-${number}`), { force: true });
        };
        return {
            path: join(outer, "fs"),
            fresh,
            seeded,
            async [Symbol.asyncDispose]() {
                if (ended)
                    return;
                ended = true;
                seeded();
                rmSync(mark, { force: true });
            },
        };
    }
    async function dropDeadHolds(dir) {
        for (const entry of readdirSync(dir)) {
            const match = HOLD.exec(entry);
            if (match !== null && !(await owner.isAlive(match[3])))
                rmSync(join(dir, entry), { force: true });
        }
    }
    function list() {
        return readdirSync(options.dir).flatMap((name) => {
            const dir = join(options.dir, name);
            return readSlots(dir).flatMap((slot) => {
                const outer = join(dir, `slot-${slot.number}`);
                const stat = statSync(outer, { throwIfNoEntry: false });
                if (stat === undefined)
                    return [];
                const inUse = slot.holds.length > 0;
                return [{ id: idOf(dir), path: join(outer, "fs"), lastUsedMs: stat.mtimeMs, inUse }];
            });
        });
    }
    async function remove(path, { signal }) {
        const outer = join(path, "..");
        const dir = join(outer, "..");
        const number = Number(outer.slice(outer.lastIndexOf("-") + 1));
        const name = dir.slice(dir.lastIndexOf("/") + 1);
        return await options.exclusively(lockKey(name), async () => {
            await dropDeadHolds(dir);
            const slot = readSlots(dir).find((one) => one.number === number);
            if (slot === undefined || slot.holds.length > 0)
                return null;
            rmSync(join(dir, `fresh-${number}`), { force: true });
            return options.discard(outer);
        }, { signal });
    }
    async function sweep() {
        for (const name of readdirSync(options.dir))
            await dropDeadHolds(join(options.dir, name));
    }
    return { acquire, list, remove, sweep };
}
/** Number of the slot to take, one that is not there yet to make it, or null to wait. */
export function chooseSlot(slots, sharing) {
    const free = slots.find((slot) => slot.holds.length === 0);
    const next = slots.reduce((most, slot) => Math.max(most, slot.number + 1), 0);
    switch (sharing) {
        case "shared": {
            const open = slots.filter((slot) => !slot.holds.includes("x"));
            if (open.length === 0)
                return next;
            const ready = open.find((slot) => !slot.fresh || slot.holds.length === 0);
            return ready?.number ?? null; // all are being filled at this moment
        }
        case "private":
            return free?.number ?? next;
        case "locked":
            return free?.number ?? (slots.length === 0 ? next : null);
    }
}
const lockKey = (name) => `cache-mount ${name}`;
function makeSlot(dir, number) {
    // The mark first: a slot without it counts as filled.
    writeFileSync(join(dir, `fresh-${number}`), "");
    const outer = join(dir, `slot-${number}`);
    mkdirSync(outer, { mode: 0o700 });
    mkdirSync(join(outer, "fs"), { mode: 0o755 });
    chmodSync(join(outer, "fs"), 0o755); // whatever the umask
}
function readSlots(dir) {
    const names = readdirSync(dir);
    return names
        .flatMap((name) => (name.startsWith("slot-") ? [Number(name.slice(5))] : []))
        .sort((a, b) => a - b)
        .map((number) => ({
        number,
        holds: names.flatMap((name) => {
            const match = HOLD.exec(name);
            return match !== null && Number(match[1]) === number ? [match[2]] : [];
        }),
        fresh: names.includes(`fresh-${number}`),
    }));
}
function idOf(dir) {
    try {
        return readFileSync(join(dir, "id"), "utf8");
    }
    catch (error) {
        if (errnoOf(error) === "ENOENT")
            return "";
        throw error;
    }
}
/** Names of a directory as one text, to see a change; empty when it is not there. */
function listing(dir) {
    try {
        return readdirSync(dir).sort().join("\n");
    }
    catch (error) {
        if (errnoOf(error) === "ENOENT")
            return "";
        throw error;
    }
}
//# sourceMappingURL=cache-mounts.js.map