// tsbuild pull
import { progressMode } from "../progress.js";
import { transfer } from "../transfer.js";
export const command = {
    flags: {
        usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
        positionals: { min: 1, max: 1 },
        flags: [
            { name: "platform", kind: "string", help: "Which image of an index (default: this machine's)" },
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
        const [text = ""] = flags.positionals;
        const { parsePlatform } = await import("../flags-values.js");
        const { normalizeName } = await import("../local-images.js");
        const name = normalizeName(text);
        const asked = flags.one("platform");
        const platform = asked === null ? null : parsePlatform(asked);
        const mode = flags.bool("quiet") ? "quiet" : progressMode(flags.one("progress"), context.config.env);
        const done = await transfer(mode, context, (engine, options) => engine.pull(name, platform, options));
        if (done === null)
            return 1;
        if (!flags.bool("quiet"))
            context.complain(`Digest: ${done.digest}\n`);
        context.print(`${name}\n`);
        return 0;
    },
};
//# sourceMappingURL=pull.js.map