// import: from a URL, from standard input, with instructions.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { startServer } from "../support/registry.ts";
import { ordinaryUser } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

const account = ordinaryUser();

describe(`root file systems imported as ${account.name}`, function () {
  this.timeout(60_000);
  let shop: Workshop;
  let tar = "";
  before(async () => {
    shop = await openWorkshop(account);
    tar = shop.at("root.tar");
    const context = shop.context("app", { Dockerfile: "FROM base\nRUN echo one > /one\n" });
    await shop.ok(["build", "-o", `type=tar,dest=${tar}`, context]);
  });
  after(() => shop[Symbol.dispose]());
  const configOf = async (name: string): Promise<Record<string, unknown>> =>
    JSON.parse((await shop.ok(["inspect", "-f", "{{json .Config}}", name])).stdout) as Record<
      string,
      unknown
    >;

  it("come from an address, compressed or not, and are asked for again", async () => {
    const plain = readFileSync(tar);
    await using server = await startServer((request, response) => {
      if (request.url === "/none") return void response.writeHead(404).end();
      if (request.headers["if-none-match"] === '"one"') return void response.writeHead(304).end();
      const body = request.url.startsWith("/packed") ? gzipSync(plain) : plain;
      return void response.writeHead(200, { etag: '"one"', "content-length": body.length }).end(body);
    });
    const { stdout } = await shop.ok(["import", `${server.origin}/root.tar`, "remote:1"]);
    assert.match(stdout, /^sha256:[0-9a-f]{64}\n$/);
    assert.equal((await shop.ok(["run", "remote:1", "cat", "/one"])).stdout, "one\n");
    assert.match(
      (await shop.ok(["history", "remote:1"])).stdout,
      /Imported from http:\/\/localhost:\d+\/root\.tar/,
    );
    await shop.ok(["import", `${server.origin}/packed.tar.gz`, "remote:2"]);
    assert.equal((await shop.ok(["run", "remote:2", "cat", "/one"])).stdout, "one\n");
    await shop.ok(["import", `${server.origin}/root.tar`, "remote:3"]);
    assert.equal(server.requests.at(-1)?.headers["if-none-match"], '"one"');
    assert.equal((await shop.ok(["run", "remote:3", "cat", "/one"])).stdout, "one\n");
    const none = await shop.run(["import", `${server.origin}/none`, "remote:4"]);
    assert.equal(none.code, 1);
    assert.match(none.stderr, /invalid response status 404 for http:\/\/localhost:\d+\/none/);
    const secret = await shop.ok(["import", server.origin.replace("://", "://user:hidden@"), "remote:5"]);
    const told = (await shop.ok(["history", "--no-trunc", "remote:5"])).stdout + secret.stderr;
    assert.doesNotMatch(told, /hidden/);
  });

  it("are whole, or an error", async () => {
    const whole = readFileSync(tar);
    for (const length of [700, 1100, whole.length >> 1]) {
      const cut = shop.at("cut.tar");
      writeFileSync(cut, whole.subarray(0, length));
      const { code, stderr } = await shop.run(["import", "-", "cut:1"], { inputFile: cut });
      assert.equal(code, 1, `${length} bytes`);
      assert.match(stderr, /truncated/);
    }
    assert.equal((await shop.run(["inspect", "cut:1"])).code, 1);
  });

  it("come from standard input, and need no name", async () => {
    const { stdout } = await shop.ok(["import", "-c", "LABEL of=stdin", "-"], { inputFile: tar });
    const id = stdout.trim();
    assert.match(id, /^sha256:[0-9a-f]{64}$/);
    assert.equal((await shop.ok(["run", id, "cat", "/one"])).stdout, "one\n");
    assert.match((await shop.ok(["images"])).stdout, new RegExp(`^<none> +<none> +${id.slice(7, 19)}`, "m"));
  });

  it("get what instructions say, in their order", async () => {
    const changes = [
      "ENV A=b C='d e'",
      "env PLUS=$A/x",
      "EXPOSE 80 53/udp",
      "LABEL team=red of.one=",
      "USER app:app",
      "VOLUME /data",
      "WORKDIR /srv",
      "WORKDIR sub",
      'CMD ["ignored"]',
      'ENTRYPOINT ["sh", "-c"]',
      'CMD ["echo $PLUS $(pwd) $(id -u)"]',
      "ONBUILD RUN echo more",
      "STOPSIGNAL SIGUSR1",
      "HEALTHCHECK --interval=5s CMD true",
    ];
    const flags = changes.flatMap((change) => ["--change", change]);
    await shop.ok(["import", ...flags, "-m", "with all", tar, "changed:1"]);
    const config = await configOf("changed:1");
    assert.deepEqual(
      { ...config, ArgsEscaped: undefined },
      {
        ArgsEscaped: undefined,
        User: "app:app",
        ExposedPorts: { "53/udp": {}, "80/tcp": {} },
        Env: ["A=b", "C=d e", "PLUS=b/x"],
        Entrypoint: ["sh", "-c"],
        Cmd: ["echo $PLUS $(pwd) $(id -u)"],
        Volumes: { "/data": {} },
        WorkingDir: "/srv/sub",
        Labels: { "of.one": "", team: "red" },
        StopSignal: "SIGUSR1",
        Healthcheck: { Test: ["CMD-SHELL", "true"], Interval: 5_000_000_000 },
        OnBuild: ["RUN echo more"],
      },
    );
    assert.match((await shop.ok(["history", "changed:1"])).stdout, /with all/);
    assert.equal((await shop.ok(["run", "changed:1"])).stdout, "b/x /srv/sub 1000\n");
    await shop.ok(["import", "-c", "CMD cat /one\nENV A=b", tar, "changed:2"]);
    assert.equal((await shop.ok(["run", "changed:2"])).stdout, "one\n");
    assert.deepEqual((await configOf("changed:2"))["Env"], ["A=b"]);
  });

  it("say which instruction cannot be", async () => {
    for (const [change, words] of [
      [
        "RUN true",
        /invalid --change "RUN true": RUN is not a valid change command\nhint: it is one of CMD, /,
      ],
      ["COPY a b", /COPY is not a valid change command/],
      ["FROM scratch", /FROM is not a valid change command/],
      ["CMDD x", /invalid --change "CMDD x": unknown instruction: CMDD\nhint: did you mean CMD\?/],
      ["ENV", /invalid --change "ENV": ENV requires at least one argument/],
      ["STOPSIGNAL never", /invalid --change "STOPSIGNAL never": invalid signal: never/],
      ["ONBUILD FROM x", /FROM isn't allowed as an ONBUILD trigger/],
      ["", /invalid --change ""/],
    ] as const) {
      const { code, stderr } = await shop.run(["import", "--change", change, tar, "never:1"]);
      assert.equal(code, 1, change);
      assert.match(stderr, words);
      assert.doesNotMatch(stderr, /internal error/);
    }
    assert.equal((await shop.ok(["images", "-q", "never"])).stdout, "");
  });

  it("are for the platform that is said", async () => {
    await shop.ok(["import", "--platform=linux/arm/v7", "-c", "CMD x", tar, "armed:1"]);
    const { stdout } = await shop.ok(["inspect", "-f", "{{.Os}} {{.Architecture}} {{.Variant}}", "armed:1"]);
    assert.equal(stdout, "linux arm v7\n");
  });
});
