// A base image that needs no network: the machine's static busybox as an OCI layout, for --build-context base=oci-layout://DIR.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";
import { hostPlatform } from "../../solver/graph/platform.ts";
import { needs } from "./needs.ts";

/** Account of the image besides root. */
export const APP = { name: "app", uid: 1000, gid: 1000 } as const;

/** Writes the layout into `dir` (made) with the tag `latest`. `note`: content of /etc/note, to have images that differ. Image: busybox with all its applets, users root and app. */
export async function writeBaseImage(
  dir: string,
  options: {
    readonly note?: string;
    /** Layers above: texts by name in the root; ".wh.NAME" deletes. */
    readonly layers?: readonly Readonly<Record<string, string>>[];
  } = {},
): Promise<void> {
  const busybox = needs("busybox");
  const tar = pack();
  const layer = buffer(tar);
  const at = new Date(0);
  for (const name of ["bin", "etc", "home", "proc", "dev", "sys", "usr", "usr/bin", "var"]) {
    tar.entry({ name: `${name}/`, type: "directory", mode: 0o755, mtime: at });
  }
  tar.entry({ name: "root/", type: "directory", mode: 0o700, mtime: at });
  tar.entry({ name: "tmp/", type: "directory", mode: 0o1777, mtime: at });
  tar.entry({
    name: `home/${APP.name}/`,
    type: "directory",
    mode: 0o755,
    uid: APP.uid,
    gid: APP.gid,
    mtime: at,
  });
  tar.entry(
    { name: "etc/passwd", mtime: at },
    `root:x:0:0:root:/root:/bin/sh\n${APP.name}:x:${APP.uid}:${APP.gid}::/home/${APP.name}:/bin/sh\n`,
  );
  tar.entry({ name: "etc/group", mtime: at }, `root:x:0:\n${APP.name}:x:${APP.gid}:\n`);
  if (options.note !== undefined) tar.entry({ name: "etc/note", mtime: at }, options.note);
  tar.entry({ name: "bin/busybox", mode: 0o755, mtime: at }, readFileSync(busybox));
  for (const applet of execFileSync(busybox, ["--list"], { encoding: "utf8" }).trim().split("\n")) {
    if (applet !== "busybox")
      tar.entry({ name: `bin/${applet}`, type: "symlink", linkname: "busybox", mtime: at });
  }
  tar.finalize();
  const tars = [await layer];
  for (const files of options.layers ?? []) {
    const more = pack();
    const bytes = buffer(more);
    for (const [name, text] of Object.entries(files)) more.entry({ name, mtime: at }, text);
    more.finalize();
    tars.push(await bytes);
  }
  writeLayout(dir, tars);
}

function writeLayout(dir: string, tars: readonly Buffer[]): void {
  mkdirSync(join(dir, "blobs", "sha256"), { recursive: true });
  const { os, architecture } = hostPlatform();
  const layers = tars.map((tar) =>
    put(dir, "application/vnd.oci.image.layer.v1.tar+gzip", gzipSync(tar, { level: 1 })),
  );
  const config = put(dir, "application/vnd.oci.image.config.v1+json", {
    created: "1970-01-01T00:00:00Z",
    architecture,
    os,
    config: { Env: ["PATH=/usr/local/bin:/usr/bin:/bin"], Cmd: ["sh"] },
    rootfs: { type: "layers", diff_ids: tars.map(sha256) },
    history: [{ created: "1970-01-01T00:00:00Z", created_by: "busybox of this machine" }],
  });
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = put(dir, mediaType, { schemaVersion: 2, mediaType, config, layers });
  const tagged = { ...manifest, annotations: { "org.opencontainers.image.ref.name": "latest" } };
  writeFileSync(join(dir, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [tagged] }));
  writeFileSync(join(dir, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
}

function put(
  dir: string,
  mediaType: string,
  content: Buffer | object,
): { mediaType: string; digest: string; size: number } {
  const data = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
  const digest = sha256(data);
  writeFileSync(join(dir, "blobs", "sha256", digest.slice("sha256:".length)), data);
  return { mediaType, digest, size: data.length };
}

function sha256(data: Uint8Array): string {
  return `sha256:${createHash("sha256").update(data).digest("hex")}`;
}
