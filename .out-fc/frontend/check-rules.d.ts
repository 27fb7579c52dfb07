export interface CheckRule {
    readonly description: string;
    /** Runs only when asked for with `experimental=`, and `skip=` does not count for it. */
    readonly experimental: boolean;
}
declare const RULES: {
    readonly StageNameCasing: "Stage names should be lowercase";
    readonly FromAsCasing: "The 'as' keyword should match the case of the 'from' keyword";
    readonly NoEmptyContinuation: "Empty continuation lines will become errors in a future release";
    readonly ConsistentInstructionCasing: "All commands within the Dockerfile should use the same casing (either upper or lower)";
    readonly DuplicateStageName: "Stage names should be unique";
    readonly ReservedStageName: "Reserved words should not be used as stage names";
    readonly JSONArgsRecommended: "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals";
    readonly MaintainerDeprecated: "The MAINTAINER instruction is deprecated, use a label instead to define an image author";
    readonly UndefinedArgInFrom: "FROM command must use declared ARGs";
    readonly WorkdirRelativePath: "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes";
    readonly UndefinedVar: "Variables should be defined before their use";
    readonly MultipleInstructionsDisallowed: "Multiple instructions of the same type should not be used in the same stage";
    readonly LegacyKeyValueFormat: "Legacy key/value format with whitespace separator should not be used";
    readonly InvalidBaseImagePlatform: "Base image platform does not match expected target platform";
    readonly RedundantTargetPlatform: "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior";
    readonly SecretsUsedInArgOrEnv: "Sensitive data should not be used in the ARG or ENV commands";
    readonly InvalidDefaultArgInFrom: "Default value for global ARG results in an empty or invalid base image name";
    readonly FromPlatformFlagConstDisallowed: "FROM --platform flag should not use a constant value";
    readonly CopyIgnoredFile: "Attempting to Copy file that is excluded by .dockerignore";
    readonly InvalidDefinitionDescription: "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.";
    readonly ExposeProtoCasing: "Protocol in EXPOSE instruction should be lowercase";
    readonly ExposeInvalidFormat: "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release";
};
export type RuleName = keyof typeof RULES;
export declare function ruleOf(name: RuleName): CheckRule;
/** Where a rule is explained. */
export declare function ruleUrl(name: RuleName): string;
export {};
