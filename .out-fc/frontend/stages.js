// Stages: which there are, what each is built on and copies from, and which of them a target needs. Only those are
// converted, and only their base images are asked for.
import { BuildError } from "../solver/graph/error.js";
import { flagValue, flagValues } from "./flags.js";
import { checkDefaults, readFrom } from "./from-line.js";
import { atPlace } from "./place.js";
import { mountFrom } from "./run-mounts.js";
import { suggest } from "./suggest.js";
import { expandWord } from "./words.js";
/** The image that has nothing in it. */
export const SCRATCH_NAME = "scratch";
/** Stages of one file; more are refused. */
const STAGES_MAX = 10_000;
/** What there is before the first FROM, and the stages as written. */
export function splitStages(parsed) {
    const globals = [];
    const stages = [];
    for (const instruction of parsed.instructions) {
        if (instruction.kind === "from")
            stages.push({ from: instruction, instructions: [] });
        else if (stages.length > 0)
            stages.at(-1)?.instructions.push(instruction);
        else if (instruction.kind === "arg")
            globals.push(instruction);
        else
            throw new BuildError("DOCKERFILE_SYNTAX", "no build stage in current context", { at: instruction.at });
    }
    if (stages.length === 0)
        throw new BuildError("DOCKERFILE_SYNTAX", "dockerfile contains no stages to build");
    if (stages.length > STAGES_MAX)
        throw new BuildError("LIMIT_EXCEEDED", `more than ${STAGES_MAX} stages`);
    return { globals, stages };
}
/** Reads all FROM lines and what copies from where. Throws for names that cannot be. */
export function planStages(written, options) {
    const stages = [];
    const names = new Map();
    checkDefaults(written.map(({ from }) => from), options);
    written.forEach(({ from }, index) => {
        const stage = openStage(from, index, names, options);
        stages.push(stage);
        if (stage.name !== null)
            names.set(stage.name, stage);
    });
    const numbered = [...stages];
    const byName = (name) => names.get(name.toLowerCase()) ?? null;
    const source = (name, at) => {
        const known = byName(name);
        if (known !== null)
            return known;
        const unlisted = unlistedStage(name, at);
        stages.push(unlisted);
        return unlisted;
    };
    const link = (stage, instruction, isTrigger) => {
        const sources = readSources(instruction, source, numbered, options);
        for (const needed of sources)
            if (needed !== null)
                stage.needs.set(needed, instruction.at);
        return { instruction, sources, isTrigger };
    };
    written.forEach(({ instructions }, index) => {
        const stage = numbered[index];
        if (!stage.isReplaced)
            stage.steps = instructions.map((instruction) => link(stage, instruction, false));
    });
    if (stages.length === 1 && stages[0] !== undefined)
        stages[0].label = "";
    return {
        stages,
        byName,
        addTriggers: (stage, triggers) => {
            const steps = triggers.map((trigger) => link(stage, trigger, true));
            stage.steps = [...steps, ...stage.steps];
            return steps.some((step) => step.sources.some((needed) => needed !== null));
        },
    };
}
function unlistedStage(name, at) {
    return {
        at,
        name: null,
        description: "",
        label: "",
        baseName: name,
        platform: null,
        base: null,
        steps: [],
        needs: new Map(),
        isListed: false,
        isReplaced: false,
        usedArgs: new Set(),
    };
}
function openStage(from, index, names, options) {
    const { baseName, platform, usedArgs } = readFrom(from, options);
    const isReplaced = from.as !== null && options.isReplaced(from.as, platform);
    return {
        at: from.at,
        name: from.as,
        description: from.comment,
        label: from.as ?? `stage-${index}`,
        baseName,
        platform,
        base: isReplaced ? null : (names.get(baseName) ?? null),
        steps: [],
        needs: new Map(),
        isListed: true,
        isReplaced,
        usedArgs,
    };
}
function readSources(instruction, source, numbered, options) {
    if (instruction.kind === "copy") {
        const flag = flagValue(instruction.flags, "from") ?? "";
        // Beyond BuildKit: global arguments may name the source.
        const from = flag.includes("$")
            ? atPlace(instruction.at, () => expandWord(flag, options.globalArgs, { escape: options.escape })).text
            : flag;
        if (from === "")
            return [];
        if (!/^[+-]?\d+$/.test(from))
            return [source(from, instruction.at)];
        const stage = numbered[Number(from)];
        if (stage !== undefined)
            return [stage];
        throw new BuildError("STAGE_UNKNOWN", `invalid stage index ${from}`, {
            at: instruction.at,
            hint: `stages count from 0; there are ${numbered.length}`,
        });
    }
    if (instruction.kind !== "run")
        return [];
    return flagValues(instruction.flags, "mount").map((mount) => {
        const from = atPlace(instruction.at, () => mountFrom(mount));
        return from === "" ? null : source(from, instruction.at);
    });
}
/** The stage to build: the last, or the one named. Throws TARGET_UNKNOWN. */
export function findTarget(table, target) {
    const listed = table.stages.filter((stage) => stage.isListed);
    if (target === null || target === "")
        return listed.at(-1);
    const stage = table.byName(target);
    if (stage !== null)
        return stage;
    const names = listed.flatMap(({ name }) => (name === null ? [] : [name]));
    const near = suggest(target, names, false);
    throw new BuildError("TARGET_UNKNOWN", `target stage ${JSON.stringify(target)} could not be found`, {
        hint: near !== null
            ? `did you mean ${near}?`
            : names.length > 0
                ? `there are ${names.slice(0, 20).join(", ")}`
                : "no stage has a name: write FROM … AS NAME",
    });
}
/** The stage and all it needs. */
export function reachableFrom(target) {
    const found = new Set();
    const waiting = [target];
    for (let stage = waiting.pop(); stage !== undefined; stage = waiting.pop()) {
        if (found.has(stage))
            continue;
        found.add(stage);
        waiting.push(...stage.needs.keys());
        if (stage.base !== null)
            waiting.push(stage.base);
    }
    return found;
}
/** Throws DOCKERFILE_SYNTAX when stages need each other. */
export function checkCycles(table) {
    const done = new Set();
    for (const start of table.stages) {
        // A depth-first walk with its own stack: a long chain of stages must not end ours.
        const path = new Set();
        const stack = [];
        const enter = (stage, at) => {
            if (done.has(stage))
                return;
            if (path.has(stage)) {
                throw new BuildError("DOCKERFILE_SYNTAX", `circular dependency detected on stage: ${stage.label}`, {
                    at,
                });
            }
            path.add(stage);
            const rest = [...stage.needs];
            if (stage.base !== null)
                rest.push([stage.base, stage.at]);
            stack.push({ stage, rest });
        };
        enter(start, start.at);
        for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
            const next = top.rest.pop();
            if (next !== undefined) {
                enter(...next);
            }
            else {
                path.delete(top.stage);
                done.add(top.stage);
                stack.pop();
            }
        }
    }
}
//# sourceMappingURL=stages.js.map