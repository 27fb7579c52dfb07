// Wires store, worker, solver, frontend and exporters into an Engine; owns all limits on parallel work.
// Everything heavy is opened when it is first needed: a fully cached build never starts the keeper.
import { availableParallelism, userInfo } from "node:os";
import { openStore } from "../cache/store.js";
/** Opens the engine on the store of `config`. Throws STORE_UNUSABLE. */
export async function openEngine(config) {
    const store = await openStore(config.root);
    let keeper = null;
    let startKeeper = null;
    let findIdMaps = null;
    const registries = [];
    let limits = null;
    const parts = {
        config,
        store,
        keeper() {
            if (keeper !== null)
                return keeper;
            if (startKeeper === null || findIdMaps === null)
                throw new Error("the keeper is asked for before it is loaded");
            const user = userInfo();
            const path = config.env.PATH ?? "";
            keeper = startKeeper({
                storeDir: store.dir,
                maps: findIdMaps({ uid: user.uid, gid: user.gid, name: user.username }, path),
                path: `${path}:/usr/sbin:/sbin`,
                env: { PATH: path, ...(config.env.NODE_DEBUG ? { NODE_DEBUG: config.env.NODE_DEBUG } : {}) },
            });
            return keeper;
        },
        async registry(session) {
            const { openRegistry } = await import("../cache/registry/client.js");
            const registry = openRegistry({ credentials: (host) => session.credentials(host) });
            registries.push(registry);
            return registry;
        },
        limits() {
            limits ??= makeLimits();
            return limits;
        },
    };
    const loadKeeper = async () => {
        ({ startKeeper } = await import("../worker/keeper/keeper.js"));
        ({ findIdMaps } = await import("../worker/keeper/userns.js"));
    };
    return {
        store,
        async build(request, options) {
            const [{ runBuild }] = await Promise.all([import("./engine-build.js"), loadKeeper()]);
            return runBuild(parts, request, options);
        },
        async run(request, options) {
            const [{ runImage }] = await Promise.all([import("./engine-run.js"), loadKeeper()]);
            return runImage(parts, request, options);
        },
        async pull(reference, platform, options) {
            const { pullImage } = await import("./engine-transfer.js");
            return pullImage(parts, reference, platform, options);
        },
        async push(reference, options) {
            const [{ pushImage }] = await Promise.all([import("./engine-transfer.js"), loadKeeper()]);
            return pushImage(parts, reference, options);
        },
        async removeDirectories(paths) {
            if (paths.length === 0)
                return;
            await loadKeeper();
            await parts.keeper().run({ kind: "remove", paths });
        },
        async [Symbol.asyncDispose]() {
            // What disposed layers left because other owners' files are in it; cheap for who has the right ids.
            const discarded = store.layers.discarded();
            if (discarded.length > 0 && keeper !== null) {
                await keeper.run({ kind: "remove", paths: discarded }).catch(() => {
                    // Swept when the store is opened the next time.
                });
            }
            for (const registry of registries)
                registry.close();
            await keeper?.[Symbol.asyncDispose]();
            await store[Symbol.asyncDispose]();
        },
    };
}
/** Steps that run, file steps and fetches at one time. */
async function makeLimits() {
    const { default: PQueue } = await import("p-queue");
    const cores = availableParallelism();
    return {
        exec: new PQueue({ concurrency: Math.max(4, cores * 2) }), // steps wait for networks and disks too
        file: new PQueue({ concurrency: Math.max(2, cores) }),
        source: new PQueue({ concurrency: 8 }),
    };
}
//# sourceMappingURL=engine.js.map