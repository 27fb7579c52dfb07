// Large blobs by several connections, from servers that limit each connection, and from some that misbehave.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { openRegistry } from "../../../cache/registry/client.ts";
import type { Registry, RegistryOptions } from "../../../cache/registry/contract.ts";
import { RANGE_LIMITS } from "../../../cache/registry/ranged.ts";
import { parseReference } from "../../../cache/registry/reference.ts";
import { digestOf } from "../../../solver/graph/digest.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import { collect } from "../../exporters/fixture.ts";
import { type MisbehavingServer, type Request, startServer } from "../../support/registry.ts";

const { signal } = new AbortController();
const KIB = 1 << 10;
/** Of a small blob, and soon. Any second connection is worth it. */
const LIMITS = {
  ...RANGE_LIMITS,
  ...{ blobMinBytes: 1 << 20, partBytes: 64 * KIB, windowBytes: 256 * KIB },
  ...{ settleMs: 5, watchMs: 20, restMinMs: 50, leadMs: 100, gainMin: 0, lateMs: 200 },
};
const data = randomBytes(2 << 20);
const blob: Descriptor = {
  mediaType: "application/vnd.oci.image.layer.v1.tar",
  digest: digestOf(data),
  size: data.length,
};
/** What a connection gives: 6 MiB a second. */
const STEP = { bytes: 16 * KIB, ms: 2 };

interface Asked {
  readonly start: number;
  readonly end: number; // one after the last
  readonly isRange: boolean;
  /** Has an end, which only those beside the first stream have. */
  readonly isPart: boolean;
}
function askedOf({ headers }: Request): Asked {
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "") ?? [];
  const end = to === undefined || to === "" ? data.length : Number(to) + 1;
  return {
    start: Number(from ?? 0),
    end,
    isRange: from !== undefined,
    isPart: to !== undefined && to !== "",
  };
}

function begin(response: ServerResponse, asked: Asked, change: Record<string, string> = {}): void {
  const { start, end, isRange } = asked;
  response.writeHead(isRange ? 206 : 200, {
    "content-length": String(end - start),
    "accept-ranges": "bytes",
    ...(isRange ? { "content-range": `bytes ${start}-${end - 1}/${data.length}` } : {}),
    ...change,
  });
}

/** Sends what was asked for at the rate of one connection; `cutAfter` bytes of it, and then the connection breaks. */
async function send(
  response: ServerResponse,
  asked: Asked,
  cutAfter = Number.POSITIVE_INFINITY,
): Promise<void> {
  let left = cutAfter;
  for (let at = asked.start; at < asked.end && !response.destroyed; at += STEP.bytes) {
    const chunk = data.subarray(at, Math.min(at + STEP.bytes, asked.end, at + left));
    if (chunk.length > 0) response.write(chunk);
    left -= chunk.length;
    if (at + STEP.bytes < asked.end) await delay(STEP.ms);
    if (left <= 0) return void response.destroy();
  }
  response.end();
}

/** How many answers are being sent at once, at most so far. */
function counter(): { most(): number; sending(work: () => Promise<void>): Promise<void> } {
  let most = 0;
  let now = 0;
  return {
    most: () => most,
    async sending(work) {
      most = Math.max(most, ++now);
      await work();
      now--;
    },
  };
}

/** A registry without a token service whose blobs come as `part` says where only a part is asked for, and else as they should. */
function serve(
  part: (response: ServerResponse, asked: Asked, request: Request, count: number) => void | Promise<void>,
): Promise<MisbehavingServer> {
  let count = 0;
  return startServer(async (request, response) => {
    const asked = askedOf(request);
    if (asked.isPart) return await part(response, asked, request, count++);
    begin(response, asked);
    return await send(response, asked);
  });
}

