// What frontends of clients attest of their results: BuildKit's client_export_metadata_test.go (testAttestationBundle, testExportAttestations,
// testSBOMScan, testSBOMSupplements) by direct calls.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { ClientHttp2Session } from "node:http2";
import type {
  Attestation,
  InTotoSubject,
} from "../../bin/wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import { formatPlatform } from "../../solver/graph/op.ts";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { type CalledDaemon, openCalledDaemon } from "../support/daemon.ts";
import { type DebianRegistry, startRegistry } from "../support/registry.ts";
import { SCANNER } from "../support/scanner-image.ts";
import { ordinaryUser } from "../support/unprivileged.ts";
import { type Draft, type Driven, files, mkdir, mkfile, openDriven, symlink } from "./driven.ts";

const BUNDLE = 1 satisfies Attestation["kind"];
const RAW = 1;
const SPDX = "https://spdx.dev/Document";
/** An Attestation message without its result. */
interface Attests {
  readonly kind?: Attestation["kind"];
  readonly path: string;
  readonly inTotoPredicateType?: string;
  readonly inTotoSubjects?: {
    readonly kind?: InTotoSubject["kind"];
    readonly name?: string;
    readonly digest?: string[];
  }[];
  readonly metadata?: { [key: string]: Uint8Array };
}

interface Statement {
  readonly predicateType: string;
  readonly subject: readonly { readonly name: string; readonly digest: Readonly<Record<string, string>> }[];
  readonly predicate: unknown;
}

const account = ordinaryUser();

