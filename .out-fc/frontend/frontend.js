// The door of the frontend: Dockerfile in, definitions and image configs out. Pure but for what it is handed.
import { BuildError } from "../solver/graph/error.js";
import { checkDirective, openChecks, staticChecks } from "./checks.js";
import { convertFor, isMultiPlatform, targetPlatforms } from "./conversion.js";
import { settleAll } from "./start-stage.js";
import { outlineOf, targetsOf } from "./outline.js";
import { parseDockerfile, readDockerfile } from "./parse.js";
/** Dockerfile to definitions and image configs, one for each platform. Throws BuildError with the place in the file. */
export async function convert(options, host, call) {
    const parsed = await parseDockerfile(options.dockerfile.name, options.dockerfile.data);
    const checks = checksOf(parsed, options);
    const request = { options, host, call, parsed, checks };
    const conversions = await settleAll(
    // Findings are the same for all platforms, or about platforms nobody can change: once is enough.
    targetPlatforms(options).map((platform, index) => convertFor(index === 0 ? request : { ...request, checks: openChecks(null) }, platform)));
    const failure = checks.failure();
    if (failure !== null)
        throw failure;
    return {
        images: conversions.map(({ image }) => image),
        multiPlatform: isMultiPlatform(options),
        warnings: checks.list(),
        sourceDateEpoch: conversions[0]?.conversion.epochSeconds ?? null,
    };
}
/** --call=check: what the build checks find, and the error a build would end with before its first step. */
export async function check(options, host, call) {
    const { name, data } = options.dockerfile;
    const { parsed, error } = await readDockerfile(name, data);
    const source = { file: name, text: parsed.source };
    const checks = checksOf(parsed, options);
    if (error !== null)
        return { warnings: checks.list(), error, source };
    try {
        const [platform = options.buildPlatform] = targetPlatforms(options);
        await convertFor({ options, host, call, parsed, checks }, platform);
        return { warnings: checks.list(), error: null, source };
    }
    catch (cause) {
        if (call.signal.aborted || !(cause instanceof BuildError))
            throw cause;
        return { warnings: checks.list(), error: cause, source };
    }
}
/** --call=outline: arguments, secrets and agents of the target. Throws BuildError. */
export async function outline(options, host, call) {
    const parsed = await parseDockerfile(options.dockerfile.name, options.dockerfile.data);
    const [platform = options.buildPlatform] = targetPlatforms(options);
    const request = { options, host, call, parsed, checks: checksOf(parsed, options) };
    return outlineOf(await convertFor(request, platform));
}
/** --call=targets: the stages. Throws BuildError for what is no Dockerfile. */
export async function targets(options, _host, call) {
    call.signal.throwIfAborted();
    return targetsOf(await parseDockerfile(options.dockerfile.name, options.dockerfile.data));
}
function checksOf(parsed, options) {
    const checks = openChecks(checkDirective(parsed), options.buildArgs.get("BUILDKIT_DOCKERFILE_CHECK") ?? null, parsed.instructions);
    staticChecks(parsed, checks);
    return checks;
}
//# sourceMappingURL=frontend.js.map