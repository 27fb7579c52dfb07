// More layers than overlayfs can mount.

import assert from "node:assert/strict";
import { STACK_MAX, takesParts } from "../../worker/sys/stack-limit.ts";
import { writeBaseImage } from "../support/base-image.ts";
import { openWorkshop } from "./fixture.ts";

const DEPTH = STACK_MAX + 150;

describe("an image with more layers than the kernel stacks", () => {
  it("is built on, with what each layer says", async function () {
    this.timeout(300_000);
    using shop = await openWorkshop();
    const layers = Array.from({ length: DEPTH }, (_, index) => ({
      [`f-${index}`]: `${index}`,
      last: `${index}`,
      ...(index === 10 ? { ".wh.f-1": "" } : {}),
      ...(index === STACK_MAX - 10 ? { ".wh.f-2": "" } : {}),
      ...(index === DEPTH - 1 ? { ".wh.f-3": "" } : {}),
    }));
    await writeBaseImage(shop.at("deep"), { layers });
    const build = (name: string, lines: string) =>
      shop.ok([
        "build",
        "--progress=plain",
        `--build-context=deep=oci-layout://${shop.at("deep")}`,
        shop.context(name, { Dockerfile: `FROM deep\n${lines}` }),
      ]);
    const check = [
      "ls / | grep -c ^f-",
      "cat /last",
      "echo",
      `cat /f-0 /f-${DEPTH - 1}`,
      "echo",
      "ls /f-1 /f-2 /f-3 2>/dev/null",
      "stat -c %a /tmp /root",
    ].join("; ");
    const first = await build(
      "one",
      `RUN --network=none ${check}; echo new > /f-0\nRUN --network=none cat /f-0\n`,
    );
    const said = [...first.stderr.matchAll(/^#\d+ \d+\.\d+ (.*)$/gm)].map(([, line]) => line);
    assert.deepEqual(said, [`${DEPTH - 3}`, `${DEPTH - 1}`, `0${DEPTH - 1}`, "1777", "700", "new"]);
    const merged = async (): Promise<number> =>
      ((await shop.ok(["du", "--format=json"])).stdout.match(/layers as one/g) ?? []).length;
    const made = await merged();
    assert.ok(made > 0);
    // The same serves the steps of other builds.
    await build("two", "COPY --from=deep /last /copied\nRUN --network=none test -e /copied\n");
    assert.equal(await merged(), made);
    // A long output into a pipe comes whole.
    const listed = (await shop.ok(["du", "--format=json"])).stdout.match(/"ID":"d-/g);
    assert.equal(listed?.length, DEPTH + 1);
    const { stdout } = await shop.ok(["fsck"]);
    assert.match(stdout, /no problems found/);
  });
});

describe("the stack of a kernel", () => {
  it("takes many layers since 6.5", () => {
    assert.deepEqual(["5.15.0-91-generic", "6.4.16", "6.5.0", "6.18.44-x", "7.0"].map(takesParts), [
      false,
      false,
      true,
      true,
      true,
    ]);
  });
});
