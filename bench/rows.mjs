// What is measured. A workload has a context and samples, which each builder runs one after another, so that a sample finds what the one before
// has left in the cache. `fresh`: the builder begins with an empty store. Each edit is a new one for every builder and round.

import { createHash } from "node:crypto";
import { appendFileSync, chmodSync, copyFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Bytes that compress to a little less than half, the same for the same seed. */
function bytes(count, seed) {
  const random = createHash("shake256", { outputLength: Math.ceil(count * 0.4) }).update(seed).digest();
  return Buffer.concat([random, Buffer.alloc(count - random.length, `${seed} text that compresses well; `)]);
}

function writeFiles(dir, files) {
  for (const [name, data] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), data);
  }
}

/** Contexts of the base images, by name: a busybox, and one with many files in five layers. */
export function baseContexts(dir, busybox, scale) {
  const small = join(dir, "base");
  writeFiles(small, {
    Dockerfile: "FROM scratch\nCOPY rootfs/ /\nENV PATH=/bin\n",
    "rootfs/etc/passwd": "root:x:0:0::/:/bin/sh\n",
    "rootfs/tmp/.keep": "",
  });
  mkdirSync(join(small, "rootfs/bin"));
  copyFileSync(busybox, join(small, "rootfs/bin/busybox"));
  chmodSync(join(small, "rootfs/bin/busybox"), 0o755);
  for (const name of ["sh", "true", "cat", "echo", "mkdir", "cp", "seq", "sleep"]) symlinkSync("busybox", join(small, "rootfs/bin", name));
  const large = join(dir, "large");
  const lines = ["ARG BASE", "FROM $BASE"];
  for (let layer = 0; layer < 5; layer++) {
    const count = Math.ceil(6000 * scale);
    for (let n = 0; n < count; n++)
      writeFiles(large, { [`layer${layer}/d${n % 150}/file${n}`]: bytes(2000 + ((n * 7919) % 16_000), `${layer}/${n}`) });
    lines.push(`COPY layer${layer} /large/layer${layer}`);
  }
  writeFiles(large, { Dockerfile: `${lines.join("\n")}\n` });
  return { base: small, large };
}

/** The workloads. `images`: references of the base images, by name. */
export function workloads({ images, scale }) {
  const { base, large } = images;
  const nonce = (edit) => `ARG NONCE=${edit}\n`;
  const dockerfile = (context, text) => writeFileSync(join(context, "Dockerfile"), text);
  const tiny = `FROM ${base} AS build\nCOPY main.txt /src/\nRUN cat /src/main.txt > /out\nFROM ${base}\nCOPY --from=build /out /out\n`;
  const files = Math.ceil(20_000 * scale);
  const victim = "pkg3/dir3/file3.js";
  const filesSamples = (mode, shown) => [
    {
      ...{ name: `${files} files to ${shown}: cold`, mode, fresh: true },
      before: (context, edit) => writeFileSync(join(context, "nonce"), `${edit}`),
    },
    {
      ...{ name: `${files} files to ${shown}: one changed`, mode },
      before: (context, edit) => appendFileSync(join(context, victim), `${edit}\n`),
    },
    { name: `${files} files to ${shown}: unchanged`, mode },
  ];
  const prepareFiles = (context) => {
    dockerfile(context, `FROM ${base}\nCOPY . /src\n`);
    for (let n = 0; n < files; n++)
      writeFiles(context, { [`pkg${n % 20}/dir${n % 500}/file${n}.js`]: bytes(500 + ((n * 7919) % 7_200), `${n}`) });
    writeFiles(context, { [victim]: bytes(4000, "victim") });
    for (let n = 0; n < 20; n++) writeFiles(context, { [`assets/blob${n}`]: bytes(Math.ceil((10 << 20) * scale), `blob${n}`) });
  };
  const layer = (context, edit) =>
    dockerfile(
      context,
      `FROM ${base}\n${nonce(edit)}COPY pool /pool\nRUN mkdir /data && for i in $(seq ${Math.ceil(16 * scale)}); do cp /pool /data/$i; done; echo $NONCE > /data/nonce\n`,
    );
  return [
    {
      name: "tiny",
      prepare: (context) => writeFiles(context, { Dockerfile: tiny, "main.txt": "hello\n" }),
      samples: [
        { name: "two stages: cold to an OCI archive", mode: "oci", fresh: true },
        { name: "two stages: cached, to an OCI archive", mode: "oci" },
        { name: "two stages: cached, to an image", mode: "image" },
        { name: "two stages: cached", mode: "none" },
      ],
    },
    {
      name: "run",
      prepare: () => {},
      samples: [
        {
          ...{ name: "(a first build)", mode: "none", fresh: true, hidden: true },
          before: (context, edit) => dockerfile(context, `FROM ${base}\n${nonce(edit)}RUN true\n`),
        },
        {
          ...{ name: "one new RUN", mode: "none" },
          before: (context, edit) => dockerfile(context, `FROM ${base}\n${nonce(edit)}RUN echo $NONCE > /f\n`),
        },
        {
          ...{ name: "twenty new RUNs", mode: "none" },
          before: (context, edit) =>
            dockerfile(context, `FROM ${base}\n${nonce(edit)}${Array.from({ length: 20 }, (_, i) => `RUN echo $NONCE > /f${i}\n`).join("")}`),
        },
        {
          ...{ name: "eight parallel stages of 0.5 s", mode: "none" },
          before: (context, edit) => {
            const stages = Array.from({ length: 8 }, (_, i) => `FROM ${base} AS s${i}\n${nonce(edit)}RUN sleep 0.5; echo $NONCE > /f${i}\n`);
            const copies = Array.from({ length: 8 }, (_, i) => `COPY --from=s${i} /f${i} /\n`);
            dockerfile(context, `${stages.join("")}FROM ${base}\n${copies.join("")}`);
          },
        },
      ],
    },
    { name: "files", prepare: prepareFiles, samples: filesSamples("none", "the cache") },
    { name: "files-oci", prepare: prepareFiles, samples: filesSamples("oci", "an OCI archive") },
    {
      name: "layer",
      prepare: (context) => writeFiles(context, { pool: bytes(32 << 20, "pool") }),
      samples: [
        { name: `layer of ${Math.ceil(512 * scale)} MB: gzip`, mode: "oci", fresh: true, before: layer },
        { name: `layer of ${Math.ceil(512 * scale)} MB: zstd`, mode: "zstd", before: layer },
      ],
    },
    {
      name: "push",
      prepare: (context) => writeFiles(context, { Dockerfile: `FROM ${base}\nCOPY data /data\n` }),
      samples: [
        {
          ...{ name: "(build)", mode: "none", fresh: true, hidden: true },
          before: (context, edit) =>
            writeFiles(context, {
              data: createHash("shake256", { outputLength: Math.ceil((270 << 20) * scale) }).update(`${edit}`).digest(),
            }),
        },
        { name: `push of ${Math.ceil(283 * scale)} MB: first`, mode: "push" },
        { name: `push of ${Math.ceil(283 * scale)} MB: again`, mode: "push" },
      ],
    },
    {
      name: "pull",
      prepare: () => {},
      samples: [
        {
          ...{ name: `pull and unpack ${5 * Math.ceil(6000 * scale)} files`, mode: "none", fresh: true },
          before: (context, edit) => dockerfile(context, `FROM ${large}\n${nonce(edit)}RUN echo $NONCE > /f\n`),
        },
      ],
    },
  ];
}
