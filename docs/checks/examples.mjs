// For each build check: why it exists, a Dockerfile it warns about, and one it does not. docs/checks/generate.mjs makes the
// pages from this table, test/build/check-pages.test.ts proves the examples.

/** @type {Readonly<Record<string, { why: string, bad: string, good: string, context?: Record<string, string>, enable?: true }>>} */
export const EXAMPLES = {
  StageNameCasing: {
    why: "Stage names are case-insensitive; lowercase names are consistent and easy to tell from instructions.",
    bad: "FROM scratch AS Builder\nCOPY file /\n",
    good: "FROM scratch AS builder\nCOPY file /\n",
  },
  FromAsCasing: {
    why: "`FROM` and `as` are keywords of one instruction; using the same case makes it easier to read.",
    bad: "FROM scratch as builder\nCOPY file /\n",
    good: "FROM scratch AS builder\nCOPY file /\n",
  },
  NoEmptyContinuation: {
    why: "An empty line after a line that ends in `\\` is skipped, which hides that the instruction continues.",
    bad: "FROM scratch\nCOPY file \\\n\n  /\n",
    good: "FROM scratch\nCOPY file \\\n  /\n",
  },
  ConsistentInstructionCasing: {
    why: "Instructions are case-insensitive; within one file they should use the same case.",
    bad: "FROM scratch\ncopy file /\nENV A=b\n",
    good: "FROM scratch\nCOPY file /\nENV A=b\n",
  },
  DuplicateStageName: {
    why: "If two stages have the same name, `--target` selects the later one and `COPY --from` the nearest one, which may not be the intended stage.",
    bad: "FROM scratch AS build\nCOPY file /\nFROM scratch AS build\nCOPY file /\n",
    good: "FROM scratch AS build\nCOPY file /\nFROM scratch AS release\nCOPY file /\n",
  },
  ReservedStageName: {
    why: "`scratch` and `context` have a special meaning where a stage name is expected.",
    bad: "FROM scratch AS context\nCOPY file /\n",
    good: "FROM scratch AS files\nCOPY file /\n",
  },
  JSONArgsRecommended: {
    why: "The shell form runs the command under `/bin/sh -c`, which does not forward signals: the container does not react to stop signals.",
    bad: "FROM scratch\nCOPY file /\nENTRYPOINT /file --serve\n",
    good: 'FROM scratch\nCOPY file /\nENTRYPOINT ["/file", "--serve"]\n',
  },
  MaintainerDeprecated: {
    why: "`MAINTAINER` is a deprecated field that few programs read. Labels are supported by all of them.",
    bad: "FROM scratch\nMAINTAINER someone@example.com\nCOPY file /\n",
    good: 'FROM scratch\nLABEL org.opencontainers.image.authors="someone@example.com"\nCOPY file /\n',
  },
  UndefinedArgInFrom: {
    why: "A variable in `FROM` must be declared by an `ARG` before the first `FROM`; otherwise it is empty.",
    bad: "FROM scratch AS base\nFROM base${VARIANT}\nCOPY file /\n",
    good: "ARG VARIANT=\nFROM scratch AS base\nFROM base${VARIANT}\nCOPY file /\n",
  },
  WorkdirRelativePath: {
    why: "A relative `WORKDIR` starts at the base image's working directory, which may change.",
    bad: "FROM scratch\nWORKDIR app\nCOPY file .\n",
    good: "FROM scratch\nWORKDIR /app\nCOPY file .\n",
  },
  UndefinedVar: {
    why: "An undefined variable expands to an empty string. Often it is a typo.",
    bad: "FROM scratch\nARG VERSION=1\nLABEL version=$VERSOIN\n",
    good: "FROM scratch\nARG VERSION=1\nLABEL version=$VERSION\n",
  },
  MultipleInstructionsDisallowed: {
    why: "Of several `CMD`, `ENTRYPOINT` or `HEALTHCHECK` in a stage only the last one is used.",
    bad: 'FROM scratch\nCOPY file /\nCMD ["/file", "a"]\nCMD ["/file", "b"]\n',
    good: 'FROM scratch\nCOPY file /\nCMD ["/file", "b"]\n',
  },
  LegacyKeyValueFormat: {
    why: "`ENV name value` takes the rest of the line as one value, and cannot set two variables.",
    bad: "FROM scratch\nCOPY file /\nENV DIR /data\n",
    good: "FROM scratch\nCOPY file /\nENV DIR=/data\n",
  },
  InvalidBaseImagePlatform: {
    why: "The base image is for a different platform than the build target: its programs may not run.",
    bad: "",
    good: "FROM scratch\nCOPY file /\n",
  },
  RedundantTargetPlatform: {
    why: "`$TARGETPLATFORM` is the default of `FROM`.",
    bad: "FROM --platform=$TARGETPLATFORM scratch\nCOPY file /\n",
    good: "FROM --platform=$BUILDPLATFORM scratch\nCOPY file /\n",
  },
  SecretsUsedInArgOrEnv: {
    why: "Values of `ARG` and `ENV` are visible in the image's history and configuration to everyone who can pull it. `RUN --mount=type=secret` leaves no trace.",
    bad: "FROM scratch\nARG GITHUB_TOKEN\nCOPY file /\n",
    good: "FROM scratch\nARG GITHUB_USER\nCOPY file /\n",
  },
  InvalidDefaultArgInFrom: {
    why: "Built without `--build-arg`, the name of the base image would be empty or invalid.",
    bad: "ARG TAG\nFROM busybox:${TAG}\nCOPY file /\n",
    good: "ARG TAG=1\nFROM scratch AS base1\nCOPY file /\nFROM base${TAG}\n",
  },
  FromPlatformFlagConstDisallowed: {
    why: "A constant platform makes the stage the same for every target. If that is intended, include the platform in the stage name.",
    bad: "FROM --platform=linux/amd64 scratch AS files\nCOPY file /\nFROM files\n",
    good: "FROM --platform=linux/amd64 scratch AS files_amd64\nCOPY file /\nFROM files_amd64\n",
  },
  CopyIgnoredFile: {
    why: "The file is excluded by `.dockerignore`, so the copy will fail or miss it.",
    bad: "FROM scratch\nCOPY notes.md /\n",
    good: "FROM scratch\nCOPY file /\n",
    context: { ".dockerignore": "*.md\n", "notes.md": "notes\n" },
  },
  InvalidDefinitionDescription: {
    why: "`--call=outline` shows a comment directly above a stage or build argument as its description; such comments must start with its name.",
    bad: "# the files\nFROM scratch AS files\nCOPY file /\n",
    good: "# files holds the files\nFROM scratch AS files\nCOPY file /\n",
    enable: true,
  },
  ExposeProtoCasing: {
    why: "Protocols are lowercase in the image config and in tools that read it.",
    bad: "FROM scratch\nCOPY file /\nEXPOSE 80/TCP\n",
    good: "FROM scratch\nCOPY file /\nEXPOSE 80/tcp\n",
  },
  ExposeInvalidFormat: {
    why: "`EXPOSE` documents the port a program listens on. Host addresses and ports are specified when the container is started.",
    bad: "FROM scratch\nCOPY file /\nEXPOSE 127.0.0.1:80:80\n",
    good: "FROM scratch\nCOPY file /\nEXPOSE 80\n",
  },
};
