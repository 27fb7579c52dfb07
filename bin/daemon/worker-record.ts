// What clients are told of the only worker: this machine.

import { create } from "@bufbuild/protobuf";
import { hostname } from "node:os";
import { hostPlatform } from "../../solver/graph/platform.ts";
import {
  type BuildkitVersion,
  BuildkitVersionSchema,
  type WorkerRecord,
  WorkerRecordSchema,
} from "../wire/messages/moby/buildkit/v1/types/worker_pb.ts";
import type { WorkerSettings } from "./config.ts";

const PREFIX = "org.mobyproject.buildkit.worker.";

/** The record of this worker, with the labels and platforms of the settings. */
export function workerRecord(version: string, { labels, platforms }: WorkerSettings): WorkerRecord {
  return create(WorkerRecordSchema, {
    ID: "tsbuild",
    Labels: {
      [`${PREFIX}executor`]: "tsbuild",
      [`${PREFIX}hostname`]: hostname(),
      [`${PREFIX}network`]: "sandbox",
      [`${PREFIX}snapshotter`]: "overlayfs",
      ...labels,
    },
    platforms: (platforms ?? [hostPlatform()]).map(({ os, architecture, variant }) => ({
      $typeName: "pb.Platform" as const,
      OS: os,
      Architecture: architecture,
      Variant: variant ?? "",
      OSVersion: "",
      OSFeatures: [],
    })),
    BuildkitVersion: versionOf(version),
  });
}

export function versionOf(version: string): BuildkitVersion {
  return create(BuildkitVersionSchema, { package: "tsbuild", version: `v${version}`, revision: "" });
}
