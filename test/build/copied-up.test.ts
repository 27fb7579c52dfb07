// Files that a RUN does not change are not in its layer, even if overlayfs has copied them up; and directories in which mount
// points were created for the step keep the times that the step gave them.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

const BIG = 2 << 20;
const MADE = `
FROM base AS made
RUN mkdir -p /d/e && head -c ${BIG} /dev/urandom > /d/big && echo text > /d/e/text && ln -s big /d/link && mkfifo /d/pipe \\
 && echo other > /d/e/other && touch -d @1000000000 /d/* /d/e/* /d/e /d
`;

for (const account of accounts()) {
  describe(`what a step copies up without changing it, as ${account.name}`, () => {
    let shop: Workshop;
    before(async () => {
      shop = await openWorkshop(account);
    });
    after(() => shop[Symbol.dispose]());

    /** Members of the layers that the lines add, oldest first, each "name" as tar -t shows it. */
    const layersOf = async (name: string, lines: string): Promise<string[][]> => {
      const context = shop.context(name, { Dockerfile: `${MADE}FROM made\n${lines}\n` });
      const out = shop.at(`${name}-image`);
      await shop.ok(["build", "-o", `type=oci,tar=false,dest=${out}`, context]);
      const read = (digest: string): Buffer =>
        readFileSync(join(out, "blobs/sha256", digest.slice("sha256:".length)));
      const parse = (bytes: Buffer) => JSON.parse(bytes.toString()) as Record<string, { digest: string }[]>;
      const [manifest] = parse(readFileSync(join(out, "index.json"))).manifests ?? [];
      assert.ok(manifest);
      const { layers = [] } = parse(read(manifest.digest));
      return layers.slice(2).map(({ digest }) =>
        execFileSync("tar", ["-tz"], { input: read(digest), encoding: "utf8" })
          .split("\n")
          .filter(Boolean),
      );
    };

    it("leaves out a file whose owner, mode or time was set to what it was, or that was only opened", async () => {
      const layers = await layersOf(
        "same",
        `RUN chown 0:0 /d/big && chmod 644 /d/e/text && touch -d @1000000000 /d/e/other && chown -h 0:0 /d/link
RUN : >> /d/big && touch -d @1000000000 /d/big
RUN chown -R 0:0 /d && echo new > /new`,
      );
      assert.deepEqual(layers, [[], [], ["new"]]);
    });

    it("stores a new hard link to an older file once, under its new name", async () => {
      const [members] = await layersOf("link", "RUN ln /d/big /d/again");
      assert.deepEqual(members, ["d/", "d/again"]);
    });

    it("keeps all that did change, also where size and time did not", async () => {
      const [members] = await layersOf(
        "changed",
        `RUN chown 1:0 /d/big && echo TEXT > /d/e/text && touch -d @1000000000 /d/e/text && chmod 600 /d/e/other \\
 && rm /d/link /d/pipe && ln -s new /d/link && touch -d @1000000000 /d/e && touch -d @1000000000 /d`,
      );
      assert.deepEqual(members, ["d/", "d/big", "d/e/", "d/e/other", "d/e/text", "d/link", "d/.wh.pipe"]);
    });

    it("names what a directory that was made again has lost, and leaves out what it has as before", async () => {
      const layers = await layersOf(
        "again",
        `RUN mkdir /d/e/in && echo deep > /d/e/in/deep && touch -d @1000000000 /d/e/in /d/e/in/* /d/e /d
RUN cp -a /d/e /c && rm -r /d/e && cp -a /c /d/e && rm -r /c && rm /d/e/other /d/e/in/deep && echo new > /d/e/in/new \\
 && touch -d @1000000000 /d/e/in/new /d/e/in /d/e /d
RUN cp -a /d/e /c && rm -r /d/e && cp -a /c /d/e && rm -r /c && touch -d @1000000000 /d
RUN rm /d/pipe && mkdir /d/pipe && echo in > /d/pipe/in`,
      );
      assert.deepEqual(layers.slice(1), [
        ["d/", "d/e/", "d/e/in/", "d/e/in/.wh.deep", "d/e/in/new", "d/e/.wh.other"],
        [],
        ["d/", "d/pipe/", "d/pipe/in"],
      ]);
    });

    it("leaves the time a step gives to a directory that also had a mount point for it", async () => {
      const context = shop.context("times", {
        Dockerfile: `FROM base AS made
RUN mkdir /kept /set && touch -d @1000000000 /kept /set /etc
RUN --mount=type=tmpfs,target=/kept/point --mount=type=tmpfs,target=/set/point \\
 stat -c '%n %Y' /kept && touch -d @1234567890 /set && touch -d @1100000000 /etc
RUN stat -c '%n %Y' /kept /set /etc && ls /kept /set
`,
      });
      const { stderr } = await shop.ok(["build", "--progress=plain", context]);
      const said = [...stderr.matchAll(/^#\d+ [\d.]+ (\/\S* \d+)$/gm)].map(([, line]) => line);
      assert.deepEqual(said, ["/kept 1000000000", "/kept 1000000000", "/set 1234567890", "/etc 1100000000"]);
      assert.doesNotMatch(stderr, /^#\d+ [\d.]+ point$/m);
    });
  });
}