describe(`attestations of frontends, exported by tsbuildd as ${account.name}`, function () {
  this.timeout(60_000);
  let shop: Workshop;
  let daemon: CalledDaemon;
  let http: ClientHttp2Session;
  let registry: DebianRegistry;
  let serial = 0;
  const { signal } = new AbortController();
  const client: Driven = openDriven(() => http, signal);
  const platform = formatPlatform(hostPlatform());

  before(async () => {
    registry = await startRegistry();
    shop = await openWorkshop(account);
    daemon = await openCalledDaemon(shop);
    ({ http } = daemon);
  });
  after(async () => {
    await daemon[Symbol.asyncDispose]();
    await registry[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
  });

  const digestIn = (name: string): string => name.slice("sha256:".length);
  const get = async <T>(path: string): Promise<T> =>
    (await (
      await fetch(`http://${registry.host}/v2/${path}`, {
        headers: {
          accept: "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json",
        },
      })
    ).json()) as T;

  /** A pushed image with one file, and what is said of it: made by `drafts`, as `attests` has it. */
  async function said(
    drafts: readonly Draft[],
    attests: readonly Attests[],
    options: Readonly<Record<string, string>> = {},
    isSingle = false,
  ): Promise<{
    readonly name: string;
    readonly image: string;
    readonly layer: string;
    readonly statements: Statement[];
  }> {
    const repository = `said${serial++}`;
    const name = `${registry.host}/${repository}:1`;
    await client.driven(
      async (bridge) => {
        const image = await bridge.solve(files([mkfile("/greeting", repository, 0o600)]));
        const written = await bridge.solve(files(drafts));
        return {
          metadata: {
            "refs.platforms": Buffer.from(
              JSON.stringify({ Platforms: [{ ID: platform, Platform: hostPlatform() }] }),
            ),
          },
          // A result of one directory becomes an index where something is said of it.
          result: isSingle
            ? { case: "ref", value: image }
            : { case: "refs", value: { refs: { [platform]: image } } },
          attestations: { [platform]: { attestation: attests.map((one) => ({ ...one, ref: written })) } },
        };
      },
      {
        FrontendAttrs: options,
        Exporters: [{ Type: "image", Attrs: { name, push: "true", "registry.insecure": "true" } }],
      },
    );
    interface Documents {
      readonly manifests: readonly { readonly digest: string }[];
      readonly layers: readonly { readonly digest: string }[];
    }
    const { manifests } = await get<Documents>(`${repository}/manifests/1`);
    const [image, attached, ...others] = manifests;
    assert.ok(image && attached && others.length === 0);
    const { layers } = await get<Documents>(`${repository}/manifests/${image.digest}`);
    const made = await get<Documents>(`${repository}/manifests/${attached.digest}`);
    const statements = await Promise.all(
      made.layers.map(({ digest }) => get<Statement>(`${repository}/blobs/${digest}`)),
    );
    return { name, image: digestIn(image.digest), layer: layers[0]?.digest ?? "", statements };
  }

  it("are predicates in files, about the image or what the frontend says", async () => {
    const sha256 = createHash("sha256").update("x").digest("hex");
    const { image, statements } = await said(
      [
        mkdir("/a", 0o755),
        mkfile("/a/one.json", '{"big": 12345678901234567890}', 0o600),
        mkfile("/two", "", 0o600),
      ],
      [
        { path: "/a/one.json", inTotoPredicateType: "https://example.com/one" },
        {
          path: "two",
          inTotoPredicateType: "https://example.com/two",
          inTotoSubjects: [{ kind: RAW, name: "/file", digest: [`sha256:${sha256}`] }],
        },
        {
          path: "../a/./one.json",
          inTotoPredicateType: "https://example.com/three",
          inTotoSubjects: [{ name: "alias" }],
        },
      ],
    );
    const [one, two, three] = statements;
    assert.equal(one?.predicateType, "https://example.com/one");
    assert.match(one?.subject[0]?.name ?? "", /^pkg:docker\/.*\/said\d+@1\?platform=/);
    assert.deepEqual(one?.subject[0]?.digest, { sha256: image });
    assert.deepEqual([two?.subject, two?.predicate], [[{ name: "/file", digest: { sha256 } }], null]);
    assert.deepEqual(three?.subject, [one?.subject[0], { name: "alias", digest: { sha256: image } }]);
  });

  it("are bundles: each file of a directory is a statement", async () => {
    const statement = (type: string, more: object = {}): string =>
      JSON.stringify({ predicateType: type, predicate: { foo: "1" }, ...more });
    const subject = [{ name: "other", digest: { sha256: "ab" } }];
    const { image, statements } = await said(
      [
        mkdir("/bundle", 0o700),
        mkfile("/bundle/a.json", statement("https://example.com/v1"), 0o600),
        mkfile("/bundle/b", statement("https://example.com/v2", { subject }), 0o600),
      ],
      [{ kind: BUNDLE, path: "/bundle" }],
    );
    const [first, second] = statements;
    assert.deepEqual([first?.predicateType, first?.predicate], ["https://example.com/v1", { foo: "1" }]);
    assert.equal(first?.subject[0]?.digest["sha256"], image);
    assert.deepEqual(second?.subject, subject);
  });

  it("that are bills of materials stand in place of a scan, with layers of their files", async () => {
    const bom = (name: string): string =>
      JSON.stringify({
        spdxVersion: "SPDX-2.2",
        name,
        files: [{ fileName: "greeting" }, { fileName: "/bar" }],
      });
    const { layer, statements } = await said(
      [mkfile("/result.spdx", bom("frontend"), 0o600)],
      [
        {
          path: "/result.spdx",
          inTotoPredicateType: SPDX,
          metadata: { reason: Buffer.from("sbom"), "sbom-core": Buffer.from("result") },
        },
      ],
      { "attest:sbom": "generator=h.io/not-asked-for:1" },
    );
    assert.equal(statements.length, 1);
    const [{ predicate } = { predicate: null }] = statements;
    const { name, files: described } = predicate as { name: string; files: { comment?: string }[] };
    assert.deepEqual(
      [name, ...described.map(({ comment }) => comment)],
      ["frontend", `layerID: ${layer}`, undefined],
    );
  });

  it("are left to scanners where there is no bill of materials", async () => {
    const scanner = `${registry.host}/scanner:1`;
    await shop.ok(["build", "--push", "-t", scanner, shop.context("scanner", SCANNER)], {
      root: shop.at("own"),
    });
    const asked = { "attest:sbom": `"generator=${scanner}","KEY=a,b"` };
    const drafts = [mkfile("/x", "{}", 0o600)];
    const { statements } = await said(drafts, [{ path: "/x", inTotoPredicateType: "t" }], asked, true);
    assert.deepEqual(
      statements.map(({ predicateType, predicate }) => [predicateType, (predicate as { saw?: string }).saw]),
      [
        [SPDX, "greeting"],
        ["t", undefined],
      ],
    );
  });

  it("are refused in one sentence where they are none", async () => {
    const slsa = "https://slsa.dev/provenance/v1";
    for (const [drafts, attests, words] of [
      [[], { path: "" }, /an attestation of the result does not have set path$/],
      [[], { path: "/none" }, /\/none: no such file or directory$/],
      [[], { path: "/" }, /\/, written by the frontend, is not the name of a file$/],
      [[], { kind: 7, path: "/x" }, /unknown attestation kind 7$/],
      [[], { path: "/x", inTotoPredicateType: slsa }, /is provenance, which only the builder can attest$/],
      [
        [mkfile("/j", "{", 0o600)],
        { path: "/j", inTotoPredicateType: "t" },
        /\/j, written by the frontend, is not JSON$/,
      ],
      // A name is no line of its own in a log.
      [
        [mkfile("/j\u001b\nERROR: x", "{", 0o600)],
        { path: "/j\u001b\nERROR: x", inTotoPredicateType: "t" },
        /\/j\\u001b\\nERROR: x, written by the frontend, is not JSON$/,
      ],
      [[symlink("/l", "../../../etc/hostname")], { path: "/l" }, /\/l: no such file or directory$/],
      [[], { kind: BUNDLE, path: "/x" }, /\/x is not a directory$/],
      [
        [],
        { path: "/x", inTotoSubjects: [{ kind: RAW, digest: ["sha256"] }] },
        /sha256 is not the digest of a subject$/,
      ],
    ] as const)
      await assert.rejects(said([mkfile("/x", "{}", 0o600), ...drafts], [attests as unknown as Attests]), {
        message: words,
      });
  });
});
