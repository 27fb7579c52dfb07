// An npm registry on the loopback interface with the packages installed in this checkout, so that a package can really be installed
// without a network. Packages of other platforms are missing: npm continues without optional ones.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { projectDir } from "./project.ts";

interface Installed {
  readonly directory: string;
  readonly manifest: { readonly name: string; readonly version: string };
}

/** Serves the packages this one depends on, and what those do. `asked`: the names that were asked for. */
export async function openNpmRegistry(): Promise<
  { readonly url: string; readonly asked: ReadonlySet<string> } & AsyncDisposable
> {
  const packages = dependencies();
  const asked = new Set<string>();
  const archives = new Map<string, Buffer>();
  const archiveOf = (directory: string): Buffer => {
    const archive =
      archives.get(directory) ??
      execFileSync("tar", ["-czf", "-", "--exclude=./node_modules", "--transform=s,^[.],package,", "."], {
        cwd: directory,
        maxBuffer: 1 << 28,
      });
    archives.set(directory, archive);
    return archive;
  };
  const server = createServer((request, response) => {
    const path = decodeURIComponent((request.url ?? "/").slice(1));
    const [, archived, version] = /^(.+)\/-\/(.+)\.tgz$/.exec(path) ?? [];
    const name = archived ?? path;
    asked.add(name);
    const found = packages.filter(({ manifest }) => manifest.name === name);
    const one = found.find(({ manifest }) => manifest.version === version);
    if (one !== undefined) {
      response.end(archiveOf(one.directory));
    } else if (archived === undefined && found.length > 0) {
      const versions = found.map(({ manifest, directory }) => {
        const integrity = `sha512-${createHash("sha512").update(archiveOf(directory)).digest("base64")}`;
        const tarball = `${url}/${name}/-/${manifest.version}.tgz`;
        return [manifest.version, { ...manifest, dist: { tarball, integrity } }] as const;
      });
      response.setHeader("content-type", "application/json");
      response.end(
        JSON.stringify({
          name,
          "dist-tags": { latest: versions.at(-1)?.[0] },
          versions: Object.fromEntries(versions),
        }),
      );
    } else {
      response.statusCode = 404;
      response.end("{}");
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

function dependencies(): Installed[] {
  const listed = execFileSync("npm", ["ls", "--all", "--omit=dev", "--parseable"], {
    cwd: projectDir,
    encoding: "utf8",
  });
  return listed.split("\n").flatMap((directory) => {
    if (!directory.includes("/node_modules/")) return [];
    const manifest = JSON.parse(readFileSync(`${directory}/package.json`, "utf8")) as Installed["manifest"];
    return [{ directory, manifest }];
  });
}
