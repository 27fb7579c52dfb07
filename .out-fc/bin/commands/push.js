// tsbuild push
import { progressMode } from "../progress.js";
import { transfer } from "../transfer.js";
export const command = {
    flags: {
        usage: "[OPTIONS] NAME[:TAG]",
        positionals: { min: 1, max: 1 },
        flags: [
            {
                name: "progress",
                kind: "string",
                initial: '"auto"',
                help: 'Progress output ("auto", "plain", "tty", "rawjson", "quiet")',
            },
            { name: "quiet", short: "q", kind: "bool", help: "Print nothing but the name" },
        ],
    },
    async run(flags, context) {
        const { normalizeName } = await import("../local-images.js");
        const name = normalizeName(flags.positionals[0] ?? "");
        const mode = flags.bool("quiet") ? "quiet" : progressMode(flags.one("progress"), context.config.env);
        const done = await transfer(mode, context, (engine, options) => engine.push(name, options));
        if (done === null)
            return 1;
        if (!flags.bool("quiet"))
            context.complain(`digest: ${done.digest} size: ${done.size}\n`);
        context.print(`${name}\n`);
        return 0;
    },
};
//# sourceMappingURL=push.js.map