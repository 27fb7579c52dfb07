// tsbuild sbom: what is in an image, and which layer brought it, for root and for an ordinary user whose layers hold files of other ids.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Spec, Validation } from "@cyclonedx/cyclonedx-library";
import { projectDir } from "../support/project.ts";
import { startRegistry } from "../support/registry.ts";
import { accounts } from "../support/unprivileged.ts";
import { readSpdx, type SpdxDocument } from "../worker/sbom/spdx-reader.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

const stanza = (name: string, version: string): string =>
  `Package: ${name}\\nStatus: install ok installed\\nArchitecture: all\\nVersion: ${version}\\n\\n`;
const manifest = (name: string, version: string): string => JSON.stringify({ name, version, license: "MIT" });

const DOCKERFILE = `FROM base
COPY etc /etc
RUN mkdir -p /var/lib/dpkg && printf '${stanza("first", "1.0")}${stanza("second", "1.0")}' > /var/lib/dpkg/status
COPY node_modules /app/node_modules
RUN printf '${stanza("third", "1.0")}' >> /var/lib/dpkg/status && sed -i '/^Package: second/,/^Version/s/1.0/2.0/' /var/lib/dpkg/status
RUN rm -r /app/node_modules/removed && rm -r /app/node_modules/replaced && mkdir /app/node_modules/replaced && \\
    echo '${manifest("replaced", "2.0.0")}' > /app/node_modules/replaced/package.json
RUN chown -R 1000:1000 /app && chmod 700 /app && chmod 600 /app/node_modules/kept/package.json
CMD ["true"]
`;

