// For each build check: why it exists, a Dockerfile it warns about, and one it does not. docs/checks/generate.mjs makes the
// pages from this table, test/build/check-pages.test.ts proves the examples.

/** @type {Readonly<Record<string, { why: string, bad: string, good: string, context?: Record<string, string>, enable?: true }>>} */
export const EXAMPLES = {
  StageNameCasing: {
    why: "Stage names are compared without regard to case; lowercase names show them as the program sees them and set them apart from instructions.",
    bad: "FROM scratch AS Builder\nCOPY file /\n",
    good: "FROM scratch AS builder\nCOPY file /\n",
  },
  FromAsCasing: {
    why: "`FROM` and `as` are keywords of one instruction; written in one case they are read as one.",
    bad: "FROM scratch as builder\nCOPY file /\n",
    good: "FROM scratch AS builder\nCOPY file /\n",
  },
  NoEmptyContinuation: {
    why: "An empty line after a line that ends in `\\` is skipped, which hides that the instruction goes on.",
    bad: "FROM scratch\nCOPY file \\\n\n  /\n",
    good: "FROM scratch\nCOPY file \\\n  /\n",
  },
  ConsistentInstructionCasing: {
    why: "Instructions work in any case; in one file they should all be written alike.",
    bad: "FROM scratch\ncopy file /\nENV A=b\n",
    good: "FROM scratch\nCOPY file /\nENV A=b\n",
  },
  DuplicateStageName: {
    why: "Of two stages with one name only the later can be meant by `--target` and the nearest by `COPY --from`, which is easily not the one that was.",
    bad: "FROM scratch AS build\nCOPY file /\nFROM scratch AS build\nCOPY file /\n",
    good: "FROM scratch AS build\nCOPY file /\nFROM scratch AS release\nCOPY file /\n",
  },
  ReservedStageName: {
    why: "`scratch` and `context` mean something of their own where a stage can be named.",
    bad: "FROM scratch AS context\nCOPY file /\n",
    good: "FROM scratch AS files\nCOPY file /\n",
  },
  JSONArgsRecommended: {
    why: "The shell form runs the command below `/bin/sh -c`, which does not pass signals on: the container does not stop when asked to.",
    bad: "FROM scratch\nCOPY file /\nENTRYPOINT /file --serve\n",
    good: 'FROM scratch\nCOPY file /\nENTRYPOINT ["/file", "--serve"]\n',
  },
  MaintainerDeprecated: {
    why: "`MAINTAINER` is a field few programs read. A label can be found by any of them.",
    bad: "FROM scratch\nMAINTAINER someone@example.com\nCOPY file /\n",
    good: 'FROM scratch\nLABEL org.opencontainers.image.authors="someone@example.com"\nCOPY file /\n',
  },
  UndefinedArgInFrom: {
    why: "A variable in `FROM` must be declared by an `ARG` before the first `FROM`; otherwise it is empty.",
    bad: "FROM scratch AS base\nFROM base${VARIANT}\nCOPY file /\n",
    good: "ARG VARIANT=\nFROM scratch AS base\nFROM base${VARIANT}\nCOPY file /\n",
  },
  WorkdirRelativePath: {
    why: "A relative `WORKDIR` starts at the base image's working directory, which may be another one tomorrow.",
    bad: "FROM scratch\nWORKDIR app\nCOPY file .\n",
    good: "FROM scratch\nWORKDIR /app\nCOPY file .\n",
  },
  UndefinedVar: {
    why: "A variable that nothing defines expands to nothing. Often it is a typing error.",
    bad: "FROM scratch\nARG VERSION=1\nLABEL version=$VERSOIN\n",
    good: "FROM scratch\nARG VERSION=1\nLABEL version=$VERSION\n",
  },
  MultipleInstructionsDisallowed: {
    why: "Of several `CMD`, `ENTRYPOINT` or `HEALTHCHECK` in a stage only the last counts.",
    bad: 'FROM scratch\nCOPY file /\nCMD ["/file", "a"]\nCMD ["/file", "b"]\n',
    good: 'FROM scratch\nCOPY file /\nCMD ["/file", "b"]\n',
  },
  LegacyKeyValueFormat: {
    why: "`ENV name value` takes the rest of the line as one value, and cannot set two variables.",
    bad: "FROM scratch\nCOPY file /\nENV DIR /data\n",
    good: "FROM scratch\nCOPY file /\nENV DIR=/data\n",
  },
  InvalidBaseImagePlatform: {
    why: "The base image is for another platform than the one that is built: its programs may not run.",
    bad: "",
    good: "FROM scratch\nCOPY file /\n",
  },
  RedundantTargetPlatform: {
    why: "`$TARGETPLATFORM` is what `FROM` takes by itself.",
    bad: "FROM --platform=$TARGETPLATFORM scratch\nCOPY file /\n",
    good: "FROM --platform=$BUILDPLATFORM scratch\nCOPY file /\n",
  },
  SecretsUsedInArgOrEnv: {
    why: "Values of `ARG` and `ENV` stay in the image's history and configuration for everybody who can pull it. `RUN --mount=type=secret` leaves no trace.",
    bad: "FROM scratch\nARG GITHUB_TOKEN\nCOPY file /\n",
    good: "FROM scratch\nARG GITHUB_USER\nCOPY file /\n",
  },
  InvalidDefaultArgInFrom: {
    why: "Built without `--build-arg`, the name of the base image would be empty or no name at all.",
    bad: "ARG TAG\nFROM busybox:${TAG}\nCOPY file /\n",
    good: "ARG TAG=1\nFROM scratch AS base1\nCOPY file /\nFROM base${TAG}\n",
  },
  FromPlatformFlagConstDisallowed: {
    why: "A constant platform makes a stage that is the same for every target. Stages that are meant to be say so in their name.",
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
    why: "A comment right above a stage or a build argument is shown by `--call=outline` as its description, and begins with its name for that.",
    bad: "# the files\nFROM scratch AS files\nCOPY file /\n",
    good: "# files holds the files\nFROM scratch AS files\nCOPY file /\n",
    enable: true,
  },
  ExposeProtoCasing: {
    why: "Protocols are written in lowercase wherever they are read again.",
    bad: "FROM scratch\nCOPY file /\nEXPOSE 80/TCP\n",
    good: "FROM scratch\nCOPY file /\nEXPOSE 80/tcp\n",
  },
  ExposeInvalidFormat: {
    why: "`EXPOSE` says which port a program listens on. Addresses and ports of the host belong to the command that starts it.",
    bad: "FROM scratch\nCOPY file /\nEXPOSE 127.0.0.1:80:80\n",
    good: "FROM scratch\nCOPY file /\nEXPOSE 80\n",
  },
};
