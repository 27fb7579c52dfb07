// The one error class for what a user can cause or must act on. Plain Error is for our own bugs.
/** Something a user caused or must act on. `message` is one sentence in the user's words. */
export class BuildError extends Error {
    name = "BuildError";
    code;
    at;
    vertex;
    hint;
    exitCode;
    constructor(code, message, detail = {}) {
        super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
        this.code = code;
        this.at = detail.at ?? null;
        this.vertex = detail.vertex ?? null;
        this.hint = detail.hint ?? null;
        this.exitCode = detail.exitCode ?? null;
    }
}
/** The same error with a source range and vertex, where it has none yet. */
export function locate(error, at, vertex) {
    if (error.at !== null && error.vertex !== null)
        return error;
    return new BuildError(error.code, error.message, {
        cause: error.cause ?? error,
        at: error.at ?? at,
        vertex: error.vertex ?? vertex,
        hint: error.hint,
        exitCode: error.exitCode,
    });
}
/** A URL fit to be printed: user, password and query values are taken out. */
export function redactUrl(text) {
    return text
        .replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#@]*@/i, "$1xxxxx@")
        .replace(/([?&](?:token|password|secret|sig|signature|key|access_token)=)[^&#]*/gi, "$1xxxxx");
}
/** Text from outside (registries, images) made fit for a terminal: no control characters, at most `max` characters. */
export function printable(text, max = 300) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is removed
    const clean = text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "\uFFFD");
    return clean.length > max ? `${clean.slice(0, max)}…` : clean;
}
//# sourceMappingURL=error.js.map