function client(change: Partial<RegistryOptions> = {}): Registry & { readonly waits: number[] } {
  const waits: number[] = [];
  const sleep = async (ms: number): Promise<void> => void waits.push(ms);
  return { ...openRegistry({ credentials: async () => null, sleep, ranges: LIMITS, ...change }), waits };
}
const partsOf = (server: MisbehavingServer): readonly Asked[] =>
  server.requests.map(askedOf).filter((one) => one.isPart);
const read = (server: MisbehavingServer, registry: Registry = client()): Promise<Buffer> =>
  collect(registry.blob(parseReference(`${server.host}/a/app:1`), blob, { signal }));

describe("a large blob from a server that limits each connection", () => {
  const honest = (response: ServerResponse, asked: Asked): Promise<void> => {
    begin(response, asked);
    return send(response, asked);
  };

  it("comes by four of them, each byte of the parts once", async () => {
    const { most, sending } = counter();
    await using server = await startServer((request, response) =>
      sending(() => honest(response, askedOf(request))),
    );
    const seen: number[] = [];
    const registry = client();
    const reference = parseReference(`${server.host}/a/app:1`);
    const got = await collect(
      registry.blob(reference, blob, { signal, onBytes: (current) => seen.push(current) }),
    );
    assert.ok(got.equals(data));
    assert.ok(most() >= 4 && most() <= 5, `${most()} connections`); // the server sees late that the first is no longer wanted
    const parts = partsOf(server).toSorted((a, b) => a.start - b.start); // they are asked for at once
    assert.ok(parts.length > 8, `${parts.length} parts`);
    assert.equal(server.requests.length, 1 + parts.length);
    let next = parts[0]?.start;
    for (const { start, end } of parts) {
      assert.equal(start, next);
      next = end;
    }
    assert.equal(next, data.length);
    assert.deepEqual(
      seen,
      seen.toSorted((a, b) => a - b),
    );
    assert.equal(seen.at(-1), data.length);
  });

  it("shares the connections of its host with others", async () => {
    const { most, sending } = counter();
    await using server = await startServer((request, response) =>
      sending(() => honest(response, askedOf(request))),
    );
    const registry = client({ ranges: { ...LIMITS, hostConnections: 5 } });
    const all = await Promise.all([1, 2, 3].map(() => read(server, registry)));
    assert.ok(all.every((one) => one.equals(data)));
    assert.ok(most() <= 5 + 3, `${most()} connections`); // with the first ones of three blobs, as above
  });

  it("moves only what is missing after cuts", async () => {
    let cuts = 0;
    let sent = 0;
    await using server = await serve(async (response, asked, _, count) => {
      begin(response, asked);
      const cut = count % 4 === 1 && cuts++ < 5 ? 16 * KIB : Number.POSITIVE_INFINITY;
      sent += Math.min(cut, asked.end - asked.start);
      await send(response, asked, cut);
    });
    assert.ok((await read(server)).equals(data));
    assert.ok(cuts >= 3, `${cuts} cuts`);
    assert.equal(sent, data.length - Math.min(...partsOf(server).map(({ start }) => start)));
  });

  it("comes by one where a second brings nothing", async () => {
    // All connections share a line.
    let line = Promise.resolve();
    await using server = await startServer(async (request, response) => {
      const asked = askedOf(request);
      begin(response, asked);
      for (let at = asked.start; at < asked.end && !response.destroyed; at += STEP.bytes) {
        line = line.then(() => delay(STEP.ms));
        await line;
        response.write(data.subarray(at, Math.min(at + STEP.bytes, asked.end)));
      }
      response.end();
    });
    assert.ok((await read(server, client({ ranges: { ...LIMITS, gainMin: 1.5 } }))).equals(data));
    assert.ok(partsOf(server).length <= 1);
    assert.ok(server.requests.length <= 3);
  });

  for (const [which, isSlow] of [
    ["a second is", (parts: number) => parts === 1],
    ["one of several is", (parts: number) => parts === 5],
  ] as const) {
    it(`goes on by one where ${which} much slower`, async () => {
      await using server = await startServer(async (request, response) => {
        const asked = askedOf(request);
        begin(response, asked);
        if (!asked.isPart || !isSlow(partsOf(server).length)) return send(response, asked);
        // 64 KiB would take 13 s.
        for (let { start: at } = asked; at < asked.end && !response.destroyed; at += KIB) {
          response.write(data.subarray(at, at + KIB));
          await delay(200);
        }
      });
      const beganMs = performance.now();
      assert.ok((await read(server)).equals(data));
      assert.ok(performance.now() - beganMs < 5_000);
    });
  }

  it("comes by one when that is fast", async () => {
    await using server = await startServer((request, response) => {
      const asked = askedOf(request);
      begin(response, asked);
      response.end(data.subarray(asked.start, asked.end));
    });
    assert.ok(
      (await read(server, client({ ranges: { ...LIMITS, settleMs: 100, restMinMs: 1000 } }))).equals(data),
    );
    assert.equal(server.requests.length, 1);
  });

  it("waits as long as a 429 to a part says", async () => {
    await using server = await serve(async (response, asked, _, count) => {
      if (count === 3) return void response.writeHead(429, { "retry-after": "7" }).end("{}");
      return await honest(response, asked);
    });
    const registry = client();
    assert.ok((await read(server, registry)).equals(data));
    assert.deepEqual(registry.waits, [7000]);
  });

  it("gets a new token when that of the first request has expired meanwhile", async () => {
    let tokens = 0;
    let refused = 0;
    await using server = await startServer(async (request, response) => {
      if (request.url.startsWith("/token")) {
        tokens++;
        return void response.end(JSON.stringify({ token: `t${tokens}`, expires_in: 300 }));
      }
      const parts = partsOf(server).length;
      const valid = parts > 6 ? "t2" : "t1"; // whatever the service has said
      if (request.headers.authorization !== `Bearer ${valid}`) {
        refused++;
        const realm = `http://${request.headers.host}/token`;
        return void response
          .writeHead(401, { "www-authenticate": `Bearer realm="${realm}",service="s"` })
          .end();
      }
      return await honest(response, askedOf(request));
    });
    assert.ok((await read(server)).equals(data));
    assert.equal(tokens, 2);
    assert.ok(refused >= 2 && refused <= 5, `${refused} refusals`);
  });

  it("ends all of them at once when cancelled, or no longer wanted", async () => {
    for (const way of ["cancel", "leave"]) {
      const open = new Set<ServerResponse>();
      await using server = await startServer(async (request, response) => {
        open.add(response);
        response.once("close", () => open.delete(response));
        await honest(response, askedOf(request));
      });
      const controller = new AbortController();
      const registry = client();
      const reading = (async () => {
        const reference = parseReference(`${server.host}/a/app:1`);
        for await (const _ of registry.blob(reference, blob, { signal: controller.signal })) {
          if (open.size < 4) continue;
          if (way === "leave") return;
          controller.abort(new Error("enough"));
        }
      })();
      if (way === "cancel") await assert.rejects(reading, { message: "enough" });
      else await reading;
      while (open.size > 0) await delay(5);
      assert.ok(partsOf(server).length >= 3);
    }
  });

  describe("whose parts", () => {
    const fallsBack: Record<
      string,
      (response: ServerResponse, asked: Asked, count: number) => void | Promise<void>
    > = {
      "are the whole blob": (response) => {
        response.writeHead(200, { "content-length": String(data.length), "accept-ranges": "bytes" });
        return send(response, { start: 0, end: data.length, isRange: false, isPart: false });
      },
      "cannot be had (416)": (response) => void response.writeHead(416).end(),
      "are refused (403)": (response) => void response.writeHead(403).end(),
      "are redirected to where nobody listens": (response) =>
        void response.writeHead(307, { location: "http://127.0.0.1:1/blob" }).end(),
      "are redirected to a file": (response) =>
        void response.writeHead(307, { location: "file:///etc/passwd" }).end(),
      "never come": () => {},
    };
    // What never comes is waited for, so it is only what is asked for first.
    for (const [how, part] of Object.entries(fallsBack))
      for (const from of how === "never come" ? [0] : [0, 4]) {
        it(`${how}${from === 0 ? "" : ", from the fifth on"} comes by one`, async () => {
          await using server = await serve(async (response, asked, _, count) => {
            if (count < from) return await honest(response, asked);
            return await part(response, asked, count);
          });
          assert.ok((await read(server)).equals(data));
          assert.ok(server.requests.length <= 30, `${server.requests.length} requests`);
        });
      }

    it("are of another version comes by one", async () => {
      await using server = await startServer(async (request, response) => {
        const asked = askedOf(request);
        begin(response, asked, { etag: asked.isPart ? '"two"' : '"one"' });
        await send(response, asked);
      });
      assert.ok((await read(server)).equals(data));
      assert.equal(partsOf(server).length, 1);
    });

    it("come from a server that does not offer them are not asked for", async () => {
      await using server = await startServer(async (request, response) => {
        const asked = askedOf(request);
        begin(response, asked, { "accept-ranges": "none" });
        await send(response, asked);
      });
      assert.ok((await read(server)).equals(data));
      assert.equal(server.requests.length, 1);
    });

    const contradicts: Record<string, (asked: Asked) => string> = {
      "are another range": ({ start, end }) => `bytes ${start - 4096}-${end - 4097}/${data.length}`,
      "overlap the next": ({ start, end }) => `bytes ${start}-${end + 4095}/${data.length}`,
      "are of a blob of another size": ({ start, end }) => `bytes ${start}-${end - 1}/${data.length + 1}`,
      "do not say what they are": () => "bytes",
    };
    for (const [how, range] of Object.entries(contradicts)) {
      it(`${how} is an error that names the address`, async () => {
        await using server = await serve(async (response, asked, _, count) => {
          begin(response, asked, count === 2 ? { "content-range": range(asked) } : {});
          await send(response, asked);
        });
        await assert.rejects(read(server), (error: Error & { code: string }) => {
          assert.equal(error.code, "REGISTRY_PROTOCOL");
          assert.match(
            error.message,
            /sent a different part of the blob than requested: .* instead of bytes \d+-\d+\//,
          );
          assert.ok(
            error.message.endsWith(`(${server.origin}/v2/a/app/blobs/${blob.digest})`),
            error.message,
          );
          return true;
        });
      });
    }

    it("do not end is an error, after bounded work", async () => {
      let sent = 0;
      await using server = await serve((response, { start, end }) => {
        response.writeHead(206, { "content-range": `bytes ${start}-${end - 1}/${data.length}` });
        const chunk = Buffer.alloc(64 * KIB);
        const more = (): void => {
          while (!response.destroyed && response.write(chunk)) sent += chunk.length;
        };
        response.on("drain", more);
        more();
      });
      await assert.rejects(read(server), {
        code: "REGISTRY_PROTOCOL",
        message: /sent more than bytes \d+-\d+ of the blob/,
      });
      assert.ok(sent < 100 << 20);
    });

    it("are other bytes are found out by the digest", async () => {
      await using server = await serve((response, asked) => {
        begin(response, asked);
        response.end(Buffer.alloc(asked.end - asked.start));
      });
      await assert.rejects(read(server), { code: "DIGEST_MISMATCH" });
    });

    it("break again and again is given up, after bounded attempts", async () => {
      await using server = await startServer(async (request, response, count) => {
        const asked = askedOf(request);
        begin(response, asked);
        if (count === 0) return await send(response, asked, 1 << 20);
        return void response.destroy();
      });
      await assert.rejects(read(server), { code: "REGISTRY_UNREACHABLE" });
      assert.ok(server.requests.length <= 60, `${server.requests.length} requests`);
    });
  });
});
