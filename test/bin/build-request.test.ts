import { deepEqual, equal, rejects, throws } from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseFlags } from "../../bin/args.ts";
import { type BuildFlags, readBuildFlags } from "../../bin/build-request.ts";
import { buildRequest } from "../../bin/engine/defaults.ts";
import { BUILD_FLAGS } from "../../bin/flags-build.ts";
import {
  parseCsv,
  gatewayHosts,
  parseHosts,
  parsePlatform,
  parsePlatforms,
  parseSecret,
  parseSize,
  parseSsh,
  parseUlimit,
} from "../../bin/flags-values.ts";

function read(args: readonly string[], env: Record<string, string> = {}): Promise<BuildFlags> {
  const spec = { ...BUILD_FLAGS, name: "build", summary: "" };
  return readBuildFlags(parseFlags(spec, [...args, "."]), env, "/w", new Map(), new AbortController().signal);
}

describe("values of flags", () => {
  it("reads CSV with quoted fields", () => {
    deepEqual(parseCsv('type=oci,"dest=a,b","x=""y"""'), ["type=oci", "dest=a,b", 'x="y"']);
    throws(() => parseCsv('a,"b'), /unterminated quote/);
  });

  it("reads sizes in powers of 1024", () => {
    for (const [text, bytes] of [
      ["64m", 67108864],
      ["64MiB", 67108864],
      ["1.5g", 1610612736],
      ["1024", 1024],
      ["10kb", 10240],
      ["0", 0],
    ] as const) {
      equal(parseSize(text), bytes, text);
    }
    for (const text of ["", "m", "-1", "1x", "1 2", "9999p"]) throws(() => parseSize(text), /size/, text);
  });

  it("reads ulimits", () => {
    deepEqual(parseUlimit("nofile=1024:2048"), { name: "nofile", soft: 1024, hard: 2048 });
    deepEqual(parseUlimit("core=-1"), { name: "core", soft: -1, hard: -1 });
    throws(() => parseUlimit("nofile=2:1"), /soft limit must be less than or equal to hard limit: 2 > 1/);
    throws(() => parseUlimit("colour=1"), /invalid ulimit type: colour/);
    throws(() => parseUlimit("nofile"), /invalid ulimit argument/);
  });

  it("reads hosts in both forms, with brackets and the gateway word", async () => {
    deepEqual(await parseHosts(["a:1.2.3.4", "b=::1", "c:[::2]", "d:::3", "e:host-gateway,f=9.9.9.9"]), [
      { host: "a", ip: "1.2.3.4" },
      { host: "b", ip: "::1" },
      { host: "c", ip: "::2" },
      { host: "d", ip: "::3" },
      { host: "e", ip: "127.0.0.1" },
      { host: "f", ip: "9.9.9.9" },
    ]);
    for (const text of ["a", "a:", ":1.2.3.4", "a:nope"])
      await rejects(parseHosts([text]), /invalid host/, text);
    deepEqual(gatewayHosts(["a:1.2.3.4", "e:host-gateway,f=host-gateway"]), [
      "e:host-gateway",
      "f=host-gateway",
    ]);
  });

  it("reads secrets as buildx does", () => {
    const file = (path: string) => ({ kind: "file", path });
    const env = (name: string) => ({ kind: "env", name });
    deepEqual(parseSecret("id=a,src=/x", {}).from, file("/x"));
    deepEqual(parseSecret("id=a,source=/x,type=file", {}).from, file("/x"));
    deepEqual(parseSecret("id=a,env=B", {}).from, env("B"));
    deepEqual(parseSecret("type=env,id=a", {}).from, env("a"));
    deepEqual(parseSecret("type=env,id=a,src=B", {}).from, env("B"));
    deepEqual(parseSecret("id=a", {}).from, file("a"));
    deepEqual(parseSecret("id=a", { a: "1" }).from, env("a"));
    throws(() => parseSecret("src=/x", {}), /secret missing ID/);
    throws(() => parseSecret("id=a,colour=red", {}), /unexpected key 'colour'/);
    throws(() => parseSecret("id=a,type=vault", {}), /unsupported secret type "vault"/);
  });

  it("reads ssh ids and paths", () => {
    deepEqual(parseSsh("default"), { id: "default", paths: [] });
    deepEqual(parseSsh("x=/a,/b"), { id: "x", paths: ["/a", "/b"] });
  });

  it("normalizes platforms as containerd does", () => {
    for (const [text, want] of [
      ["linux/amd64", { os: "linux", architecture: "amd64" }],
      ["linux/x86_64", { os: "linux", architecture: "amd64" }],
      ["linux/arm64/v8", { os: "linux", architecture: "arm64" }],
      ["aarch64", { os: "linux", architecture: "arm64" }],
      ["linux/arm", { os: "linux", architecture: "arm", variant: "v7" }],
      ["linux/arm/6", { os: "linux", architecture: "arm", variant: "v6" }],
      ["armel", { os: "linux", architecture: "arm", variant: "v6" }],
    ] as const) {
      deepEqual(parsePlatform(text), want, text);
    }
    throws(() => parsePlatform("toaster"), /unknown operating system or architecture/);
    throws(() => parsePlatform("a/b/c/d"), /cannot parse platform specifier/);
    throws(
      () => parsePlatform("linux/"),
      /^BuildError: "" is an invalid component of "linux\/": platform specifier/,
    );
    const versions = parsePlatforms(["windows(1.2)/amd64,windows(1.1)/amd64", "windows(1.2)/amd64"]);
    deepEqual(
      versions.map(({ osVersion }) => osVersion),
      ["1.2", "1.1"],
    );
    equal(parsePlatforms(["linux/amd64,linux/arm64", "amd64"]).length, 2);
  });
});

