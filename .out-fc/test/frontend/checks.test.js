// Build checks: https://docs.docker.com/reference/build-checks/
import assert from "node:assert/strict";
import { ruleUrl } from "../../frontend/check-rules.js";
import { undefinedArgInFrom, undefinedVar } from "../../frontend/check-texts.js";
import { checkDirective, openChecks, stageChecks, staticChecks } from "../../frontend/checks.js";
import { parseDockerfile } from "../../frontend/parse.js";
import { BuildError } from "../../solver/graph/error.js";
/** All findings that need only the text, as "rule line detail". */
async function check(text, buildArg = null) {
    return show(await run(text, buildArg));
}
async function run(text, buildArg = null) {
    const parsed = await parseDockerfile("Dockerfile", Buffer.from(text));
    const checks = openChecks(checkDirective(parsed), buildArg, parsed.instructions);
    staticChecks(parsed, checks);
    const starts = parsed.instructions.flatMap(({ kind }, index) => (kind === "from" ? [index] : []));
    for (const [n, start] of starts.entries()) {
        stageChecks(parsed.instructions.slice(start + 1, starts[n + 1]), false, checks);
    }
    return checks;
}
function show(checks) {
    return checks.list().map(({ rule, at, detail }) => `${rule} ${at.start.line} ${detail}`);
}
describe("build checks", () => {
    it("stage names: casing, reserved, doubled", async () => {
        assert.deepEqual(await check("FROM a AS App\nFROM b AS app\nFROM c AS scratch\n"), [
            "StageNameCasing 1 Stage name 'App' should be lowercase",
            'DuplicateStageName 2 Duplicate stage name "app", stage names should be unique',
            'ReservedStageName 3 Stage name should not use the same name as reserved stage "scratch"',
        ]);
    });
    it("casing of AS and of keywords", async () => {
        assert.deepEqual(await check("arg X\nFROM a as b\nrun x\nUser y\nRUN z\n"), [
            "FromAsCasing 2 'as' and 'FROM' keywords' casing do not match",
            "ConsistentInstructionCasing 3 Command 'run' should match the case of the command majority (uppercase)",
            "ConsistentInstructionCasing 4 Command 'User' should match the case of the command majority (uppercase)",
        ]);
    });
    it("empty continuation lines, MAINTAINER, old key/value form", async () => {
        assert.deepEqual(await check("FROM a\nRUN x \\\n\n  y\nMAINTAINER me\nENV a b\nLABEL c d\n"), [
            "NoEmptyContinuation 4 Empty continuation line",
            "MaintainerDeprecated 5 Maintainer instruction is deprecated in favor of using label",
            'LegacyKeyValueFormat 6 "ENV key=value" should be used instead of legacy "ENV key value" format',
            'LegacyKeyValueFormat 7 "LABEL key=value" should be used instead of legacy "LABEL key value" format',
        ]);
    });
    it("the shell form, unless a shell was chosen, and commands nobody will see", async () => {
        const multiple = "Multiple CMD instructions should not be used in the same stage because only the last one will be used";
        assert.deepEqual(await check('FROM a\nCMD x\nSHELL ["s"]\nENTRYPOINT y\nCMD ["z"]\nFROM b\nCMD ["q"]\n'), [
            "JSONArgsRecommended 2 JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
            `MultipleInstructionsDisallowed 2 ${multiple}`,
        ]);
    });
    it("names that look like secrets", async () => {
        const found = await check("FROM a\nARG db_password\nENV GITHUB_TOKEN=x KEYS=y PUBLIC_KEY=z\nARG auth token_file monkey ApiKey\n");
        assert.deepEqual(found.map((line) => line.replace("Do not use ARG or ENV instructions for sensitive data ", "")), [
            'SecretsUsedInArgOrEnv 2 (ARG "db_password")',
            'SecretsUsedInArgOrEnv 3 (ENV "GITHUB_TOKEN")',
            'SecretsUsedInArgOrEnv 4 (ARG "auth")',
            'SecretsUsedInArgOrEnv 4 (ARG "ApiKey")',
        ]);
    });
    it("descriptions that do not start with the name, when asked for", async () => {
        const text = "# text\nARG foo\n# base is it\nFROM a AS base\n# other\nARG a b\n";
        assert.deepEqual(await check(text), []);
        assert.deepEqual(await check(`# check=experimental=all\n${text}`), [
            "InvalidDefinitionDescription 3 Comment for ARG should follow the format: `# foo <description>`",
            "InvalidDefinitionDescription 7 Comment for ARG should follow the format: `# <arg_key> <description>`",
        ]);
    });
});
describe("switching checks off", () => {
    const text = "FROM a\nMAINTAINER x\nENV a b\n";
    const rules = async (directive, buildArg = null) => (await check(directive + text, buildArg)).map((line) => line.split(" ")[0] ?? "");
    it("by the directive, all or some, with a remark behind it", async () => {
        assert.deepEqual(await rules(""), ["MaintainerDeprecated", "LegacyKeyValueFormat"]);
        assert.deepEqual(await rules("# check=skip=all\n"), []);
        assert.deepEqual(await rules("# check=skip=MaintainerDeprecated,X // why\n"), ["LegacyKeyValueFormat"]);
    });
    it("by the build argument, which takes the place of the directive", async () => {
        assert.deepEqual(await rules("# check=skip=all\n", "skip=MaintainerDeprecated"), [
            "LegacyKeyValueFormat",
        ]);
        assert.equal((await rules("# check=skip=all\n", "")).length, 2);
    });
    it("by a comment above an instruction, for that instruction", async () => {
        assert.deepEqual(await check("FROM a\n# check=skip=LegacyKeyValueFormat\nENV a b\nENV c d\n# check=skip=all\nMAINTAINER x\n"), ['LegacyKeyValueFormat 4 "ENV key=value" should be used instead of legacy "ENV key value" format']);
    });
    it("refuses options it does not know", () => {
        const at = { file: "f", start: { line: 1, column: 1 }, end: { line: 1, column: 9 } };
        const open = (value) => () => openChecks({ name: "check", value, at });
        assert.throws(open("nope=1"), /invalid check option "nope"/);
        assert.throws(open("skip"), /invalid check option "skip"/);
        assert.throws(open("error=maybe"), (error) => error instanceof BuildError && error.code === "DOCKERFILE_SYNTAX" && error.at === at);
        assert.throws(() => openChecks(null, "x=y"), (error) => error instanceof BuildError && error.code === "USAGE");
    });
});
describe("findings", () => {
    it("fail the build only with error=true", async () => {
        assert.equal((await run("FROM a\nMAINTAINER x\n")).failure(), null);
        const clean = await run("# check=error=true\nFROM a\n");
        assert.deepEqual([clean.failOnWarning, clean.failure()], [true, null]);
        const error = (await run("# check=error=true\nFROM a\nENV a b\nMAINTAINER x\nENV c d\n")).failure();
        assert.equal(error?.code, "CHECKS_FAILED");
        assert.equal(error?.message, "lint violation found for rules: LegacyKeyValueFormat, MaintainerDeprecated");
    });
    it("are listed by line, with all that was found", () => {
        const checks = openChecks(null);
        const at = (line) => ({ file: "f", start: { line, column: 1 }, end: { line, column: 5 } });
        checks.warn("UndefinedVar", "b", at(4));
        checks.warn("UndefinedVar", "b", at(4));
        checks.warn("WorkdirRelativePath", "a", at(2));
        assert.deepEqual(show(checks), ["WorkdirRelativePath 2 a", "UndefinedVar 4 b", "UndefinedVar 4 b"]);
        assert.equal(checks.list()[0]?.url, "https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/");
    });
    it("link to their pages", () => {
        const slug = (rule) => ruleUrl(rule).split("/").at(-2) ?? "";
        assert.equal(slug("JSONArgsRecommended"), "json-args-recommended");
        assert.equal(slug("FromPlatformFlagConstDisallowed"), "from-platform-flag-const-disallowed");
        assert.equal(slug("SecretsUsedInArgOrEnv"), "secrets-used-in-arg-or-env");
        assert.equal(slug("InvalidDefaultArgInFrom"), "invalid-default-arg-in-from");
    });
    it("suggest the name that was meant", () => {
        assert.equal(undefinedVar("PAHT", ["PATH"]), "Usage of undefined variable '$PAHT' (did you mean $PATH?)");
        assert.equal(undefinedVar("fo", []), "Usage of undefined variable '$fo'");
        assert.equal(undefinedArgInFrom("VERSIO", ["VERSION", "X"]), "FROM argument 'VERSIO' is not declared (did you mean VERSION?)");
    });
});
//# sourceMappingURL=checks.test.js.map