for (const account of accounts())
  describe(`bills of materials as ${account.name}`, function () {
    this.timeout(180_000);
    let shop: Workshop;
    before(async () => {
      shop = await openWorkshop(account);
      const context = shop.context("app", {
        Dockerfile: DOCKERFILE,
        "etc/os-release": 'ID=debian\nVERSION_ID="12"\n',
        "node_modules/kept/package.json": manifest("kept", "1.0.0"),
        "node_modules/removed/package.json": manifest("removed", "1.0.0"),
        "node_modules/replaced/package.json": manifest("replaced", "1.0.0"),
        "node_modules/replaced/node_modules/covered/package.json": manifest("covered", "1.0.0"),
      });
      await shop.ok(["build", "-t", "app", context], { env: { SOURCE_DATE_EPOCH: "1700000000" } });
    });
    after(() => shop[Symbol.dispose]());

    const spdxOf = async (image: string, ...args: readonly string[]): Promise<SpdxDocument> =>
      readSpdx((await shop.ok(["sbom", "--format", "spdx-json", ...args, image])).stdout);
    const diffIdsOf = async (image: string): Promise<readonly string[]> =>
      JSON.parse((await shop.ok(["inspect", "-f", "{{json .RootFS.Layers}}", image])).stdout) as string[];

    it("list what is there, with the layer that brought it, and nothing that later layers delete", async () => {
      const { stdout, stderr } = await shop.ok(["sbom", "app"]);
      const rows = stdout
        .trim()
        .split("\n")
        .map((line) => line.split(/ {2,}/));
      assert.deepEqual(rows[0], ["NAME", "VERSION", "TYPE", "LAYER", "LICENSES"]);
      const count = (await diffIdsOf("app")).length;
      // Layers of the base image come first; the last five are those of the Dockerfile's steps after COPY etc.
      const layer = (step: number): string => String(count - 5 + step);
      assert.deepEqual(rows.slice(1), [
        ["first", "1.0", "deb", layer(1), "-"],
        ["second", "2.0", "deb", layer(3), "-"],
        ["third", "1.0", "deb", layer(3), "-"],
        ["kept", "1.0.0", "npm", layer(2), "MIT"],
        ["replaced", "2.0.0", "npm", layer(4), "MIT"],
      ]);
      assert.doesNotMatch(stderr, /WARNING/);
    });

    it("are documents by --format, with diffIds, to a file by -o", async () => {
      const document = await spdxOf("app");
      const diffIds = await diffIdsOf("app");
      const first = document.packages.find(({ name }) => name === "first");
      assert.equal(first?.comment, `layerID: ${diffIds.at(-5)}`);
      assert.equal(
        first?.externalRefs?.[0]?.referenceLocator,
        "pkg:deb/debian/first@1.0?arch=all&distro=debian-12",
      );
      // The file is as the last layer that wrote it left it.
      const status = document.files?.find(({ fileName }) => fileName === "/var/lib/dpkg/status");
      assert.equal(status?.comment, `layerID: ${diffIds.at(-3)}`);
      const path = join(shop.dir, "app.cdx.json");
      const { stdout } = await shop.ok(["sbom", "--format=cyclonedx-json", "-o", "app.cdx.json", "app"]);
      assert.equal(stdout, "");
      const json = execFileSync("cat", [path], { encoding: "utf8" });
      assert.equal(await new Validation.JsonStrictValidator(Spec.Version.v1dot6).validate(json), null);
      assert.match(json, /"bomFormat": "CycloneDX"/);
    });

    it("are the same each time, and follow from the image alone: by name or ID, also when it was loaded elsewhere", async () => {
      const documentOf = async (at: Workshop, image: string): Promise<string> =>
        (await at.ok(["sbom", "--format", "spdx-json", image])).stdout;
      const one = await documentOf(shop, "app");
      assert.equal(await documentOf(shop, "app"), one);
      const id = (await shop.ok(["inspect", "-f", "{{.Id}}", "app"])).stdout.trim();
      assert.equal(await documentOf(shop, id.slice(7, 19)), one);
      await shop.ok(["save", "-o", "app.tar", "app"]);
      using other = await openWorkshop(account);
      await other.ok(["load", "-i", join(shop.dir, "app.tar")]);
      assert.deepEqual(
        readSpdx(await documentOf(other, "app")).packages.map(({ name, comment }) => [name, comment]),
        readSpdx(one).packages.map(({ name, comment }) => [name, comment]),
      );
    });

    it("are of the platform that is asked for, else of this machine's, else of the only one", async () => {
      const context = shop.context("platforms", {
        Dockerfile: "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /node_modules/\n",
        "amd64/a/package.json": manifest("of-amd64", "1.0.0"),
        "arm64/a/package.json": manifest("of-arm64", "1.0.0"),
      });
      await shop.ok(["build", "-t", "both", "--platform", "linux/amd64,linux/arm64", context]);
      await shop.ok(["build", "-t", "only-arm64", "--platform", "linux/arm64", context]);
      for (const architecture of ["amd64", "arm64"]) {
        const { stdout } = await shop.ok(["sbom", "--platform", `linux/${architecture}`, "both"]);
        assert.match(stdout, new RegExp(`of-${architecture} `));
        assert.equal(stdout.match(/of-/g)?.length, 1);
      }
      assert.match((await shop.ok(["sbom", "only-arm64"])).stdout, /of-arm64 /);
      const missing = await shop.run(["sbom", "--platform", "linux/s390x", "both"]);
      assert.equal(missing.code, 1);
      assert.match(missing.stderr, /both is not in the local store for linux\/s390x/);
    });

    it("of damaged packages succeed with a warning, and say so in the document; wrong names and formats are errors", async () => {
      const context = shop.context("damaged", {
        Dockerfile: "FROM scratch\nCOPY root /\n",
        "root/node_modules/a/package.json": "{",
        "root/var/lib/rpm/rpmdb.sqlite": "SQLite format 3\u0000 and no more",
      });
      await shop.ok(["build", "-t", "damaged", context]);
      const { stdout, stderr } = await shop.ok(["sbom", "--format", "spdx-json", "damaged"]);
      assert.deepEqual(
        readSpdx(stdout).annotations?.map(({ comment }) => comment),
        [
          "not read: /node_modules/a/package.json: it is not JSON",
          "not read: /var/lib/rpm/rpmdb.sqlite: it is not an SQLite database",
        ],
      );
      assert.match(stderr, /WARNING: not read: \/node_modules\/a\/package\.json: it is not JSON/);
      const unknown = await shop.run(["sbom", "ap"]);
      assert.deepEqual([unknown.code, unknown.stdout], [1, ""]);
      assert.match(unknown.stderr, /No such image: ap/);
      const format = await shop.run(["sbom", "--format", "spdx", "app"]);
      assert.equal(format.code, 1);
      assert.match(format.stderr, /--format: "spdx" is not a format of this command/);
    });

    it("of an image whose layers are still in a registry fetch them, once", async () => {
      await using registry = await startRegistry();
      const name = `${registry.host}/app:1`;
      await shop.ok(["tag", "app", name]);
      await shop.ok(["push", name]);
      using other = await openWorkshop(account);
      const context = other.context("derived", { Dockerfile: `FROM ${name}\nLABEL a=b\n` });
      await other.ok(["build", "-t", "derived", context]);
      const blobs = async (): Promise<number> =>
        new Set((await registry.requests()).filter((one) => /^GET .*\/blobs\//.test(one))).size;
      const before = await blobs();
      const { stdout, stderr } = await other.ok(["sbom", "--progress=plain", "derived"]);
      assert.equal(stdout, (await shop.ok(["sbom", "app"])).stdout);
      assert.match(stderr, /load derived/);
      const after = await blobs();
      assert.ok(after > before, "the build had fetched the layers");
      assert.equal((await other.ok(["sbom", "derived"])).stdout, stdout);
      assert.equal(await blobs(), after);
    });

    it("of this machine's packages list as many as dpkg", async () => {
      const status = readFileSync("/var/lib/dpkg/status", "utf8");
      const context = shop.context("machine", {
        Dockerfile: "FROM base\nCOPY status /var/lib/dpkg/status\n",
        status,
      });
      await shop.ok(["build", "-t", "machine", context]);
      const { stdout } = await shop.ok(["sbom", "machine"]);
      const said = execFileSync("dpkg-query", ["-W", "-f", "${db:Status-Status}\\n"], { encoding: "utf8" }); // oxlint-disable-line no-template-curly-in-string
      const installed = said.split("\n").filter((state) => state === "installed").length;
      assert.equal(stdout.split("\n").filter((line) => / deb /.test(line)).length, installed);
    });

    it("of an image without packages are valid documents", async () => {
      const context = shop.context("empty", { Dockerfile: "FROM scratch\nLABEL a=b\n" });
      await shop.ok(["build", "-t", "empty", context]);
      assert.deepEqual(
        (await spdxOf("empty")).packages.map(({ name }) => name),
        ["empty:latest"],
      );
      assert.equal((await shop.ok(["sbom", "empty"])).stdout, "NAME   VERSION   TYPE   LAYER   LICENSES\n");
    });
  });

describe("builds without a bill of materials", () => {
  it("load nothing of the scanner: it is in bundles of its own", () => {
    const bundles = join(projectDir, "dist/bundle");
    const withScanner = readdirSync(bundles)
      .filter((name) => name.endsWith(".cjs"))
      .filter((name) =>
        /Go buildinf|SPDXRef-DOCUMENT|SQLite format 3/.test(readFileSync(join(bundles, name), "latin1")),
      );
    assert.deepEqual(withScanner.sort(), ["documents.cjs", "rpm-sqlite.cjs", "scan.cjs"]);
    assert.ok(existsSync(join(bundles, "thread.cjs")));
  });
});