describe("flags of build", () => {
  it("takes build arguments from the environment, and leaves out those it does not have", async () => {
    const { buildArgs } = await read(
      ["--build-arg", "A", "--build-arg", "B", "--build-arg", "C=1", "--build-arg", "C=2"],
      { A: "x" },
    );
    deepEqual(
      [...buildArgs],
      [
        ["A", "x"],
        ["C", "2"],
      ],
    );
  });

  it("takes build arguments from files, under those of the command line", async () => {
    const dir = mkdtempSync(join(tmpdir(), "tsbuild-args-"));
    try {
      writeFileSync(join(dir, "args"), "# versions\nA=1\n\n  B=two words \nC\nD=4\n");
      const { buildArgs } = await read(["--build-arg", "D=5", "--build-arg-file", join(dir, "args")], {
        C: "x",
      });
      deepEqual(Object.fromEntries(buildArgs), { A: "1", B: "two words", C: "x", D: "5" });
      await rejects(
        read(["--build-arg-file", join(dir, "no")]),
        /--build-arg-file .*no: cannot be read \(ENOENT\)/,
      );
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it("takes source policies of the variable and of flags as one list of rules, in this order", async () => {
    const dir = mkdtempSync(join(tmpdir(), "policies-"));
    try {
      for (const name of ["env", "one", "two"])
        writeFileSync(
          join(dir, name),
          JSON.stringify({ rules: [{ action: "DENY", selector: { identifier: `docker-image://${name}` } }] }),
        );
      const env = { EXPERIMENTAL_BUILDKIT_SOURCE_POLICY: join(dir, "env") };
      const flags = ["--source-policy", join(dir, "one"), `--source-policy-file=${join(dir, "two")}`];
      const { sourcePolicies } = await read(flags, env);
      deepEqual(
        sourcePolicies.map(({ rules }) => rules.map(({ selector }) => selector.identifier)),
        [["docker-image://env", "docker-image://one", "docker-image://two"]],
      );
      deepEqual((await read([])).sourcePolicies, []);
      for (const empty of [["--source-policy", ""], ["--source-policy-file="]])
        await rejects(read(empty), /--source-policy: the name of a file is missing/);
      await rejects(read(["--source-policy", join(dir, "none")]), /failed to read policy file: ENOENT/);
      writeFileSync(join(dir, "one"), "rules");
      await rejects(read(["--source-policy", join(dir, "one")]), (error: { hint?: string }) =>
        String(error.hint).startsWith(`${join(dir, "one")} is to be a JSON file with "rules"`),
      );
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it("takes the flags of docker's first builder that mean nothing any more", async () => {
    const idle = ["--rm", "--force-rm=false", "--compress", "--squash", "--isolation=default"];
    const request = async (args: readonly string[]) => {
      const { session: _session, ...rest } = buildRequest({
        context: { kind: "empty" },
        ...(await read(args)),
      });
      return rest;
    };
    deepEqual(await request([...idle, "--security-opt", "x"]), await request([]));
    throws(() => read(["--cache-level=1"]), /unknown flag: --cache-level/);
  });

  it("takes SOURCE_DATE_EPOCH of the environment unless it is an argument", async () => {
    equal((await read([], { SOURCE_DATE_EPOCH: "7" })).buildArgs.get("SOURCE_DATE_EPOCH"), "7");
    equal(
      (await read(["--build-arg", "SOURCE_DATE_EPOCH=8"], { SOURCE_DATE_EPOCH: "7" })).buildArgs.get(
        "SOURCE_DATE_EPOCH",
      ),
      "8",
    );
    equal((await read([])).buildArgs.get("SOURCE_DATE_EPOCH"), undefined);
  });

  it("grants the host network to who asks for it", async () => {
    const flags = await read(["--network", "host"]);
    deepEqual(buildRequest({ context: { kind: "empty" }, ...flags }).allow, ["network.host"]);
    await rejects(read(["--network", "bridge"]), /network mode "bridge"/);
    await rejects(read(["--allow", "everything"]), /unknown entitlement/);
  });

  it("reads calls", async () => {
    deepEqual((await read(["--check"])).call, { name: "check", format: "text", ignoreStatus: false });
    deepEqual((await read(["--call=check,format=json"])).call, {
      name: "check",
      format: "json",
      ignoreStatus: false,
    });
    equal((await read(["--call", "outline"])).call.name, "outline");
    await rejects(read(["--call=dance"]), /unknown call "dance"/);
  });

  it("reads attestations as buildx does", async () => {
    const provenance = async (flags: string[], env: Record<string, string> = {}) =>
      (await read(flags, env)).attestations?.provenance ?? null;
    const max = {
      ...{ mode: "max", version: "v1", builderId: "", filename: "provenance.json", reproducible: null },
      ...{ inlineOnly: false, completeMaterials: false },
    };
    equal(await provenance([]), null);
    const off = ["--provenance=false", "--sbom=false", "--attest=type=sbom,disabled=true"];
    equal((await read(off)).attestations, null);
    deepEqual(await provenance(["--provenance=true"]), max);
    deepEqual(await provenance(["--provenance=mode=min,version=v0.2,builder-id=https://ci.example/1"]), {
      ...{ ...max, mode: "min", version: "v0.2", builderId: "https://ci.example/1" },
    });
    deepEqual(await provenance(["--attest=type=provenance,filename=a/b.json,reproducible=true"]), {
      ...{ ...max, filename: "b.json", reproducible: true },
    });
    const sbom = ["--attest=type=sbom,generator=h.io/scan:1,SCAN_DEPTH=2"];
    deepEqual((await read(sbom)).attestations, {
      provenance: null,
      sbom: { generator: "h.io/scan:1", params: { SCAN_DEPTH: "2" } },
    });
    deepEqual((await read(["--sbom=true"])).attestations?.sbom, { generator: null, params: {} });
    // Of two for one type the first counts, and --attest comes before its shorthand.
    equal((await provenance(["--provenance=mode=max", "--attest=type=provenance,mode=min"]))?.mode, "min");
    equal(await provenance(["--provenance=mode=max", "--attest=type=provenance,disabled=true"]), null);
    // Nobody's default here, unless it is asked for.
    equal(await provenance([], { BUILDX_NO_DEFAULT_ATTESTATIONS: "1" }), null);
    deepEqual(await provenance([], { BUILDX_NO_DEFAULT_ATTESTATIONS: "0" }), {
      ...{ ...max, mode: "min", inlineOnly: true },
    });
    equal(await provenance(["--provenance=false"], { BUILDX_NO_DEFAULT_ATTESTATIONS: "0" }), null);
    const wrong: [string[], RegExp, Record<string, string>?][] = [
      [["--attest=mode=max"], /^attestation type not specified$/],
      [["--attest=provenance"], /^invalid value provenance$/],
      [["--attest=type=provenance,disabled=perhaps"], /^invalid value disabled=perhaps$/],
      [["--attest=type=dance"], /^unknown attestation type "dance"$/],
      [["--provenance=mode=most"], /^invalid mode "most"$/],
      [["--provenance=version=v9"], /^invalid provenance SLSA version: v9$/],
      [["--provenance=reproducible=maybe"], /^failed to parse reproducible flag "maybe"$/],
      [["--provenance=filename=.."], /^invalid filename "\.\."$/],
      [["--sbom=generator="], /^sbom generator cannot be empty$/],
      [
        [],
        /^invalid BUILDX_NO_DEFAULT_ATTESTATIONS: perhaps$/,
        { BUILDX_NO_DEFAULT_ATTESTATIONS: "perhaps" },
      ],
    ];
    for (const [flags, message, env = {}] of wrong)
      await rejects(read(flags, env), { message }, flags.join(" ") || JSON.stringify(env));
  });

  it("makes paths of named contexts absolute and refuses missing ones", async () => {
    const dir = mkdtempSync(join(tmpdir(), "tsbuild-args-"));
    try {
      mkdirSync(join(dir, "src"));
      const flags = await read([
        ...["--build-context", `src=${join(dir, "src")}`, "--build-context", "base=docker-image://alpine"],
        ...["--build-context", "lay=oci-layout://out/l:tag@sha256:00", "--build-context", `context=${dir}`],
      ]);
      deepEqual(Object.fromEntries(flags.buildContexts), {
        src: "local:src",
        base: "docker-image://alpine",
        lay: "oci-layout:///w/out/l:tag@sha256:00",
        context: "local:named-context",
      });
      deepEqual(Object.fromEntries(flags.directories), { src: join(dir, "src"), "named-context": dir });
      await rejects(read(["--build-context", `x=${dir}/none`]), /failed to get build context/);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});
