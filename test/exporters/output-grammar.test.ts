import assert from "node:assert/strict";
import { parseAnnotationFlag } from "../../exporters/annotations.ts";
import {
  type ArchiveOutput,
  type ImageOutput,
  parseOutput,
  withFrontendName,
} from "../../exporters/output-grammar.ts";

describe("--output", () => {
  it("reads a path as files in a directory and - as a tar", () => {
    assert.deepEqual(parseOutput("out/dir"), {
      kind: "files",
      form: "directory",
      dest: { kind: "path", path: "out/dir" },
      platformSplit: null,
      epochSeconds: null,
      attestationPrefix: "",
    });
    assert.deepEqual(parseOutput("-"), {
      kind: "files",
      form: "tar",
      dest: { kind: "client", name: "-" },
      platformSplit: null,
      epochSeconds: null,
      attestationPrefix: "",
    });
  });

  it("reads an archive with all its attributes", () => {
    const output = parseOutput(
      'type=oci,dest=x.tar,"name=a,b:2",compression=zstd,compression-level=3,force-compression=true,rewrite-timestamp=1,' +
        "oci-mediatypes=true,annotation.Org.X=y z,annotation-manifest-descriptor[linux/arm64].k=v=w,source-date-epoch=5",
    ) as ArchiveOutput;
    assert.deepEqual(output.dest, { kind: "path", path: "x.tar" });
    assert.deepEqual(output.image, {
      names: ["docker.io/library/a:latest", "docker.io/library/b:2"],
      writtenNames: "a,b:2",
      frontendName: false,
      configs: new Map(),
      ociTypes: true,
      compression: "zstd",
      compressionChosen: true,
      compressionLevel: 3,
      forceCompression: true,
      rewriteTimestamp: true,
      marksRewritten: true,
      epochSeconds: 5,
      annotations: [
        { target: "manifest", platform: null, key: "Org.X", value: "y z" },
        { target: "manifest-descriptor", platform: "linux/arm64", key: "k", value: "v=w" },
      ],
      attestationInline: false,
      ociArtifact: null,
      attestations: "index",
    });
  });

  it("attaches attestations to images as BuildKit's exporters do", () => {
    const image = (text: string) => (parseOutput(text) as ImageOutput).image;
    assert.deepEqual(
      [image("type=image"), image("type=oci,dest=x")].map((one) => one.attestationInline),
      [...[true, false]],
    );
    assert.equal(image("type=oci,dest=x,attestation-inline=true").attestationInline, true);
    assert.equal(image("type=registry,name=h.io/a,attestation-inline=0").attestationInline, false);
    assert.equal(image("type=image,oci-artifact=false").ociArtifact, false);
    assert.throws(
      () => image("type=image,oci-artifact=true,oci-mediatypes=false"),
      /"oci-artifact=true" conflicts with "oci-mediatypes=false"/,
    );
  });

  it("takes the frontend's name for *, if it has one, and no other name for it", () => {
    const { image } = parseOutput("type=image,name=*") as ImageOutput;
    assert.deepEqual([image.names, image.frontendName], [[], true]);
    assert.deepEqual(withFrontendName(image, "a, h.io/b:2").names, [
      "docker.io/library/a:latest",
      "h.io/b:2",
    ]);
    assert.deepEqual(withFrontendName(image, null).names, []);
    const named = (parseOutput("type=image,name=own") as ImageOutput).image;
    assert.deepEqual(withFrontendName(named, "a").names, ["docker.io/library/own:latest"]);
  });

  it("makes a registry output one that pushes, and takes an empty value for true", () => {
    assert.equal((parseOutput("type=registry,name=h.io/a") as ImageOutput).push, true);
    const image = parseOutput("type=image,name=h.io/a,push=,registry.insecure=true") as ImageOutput;
    assert.deepEqual([image.push, image.insecure, image.store], [true, true, true]);
    assert.equal((parseOutput("type=image") as ImageOutput).push, false);
  });

  it("loads into docker what has type docker and no destination", () => {
    assert.equal((parseOutput("type=docker") as ArchiveOutput).dest, null);
    assert.deepEqual((parseOutput("type=docker,dest=-") as ArchiveOutput).dest, {
      kind: "client",
      name: "-",
    });
  });

  const bad: readonly (readonly [string, RegExp])[] = [
    ["type=bogus,dest=x", /output type "bogus" is not supported/],
    ["dest=x,tar=true", /type is required for output/],
    [
      "type=oci,dest=x,oci-mediatypes=false,annotation-index.a=b",
      /cannot export annotations with "oci-mediatypes=false"/,
    ],
    ["type=oci,dest=x,rewrite-timestamp=", /non-bool value specified for rewrite-timestamp: $/],
    ["type=oci,dest=x,oci-mediatypes=", /non-bool value specified for oci-mediatypes: $/],
    ["type=oci,dest", /invalid value "dest"/],
    ["type=oci,dest=x,compression=rar", /unsupported compression type rar/],
    ["type=oci,dest=x,compression=nydus", /nydus is not supported/],
    ["type=oci,dest=x,compression=estargz,oci-mediatypes=false", /conflicts with "oci-mediatypes=false"/],
    ["type=image,compression=zstd:chunked,oci-mediatypes=false", /conflicts with "oci-mediatypes=false"/],
    ["type=oci,dest=x,tar=maybe", /non-bool value specified for tar/],
    ["type=oci,dest=x,compression-level=high", /non-int value high/],
    [
      "type=oci,dest=x,compression-level=10",
      /compression-level=10 is not between 0 and 9, the levels of gzip$/,
    ],
    ["type=oci,dest=x,compression=zstd:chunked,compression-level=0", /not between 1 and 22.*zstd:chunked$/],
    ["type=oci,dest=x,colour=red", /unknown attribute "colour"/],
    ["type=local", /dest is required for local exporter/],
    ["type=local,dest=-", /directory cannot be written to standard output/],
    ['type=oci,"dest=x', /quote is not closed/],
    ["type=oci,dest=x,annotation-nothing.k=v", /unknown annotation type "nothing"/],
    ["", /must have a type or a path/],
  ];
  it("proposes the compression that a typo was meant to be", () => {
    for (const [written, meant] of [
      ["zstd-chunked", "zstd:chunked"],
      ["estragz", "estargz"],
    ])
      assert.throws(() => parseOutput(`type=image,compression=${written}`), {
        hint: `did you mean ${meant}?`,
      });
    assert.equal(
      (parseOutput("type=image,compression=uncompressed,compression-level=30") as ImageOutput).image
        .compressionLevel,
      30,
    );
  });

  for (const [text, message] of bad) {
    it(`refuses ${text || "an empty text"}`, () =>
      assert.throws(() => parseOutput(text), { code: "OUTPUT_INVALID", message }));
  }
  it("refuses a name that is none", () =>
    assert.throws(() => parseOutput("type=image,name=UP"), { code: "REFERENCE_INVALID" }));
});

describe("--annotation", () => {
  it("reads types, platforms and plain keys", () => {
    assert.deepEqual(parseAnnotationFlag("a.b=c=d"), [
      { target: "manifest", platform: null, key: "a.b", value: "c=d" },
    ]);
    assert.deepEqual(parseAnnotationFlag("index,manifest[linux/amd64]:k=v"), [
      { target: "index", platform: null, key: "k", value: "v" },
      { target: "manifest", platform: "linux/amd64", key: "k", value: "v" },
    ]);
    assert.throws(() => parseAnnotationFlag("novalue"), { code: "OUTPUT_INVALID" });
    assert.throws(() => parseAnnotationFlag("bogus:k=v"), { code: "OUTPUT_INVALID" });
  });
});
