// SOURCE_DATE_EPOCH: seconds, or where they come from. reproducible-builds.org/specs/source-date-epoch; BuildKit takes
// "context" and the name of a stage that only adds a remote source as well.
import { BuildError } from "../solver/graph/error.js";
import { gitSource, parseGitRef } from "./git-ref.js";
import { SCRATCH_NAME } from "./stages.js";
/** Largest time JavaScript can print, in seconds. */
const EPOCH_MAX = 8.64e12;
/** The time all that is made here gets, or null: that of the build. Throws USAGE. */
export async function readEpoch(text, options, host, table, signal) {
    if (text === "")
        return null;
    if (/^[+-]?\d+$/.test(text) && Math.abs(Number(text)) <= EPOCH_MAX)
        return Number(text);
    const place = sourceNamed(text, options, table);
    if (place === null)
        throw new BuildError("USAGE", `invalid SOURCE_DATE_EPOCH: ${text}`, { hint: "give seconds since 1970" });
    const { source, at } = place;
    const seconds = host.sourceTime === undefined ? null : await host.sourceTime(source, { signal });
    if (seconds !== null)
        return seconds;
    throw new BuildError("USAGE", `SOURCE_DATE_EPOCH=${text}: the source has no time of its own`, { at });
}
function sourceNamed(text, options, table) {
    if (text === "context") {
        if (!options.context.identifier.startsWith("local://"))
            return { source: options.context, at: null };
        throw new BuildError("USAGE", "SOURCE_DATE_EPOCH=context needs a context from git or http", {
            hint: "a directory has no time of its own: give seconds",
        });
    }
    const stage = table.byName(text);
    if (stage === null)
        return null;
    const refuse = (rule) => new BuildError("USAGE", `SOURCE_DATE_EPOCH stage ${rule}`, { at: stage.at });
    if (stage.baseName !== SCRATCH_NAME)
        throw refuse("must use FROM scratch");
    const [step, ...more] = stage.steps;
    const add = step?.instruction;
    const [url, ...others] = add?.kind === "add" ? add.sources : [];
    if (more.length > 0 || others.length > 0 || url === undefined)
        throw refuse("must have exactly one ADD of one source");
    const git = parseGitRef(url);
    if (git !== null)
        return { source: gitSource(git, { keepGitDir: false, checksum: git.checksum }), at: stage.at };
    if (!/^https?:\/\//.test(url))
        throw refuse("must ADD a git or http source");
    return { source: { kind: "source", identifier: url, attrs: {} }, at: stage.at };
}
//# sourceMappingURL=epoch.js.map