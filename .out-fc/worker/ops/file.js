// [keeper] FileOp: its actions in order on one active layer. The layer is mounted above its base without a place in any
// tree, all work is done on descriptors below it, and the mount ends with them.
import { combineSelections } from "../../cache/path-hash.js";
import { baseOf, bytesOf, cleanPath, joinPath, parentOf, resolvePath, } from "../../cache/tree.js";
import { findMatches } from "../../cache/tree-select.js";
import { BuildError } from "../../solver/graph/error.js";
import { close, fchmod, fstat, O, openat, S, utimensat } from "../sys/file.js";
import { overlayMount } from "../sys/mount.js";
import { runCopy } from "./copy.js";
import { inWords, inWordsAsync } from "./failure.js";
import { emptyTree } from "./fd-tree.js";
import { openTreeOf } from "./open-tree.js";
import { ROOT, resolveOwner } from "./owner.js";
import { openPlace, setFileOwner, shown, writeFully } from "./place.js";
import { unpackMatch } from "./unpack.js";
/** Runs the job; blocks its thread. Throws BuildError: CONTEXT_PATH_MISSING, COPY_FAILED, USER_UNKNOWN, STORE_FULL,
 *  ARCHIVE_INVALID, CONTEXT_CHANGED. What a failed job leaves in `upper` is for the caller to drop. */
export async function runFileJob(job, idMode) {
    return inWordsAsync("file operation", async () => {
        const mount = overlayMount({ lowers: job.base, upper: job.upper, work: job.work, userxattr: true });
        const place = openPlace(mount, idMode);
        const inputs = new Inputs(job.inputs, place);
        try {
            const read = [];
            for (const action of job.actions) {
                const digest = await runAction(action, { job, place, inputs, idMode });
                if (digest !== null)
                    read.push(digest);
            }
            return { readDigest: read.length === 0 ? null : combineSelections(read) };
        }
        finally {
            inputs.close();
            place.close();
        }
    });
}
/** The trees of a job, mounted when first needed. Indexes behind the inputs stand for results of earlier actions: all
 *  actions work on one layer, so that is the place itself. */
class Inputs {
    #trees;
    #place;
    #opened = new Map();
    constructor(trees, place) {
        this.#trees = trees;
        this.#place = place;
    }
    /** null is scratch. */
    open(input) {
        if (input === null)
            return emptyTree();
        if (input >= this.#trees.length)
            throw new Error("a copy from an earlier action needs a layer of its own");
        return this.#open(input).tree;
    }
    /** Descriptor of the root of an input, null for scratch. */
    root(input) {
        return input >= this.#trees.length ? this.#place.tree.root : this.#open(input).root;
    }
    close() {
        for (const { close } of this.#opened.values())
            close();
        this.#opened.clear();
    }
    #open(input) {
        let opened = this.#opened.get(input);
        if (opened === undefined) {
            opened = openTreeOf(this.#trees[input] ?? null);
            this.#opened.set(input, opened);
        }
        return opened;
    }
}
async function runAction(action, running) {
    const { job, place, inputs, idMode } = running;
    const ownerOf = (owner) => resolveOwner(owner, (input) => inputs.root(input));
    const madeTimeNs = job.times.epochSeconds === null ? null : BigInt(job.times.epochSeconds) * 1000000000n;
    switch (action.kind) {
        case "copy":
            return inWordsAsync(`copy ${action.src} to ${action.dest}`, () => runCopy(action, {
                source: inputs.open(action.from),
                place,
                owner: ownerOf(action.owner),
                idMode,
                madeTimeNs,
                unpack: (match, directory, made) => unpackMatch(inputs.open(action.from), match, place, directory, made),
            }));
        case "mkdir":
            inWords(`mkdir ${action.path}`, () => makeDirectory(place, action, ownerOf(action.owner), madeTimeNs));
            return null;
        case "mkfile":
            inWords(`write ${action.path}`, () => makeFile(running, action, ownerOf(action.owner), madeTimeNs));
            return null;
        case "symlink":
            inWords(`symlink ${action.path}`, () => makeSymlink(place, action, ownerOf(action.owner), madeTimeNs));
            return null;
        case "rm":
            inWords(`remove ${action.path}`, () => remove(place, action));
            return null;
    }
}
function makeDirectory(place, action, owner, madeTimeNs) {
    const path = place.resolve(bytesOf(action.path));
    const look = { owner: owner ?? ROOT, mode: action.mode & 0o777, mtimeNs: action.timestampNs ?? madeTimeNs };
    if (action.makeParents) {
        place.makeParents(path, look);
        return;
    }
    if (place.tree.lstat(path) !== null)
        return;
    place.makeDirectory(path);
    place.dress(path, { ...look, xattrs: [] }, "directory");
}
/** An existing file keeps its mode, and its owner unless one is given: open(2) with O_TRUNC, as os.WriteFile does. */
function makeFile(running, action, owner, madeTimeNs) {
    const { place, idMode } = running;
    const path = place.resolve(bytesOf(action.path));
    const there = place.tree.lstat(path);
    if (there !== null && there.type !== "file") {
        throw new BuildError("COPY_FAILED", `open ${shown(path)}: not a regular file`);
    }
    const fd = there === null
        ? place.createFile(path)
        : openat(place.tree.cursor.at(parentOf(path)), Buffer.from(baseOf(path), "latin1"), EXISTING);
    try {
        if ((fstat(fd).mode & S.IFMT) !== S.IFREG)
            throw new Error("opened something else than a file");
        writeFully(fd, action.data);
        if (there === null || owner !== null)
            setFileOwner(fd, owner ?? ROOT, idMode);
        if (there === null)
            fchmod(fd, action.mode & 0o777);
        const mtimeNs = action.timestampNs ?? madeTimeNs;
        if (mtimeNs !== null)
            utimensat(fd, null, mtimeNs, mtimeNs);
    }
    finally {
        close(fd);
    }
}
const EXISTING = O.WRONLY | O.TRUNC | O.NOFOLLOW | O.NONBLOCK;
function makeSymlink(place, action, owner, madeTimeNs) {
    const path = place.resolve(bytesOf(action.path));
    if (place.tree.lstat(path) !== null) {
        throw new BuildError("COPY_FAILED", `symlink ${action.target} ${shown(path)}: file exists`);
    }
    place.makeSymlink(path, bytesOf(action.target));
    const mtimeNs = action.timestampNs ?? madeTimeNs;
    place.dress(path, { owner: owner ?? ROOT, mode: 0o777, mtimeNs, xattrs: [] }, "symlink");
}
function remove(place, action) {
    const asked = bytesOf(action.path);
    if (cleanPath(asked) === "")
        throw new BuildError("COPY_FAILED", "the root directory cannot be removed");
    // The directory is resolved, what is removed is the name in it: a link goes, not what it points to.
    const paths = action.allowWildcard
        ? findMatches(place.tree, { src: action.path, allowWildcard: true, followSymlink: false }).map((match) => match.path)
        : [joinPath(resolvePath(place.tree, parentOf(cleanPath(asked)), true), baseOf(cleanPath(asked)))];
    for (const path of paths) {
        if (!place.remove(path) && !action.allowNotFound) {
            throw new BuildError("COPY_FAILED", `stat ${shown(path)}: no such file or directory`);
        }
    }
}
//# sourceMappingURL=file.js.map