// The examples that others deploy: manifests of Kubernetes by its schemas, and what they tell the daemon by its own parser.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { parseFlags } from "../bin/args.ts";
import { readSettings } from "../bin/daemon/config.ts";
import { DAEMON_FLAGS } from "../bin/daemon/config-flags.ts";
import { projectDir } from "./support/project.ts";
import { temporaryDir } from "./support/store.ts";

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
}
interface Pod {
  readonly hostUsers: boolean;
  readonly terminationGracePeriodSeconds: number;
  readonly containers: readonly {
    readonly args: readonly string[];
    readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  }[];
  readonly volumes: readonly { readonly name: string }[];
}
interface Workload extends Manifest {
  readonly spec: {
    readonly template: { readonly spec: Pod };
    readonly volumeClaimTemplates?: readonly Manifest[];
  };
}
type Model = new (data: unknown) => { validate(): void };

describe("examples/kubernetes", () => {
  const directory = join(projectDir, "examples/kubernetes");
  const manifests = readdirSync(directory)
    .filter((name) => name.endsWith(".yaml"))
    .flatMap((name) => parseAllDocuments(readFileSync(join(directory, name), "utf8")))
    .map((document) => {
      assert.deepEqual(document.errors, []);
      return document.toJS() as Manifest;
    });
  const load = createRequire(import.meta.url);
  const validate = (manifest: Manifest): void => {
    const models = load(`kubernetes-models/${manifest.apiVersion}`) as Readonly<Record<string, Model>>;
    const model = models[manifest.kind];
    assert.ok(model, `${manifest.apiVersion} ${manifest.kind}`);
    new model(manifest).validate();
  };
  const named = (kind: string): Workload => {
    const found = manifests.find((one) => one.kind === kind);
    assert.ok(found, kind);
    return found as Workload;
  };

  it("has manifests of all kinds that are needed, each by its schema", () => {
    assert.deepEqual(manifests.map(({ kind }) => kind).sort(), [
      "ConfigMap",
      "Deployment",
      "HorizontalPodAutoscaler",
      "Secret",
      "Service",
      "Service",
      "StatefulSet",
    ]);
    for (const manifest of manifests) validate(manifest);
    const wrong = structuredClone(named("Deployment")) as {
      spec: { template: { spec: { hostUsers: unknown } } };
    };
    wrong.spec.template.spec.hostUsers = "no";
    assert.throws(() => validate(wrong as unknown as Manifest), /hostUsers must be boolean/);
  });

  it("starts the daemon with flags and a configuration that it takes, and gives it the time to end", async () => {
    using dir = temporaryDir();
    const path = dir.at("buildkitd.toml");
    const { data } = named("ConfigMap") as unknown as { readonly data: Readonly<Record<string, string>> };
    writeFileSync(path, data["buildkitd.toml"] ?? "");
    for (const kind of ["Deployment", "StatefulSet"]) {
      const { template, volumeClaimTemplates = [] } = named(kind).spec;
      const { hostUsers, containers, volumes, terminationGracePeriodSeconds } = template.spec;
      assert.equal(hostUsers, false);
      const [container] = containers;
      assert.ok(container);
      const settings = await readSettings(parseFlags(DAEMON_FLAGS, [...container.args, "--config", path]), {
        ...{ program: "buildkitd", env: {}, cwd: "/", isRoot: true },
      });
      assert.deepEqual(settings.remarks, []);
      assert.ok(settings.drainMs / 1000 < terminationGracePeriodSeconds);
      // Where buildctl looks for it, the state is kept, and the files of TLS are.
      assert.ok(
        settings.addresses.some((one) => one.kind === "unix" && one.path === "/run/buildkit/buildkitd.sock"),
      );
      const mounted = new Map(container.volumeMounts.map(({ name, mountPath }) => [mountPath, name]));
      assert.equal(mounted.get(settings.root ?? ""), "state");
      const tcp = settings.addresses.find((one) => one.kind === "tcp");
      assert.equal(tcp?.kind === "tcp" && tcp.tls?.cert, "/certs/cert.pem");
      const known = [
        ...volumes.map(({ name }) => name),
        ...volumeClaimTemplates.map(({ metadata }) => metadata.name),
      ];
      assert.deepEqual([...mounted.values()].sort(), known.sort());
    }
  });
});
