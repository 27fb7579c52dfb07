// The door of the cache: the only keeper of state on disk. Contracts first; openStore() below. Longer than other files because
// it holds the words that all rooms share.
import { chmodSync, linkSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync, } from "node:fs";
import { join, resolve } from "node:path";
import { BuildError } from "../solver/graph/error.js";
import { openCacheMounts } from "./cache-mounts.js";
import { openContent } from "./content.js";
import { errnoOf, onDisk } from "./disk-fault.js";
import { openLayerStore } from "./layer-store.js";
import { openLeases } from "./leases.js";
import { openLocks } from "./locks.js";
import { openOwner, sweepOwners } from "./owner.js";
import { openRecords } from "./records.js";
/** Version of the layout described in README.md. A store of a newer one is not touched. */
const VERSION = 1;
const DIRECTORIES = [
    "blobs",
    "blobs/sha256",
    "ingest",
    "layers",
    "active",
    "db",
    "mounts",
    "locks",
    "owners",
    "tmp",
    "tmp/quarantine",
];
/** Opens the store in `dir`, making it when there is none, and clears up after dead processes. Throws STORE_UNUSABLE (newer version,
 *  somebody else's directory, read-only), STORE_FULL. Any number of processes may have it open. */
export async function openStore(dir) {
    const root = resolve(dir);
    onDisk("opening it", () => {
        claim(root);
        for (const name of DIRECTORIES)
            mkdirSync(join(root, name), { recursive: true, mode: 0o700 });
    });
    const at = (name) => join(root, name);
    // First what may fail: an owner is known to others until it closes.
    const records = openRecords(at("db"), {
        quarantine: at("tmp/quarantine"),
        beforeCommit: () => content.syncNames(),
    });
    const owner = onDisk("opening it", () => openOwner(at("owners")));
    const left = await sweepFiles(root, owner);
    const content = openContent({
        blobs: at("blobs/sha256"),
        ingest: at("ingest"),
        quarantine: at("tmp/quarantine"),
        owner: owner.id,
    });
    const locks = openLocks({
        dir: at("locks"),
        owner,
        alone: records.alone,
        visible: records.nextCommit,
    });
    const leases = openLeases(at("owners"), owner);
    const layers = openLayerStore({ layers: at("layers"), active: at("active"), records, owner, left });
    const cacheMounts = openCacheMounts({
        dir: at("mounts"),
        owner,
        exclusively: locks.briefly,
        discard: layers.discard,
    });
    await locks.sweep();
    await cacheMounts.sweep();
    const temporary = join(root, "tmp", owner.id);
    let closed = false;
    return {
        dir: root,
        content,
        layers,
        records,
        cacheMounts,
        lease: leases.lease,
        pinned: leases.pinned,
        exclusively: locks.exclusively,
        tempDir() {
            onDisk("making a temporary directory", () => mkdirSync(temporary, { recursive: true, mode: 0o700 }));
            return temporary;
        },
        async [Symbol.asyncDispose]() {
            if (closed)
                return;
            closed = true;
            try {
                await records[Symbol.asyncDispose](); // the last commit, for which locks may wait
            }
            finally {
                await locks[Symbol.asyncDispose]();
                rmSync(temporary, { recursive: true, force: true });
                leases.close();
                owner.close();
            }
        },
    };
}
/** Makes sure that the directory is a store of this version, ours, and closed to others. */
function claim(root) {
    mkdirSync(root, { recursive: true, mode: 0o700 });
    const stat = statSync(root);
    const uid = process.getuid?.() ?? 0;
    if (uid !== 0 && stat.uid !== uid) {
        throw new BuildError("STORE_UNUSABLE", `${root} belongs to another user (uid ${stat.uid})`, {
            hint: "give every user a store of their own",
        });
    }
    if ((stat.mode & 0o077) !== 0)
        chmodSync(root, 0o700);
    const version = readVersion(root) ?? begin(root);
    if (version === VERSION)
        return;
    throw new BuildError("STORE_UNUSABLE", `the store ${root} has layout version ${version}, this tsbuild knows ${VERSION}`, {
        hint: version > VERSION ? "use a newer tsbuild, or another store directory" : null,
    });
}
function readVersion(root) {
    let text;
    try {
        text = readFileSync(join(root, "version"), "latin1");
    }
    catch (error) {
        if (errnoOf(error) === "ENOENT")
            return null;
        throw error;
    }
    const version = /^\d{1,9}\n?$/.test(text) ? Number.parseInt(text, 10) : 0;
    if (version > 0)
        return version;
    throw new BuildError("STORE_UNUSABLE", `the version file of the store ${root} is damaged`, {
        hint: `remove ${root} and build again, or restore the file \`version\` in it`,
    });
}
/** Writes the version file into an empty directory; several processes may do so at once. */
function begin(root) {
    const stranger = readdirSync(root).find((name) => !name.startsWith("version"));
    if (stranger !== undefined) {
        // Another process may have been faster by all of this.
        const version = readVersion(root);
        if (version !== null)
            return version;
        throw new BuildError("STORE_UNUSABLE", `${root} is not empty and not a store`, {
            hint: "give an empty or a new directory",
        });
    }
    const draft = join(root, `version.${process.pid}`);
    writeFileSync(draft, `${VERSION}\n`, { mode: 0o600, flush: true });
    try {
        // link(2), not rename(2): who comes second leaves the first one's file alone.
        linkSync(draft, join(root, "version"));
    }
    catch (error) {
        if (errnoOf(error) !== "EEXIST")
            throw error;
    }
    finally {
        rmSync(draft, { force: true });
    }
    return readVersion(root) ?? VERSION;
}
/** Deletes what dead processes left in ingest/, tmp/ and owners/; returns the names they left in active/, which may be large and
 *  of other ids: those are the keeper's. */
async function sweepFiles(root, owner) {
    const alive = new Map();
    async function leftIn(dir) {
        const left = [];
        for (const name of readdirSync(join(root, dir))) {
            if (name === "quarantine")
                continue;
            const id = name.split("-", 1)[0];
            if (!alive.has(id))
                alive.set(id, await owner.isAlive(id));
            if (alive.get(id) === false)
                left.push(name);
        }
        return left;
    }
    for (const dir of ["ingest", "tmp"]) {
        for (const name of await leftIn(dir))
            rmSync(join(root, dir, name), { recursive: true, force: true });
    }
    await sweepOwners(join(root, "owners"), owner);
    return await leftIn("active");
}
//# sourceMappingURL=store.js.map