// What clients are told of the only worker: this machine.

import { create } from "@bufbuild/protobuf";
import { hostname } from "node:os";
import { hostPlatforms } from "../engine/host-platforms.ts";
import {
  type BuildkitVersion,
  BuildkitVersionSchema,
  type GCPolicy,
  GCPolicySchema,
  type WorkerRecord,
  WorkerRecordSchema,
} from "../wire/messages/moby/buildkit/v1/types/worker_pb.ts";
import type { WorkerSettings } from "./config.ts";
import { type GcPolicy, type Space, spaceBytes } from "./config-values.ts";

const PREFIX = "org.mobyproject.buildkit.worker.";

/** Rules for the removal of cache, and the size of the disk they are about. */
export interface Collecting {
  readonly policies: readonly GcPolicy[];
  readonly diskBytes: number;
}

/** The record of this worker, with the labels and platforms of the settings; `collecting`: null where no rules hold. */
export function workerRecord(
  version: string,
  { labels, platforms }: WorkerSettings,
  collecting: Collecting | null,
): WorkerRecord {
  return create(WorkerRecordSchema, {
    GCPolicy:
      collecting === null ? [] : collecting.policies.map((policy) => policyOf(policy, collecting.diskBytes)),
    ID: "tsbuild",
    Labels: {
      [`${PREFIX}executor`]: "tsbuild",
      [`${PREFIX}hostname`]: hostname(),
      [`${PREFIX}network`]: "sandbox",
      [`${PREFIX}snapshotter`]: "overlayfs",
      ...labels,
    },
    platforms: (platforms ?? hostPlatforms()).map(({ os, architecture, variant }) => ({
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

function policyOf(policy: GcPolicy, diskBytes: number): GCPolicy {
  const bytes = (space: Space | null): bigint => (space === null ? 0n : BigInt(spaceBytes(space, diskBytes)));
  return create(GCPolicySchema, {
    all: policy.all,
    keepDuration: BigInt(policy.keepDurationMs) * 1_000_000n,
    reservedSpace: bytes(policy.reserved),
    maxUsedSpace: bytes(policy.maxUsed),
    minFreeSpace: bytes(policy.minFree),
    filters: [...policy.filters],
  });
}

/** The version of BuildKit whose API this is: clients switch features by it, such as provenance with 0.11. */
const SPOKEN = "0.31.0";

/** What clients are told of this program. Its own version is behind "+", which does not count when versions are compared (semver.org, 10). */
export function versionOf(version: string): BuildkitVersion {
  return create(BuildkitVersionSchema, {
    package: "tsbuild",
    version: `v${SPOKEN}+tsbuild.${version}`,
    revision: "",
  });
}
