// --call=outline and --call=targets: what a Dockerfile offers, as data.
import { reachableFrom, splitStages } from "./stages.js";
/** Arguments, secrets and agents that the target and all it needs make use of, by their place in the file. */
export function outlineOf({ conversion, target }) {
    const args = new Map();
    const secrets = new Map();
    const ssh = new Map();
    for (const stage of reachableFrom(target)) {
        const outline = conversion.states.get(stage)?.outline;
        if (outline === undefined)
            continue;
        const waiting = [...outline.usedArgs];
        for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
            if (args.has(name))
                continue;
            const arg = outline.args.get(name) ?? conversion.declaredArgs.get(name);
            if (arg === undefined)
                continue; // predefined, such as TARGETARCH
            args.set(name, { name, value: arg.value, description: arg.comment, at: arg.at });
            waiting.push(...arg.uses);
        }
        for (const [name, secret] of outline.secrets)
            if (!secrets.has(name))
                secrets.set(name, { name, ...secret });
        for (const [name, agent] of outline.ssh)
            if (!ssh.has(name))
                ssh.set(name, { name, ...agent });
    }
    return {
        name: target.name ?? "",
        description: target.description,
        args: byPlace(args.values()),
        secrets: byPlace(secrets.values()),
        ssh: byPlace(ssh.values()),
    };
}
function byPlace(values) {
    return [...values].sort((a, b) => a.at.start.line - b.at.start.line ||
        a.at.start.column - b.at.start.column ||
        (a.name < b.name ? -1 : 1));
}
/** The stages of a file as they could be asked for with --target; FROM is shown as written. */
export function targetsOf(parsed) {
    const { stages } = splitStages(parsed);
    return stages.map(({ from }, index) => ({
        name: from.as ?? "",
        description: from.comment,
        default: index === stages.length - 1,
        base: from.image,
        platform: from.platform ?? "",
        at: from.at,
    }));
}
//# sourceMappingURL=outline.js.map