// What a stage is at one point of its instructions, and what all instructions need to be turned into steps.
import { undefinedVar } from "./check-texts.js";
import { formatPlatformAll, normalizePlatform, parsePlatform, samePlatform } from "./platform-args.js";
import { expandWord, expandWords } from "./words.js";
/** Expands a word of an instruction; variables that are not set are reported. */
export function expandIn(conversion, state, instruction, word, options = {}) {
    const { text, unmatched } = expandWord(word, state.env, { escape: conversion.escape, ...options });
    reportUndefined(conversion, state, instruction, unmatched);
    return text;
}
/** The same, split at blanks. */
export function expandListIn(conversion, state, instruction, word) {
    const { words, unmatched } = expandWords(word, state.env, { escape: conversion.escape });
    reportUndefined(conversion, state, instruction, unmatched);
    return words;
}
function reportUndefined({ checks }, state, instruction, names) {
    for (const name of names) {
        // Declared without a value is declared.
        if (state.buildArgs.some((arg) => arg.key === name))
            continue;
        checks.warn("UndefinedVar", undefinedVar(name, state.env.keys()), instruction.at);
    }
}
/** "[stage 2/7] text": counts the step. Without steps to count (an image that is only copied from) just the text. */
export function stepName(conversion, state, text, isTrigger = false) {
    if (state.totalSteps === 0)
        return text;
    state.shownSteps++;
    return stepNameAgain(conversion, state, text, isTrigger);
}
/** The name with the number of the step named last. */
export function stepNameAgain(conversion, state, text, isTrigger) {
    const platform = conversion.isMultiPlatform
        ? `${formatPlatformAll(state.platform)}${crossTarget(state)} `
        : "";
    const label = state.stage.label === "" ? "" : `${state.stage.label} `;
    const number = `${state.shownSteps}`.padStart(`${state.totalSteps}`.length);
    return `[${platform}${label}${number}/${state.totalSteps}] ${isTrigger ? "ONBUILD " : ""}${text}`;
}
/** "->linux/arm64" where a stage knows that it works for another platform than its own. */
function crossTarget({ env, platform }) {
    let target = null;
    const whole = env.get("TARGETPLATFORM");
    if (whole !== undefined) {
        try {
            target = parsePlatform(whole, platform);
        }
        catch {
            return ""; // a value of the user's own, only shown here
        }
    }
    else if (env.has("TARGETOS") || env.has("TARGETARCH")) {
        target = normalizePlatform({
            os: env.get("TARGETOS") || platform.os,
            architecture: env.get("TARGETARCH") || platform.architecture,
            variant: env.get("TARGETVARIANT") ?? "",
        });
    }
    return target === null || samePlatform(target, platform) ? "" : `->${formatPlatformAll(target)}`;
}
/** An instruction as its step is called: keyword in capitals, variables filled in where that works. */
export function shownText(conversion, state, text, options = {}) {
    let shown = text;
    try {
        shown = expandWord(text, state.env, { escape: conversion.escape, ...options }).text;
    }
    catch {
        // What cannot be expanded for show is shown as written; where it matters it has been expanded already.
    }
    return shown.replace(/^\S+/, (keyword) => keyword.toUpperCase());
}
export function noteOf(name, at, ignoreCache = false, group = null) {
    return { name, ignoreCache, at: at === null ? [] : [at], group };
}
export function openInputs() {
    const list = [];
    return {
        list,
        add: (input) => {
            if (input === null)
                return null;
            const known = list.findIndex((other) => other.vertex === input.vertex && other.output === input.output);
            return known >= 0 ? known : list.push(input) - 1;
        },
    };
}
//# sourceMappingURL=stage-state.js.map