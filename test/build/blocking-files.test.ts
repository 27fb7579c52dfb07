// External files that never end or never start: a FIFO without a writer, a link to /dev/zero, a directory, a file that claims to
// have terabytes. Reading them fails at once with an error that names the file.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { CliOptions, Outcome } from "../support/cli.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

/** A busy machine takes seconds for any command; what blocks takes for ever. */
const LIMIT_MS = 30_000;

const KINDS: Readonly<Record<string, (path: string) => void>> = {
  "a FIFO": (path) => void execFileSync("mkfifo", [path]),
  "a link to /dev/zero": (path) => symlinkSync("/dev/zero", path),
  "a directory": (path) => mkdirSync(path),
  "a file of 8 TB": (path) => {
    const fd = openSync(path, "w");
    ftruncateSync(fd, 8 * 2 ** 40);
    closeSync(fd);
  },
};

describe("files from outside that block or never end", function () {
  this.timeout(120_000);
  let shop: Workshop;
  let app: string;
  let step: string;
  let stores = 0;
  before(async () => {
    shop = await openWorkshop();
    app = shop.context("app", { Dockerfile: "FROM scratch\nCOPY Dockerfile /\n" });
    step = shop.context("step", {
      Dockerfile: "FROM base\nRUN --mount=type=secret,id=s,required cat /run/secrets/s > /s\n",
    });
  });
  after(() => shop[Symbol.dispose]());

  /** Fails when it is not over in time. */
  async function over(args: readonly string[], options: Partial<CliOptions> = {}): Promise<Outcome> {
    const command = shop.start(args, { group: true, ...options });
    const late = new AbortController();
    const outcome = await Promise.race([
      command.outcome,
      delay(LIMIT_MS, null, { signal: late.signal }).catch(() => null),
    ]);
    late.abort();
    if (outcome !== null) return outcome;
    command.killGroup("SIGKILL");
    await command.outcome;
    throw new Error(`tsbuild ${args.join(" ")} does not end`);
  }

  /** A copy of the base image's layout. */
  function layout(): string {
    const path = shop.at("layout");
    rmSync(path, { recursive: true, force: true });
    execFileSync("cp", ["-r", shop.at("base"), path]);
    return path;
  }

  for (const [kind, make] of Object.entries(KINDS)) {
    it(`${kind} as index.json, manifest or blobs of an OCI layout that is read`, async () => {
      for (const name of ["index.json", "manifest", "blobs/sha256", "blobs"]) {
        const path = layout();
        const index = JSON.parse(readFileSync(join(path, "index.json"), "utf8")) as {
          manifests: { digest: string }[];
        };
        const file = name === "manifest" ? `blobs/sha256/${index.manifests[0]?.digest.slice(7)}` : name;
        rmSync(join(path, file), { recursive: true });
        make(join(path, file));
        const { code, stderr } = await over(
          [
            ...["build", "--build-context", `strange=oci-layout://${path}`],
            ...["-f", shop.context("strange", { Dockerfile: "FROM strange\n" }) + "/Dockerfile", app],
          ],
          { root: shop.at(`store-${stores++}`) },
        ); // which knows no manifest yet
        assert.equal(code, 1, `${name}: ${stderr}`);
        assert.ok(stderr.includes(path), stderr);
        if (name !== "blobs" && name !== "blobs/sha256" && name !== "manifest")
          assert.match(stderr, /index\.json/);
      }
    });

    it(`${kind} in place of an OCI layout`, async () => {
      const path = shop.at("no-layout");
      rmSync(path, { recursive: true, force: true });
      make(path);
      const file = `${shop.context("strange", { Dockerfile: "FROM strange\n" })}/Dockerfile`;
      const { code, stderr } = await over([
        ...["build", "--build-context", `strange=oci-layout://${path}`, "-f", file, app],
      ]);
      assert.equal(code, 1, stderr);
      assert.ok(stderr.includes(path), stderr);
    });

    it(`${kind} as index.json of a local cache and of a layout that is added to`, async () => {
      const path = shop.at("added");
      rmSync(path, { recursive: true, force: true });
      mkdirSync(path);
      make(join(path, "index.json"));
      const from = await over(["build", "--cache-from", `type=local,src=${path}`, app]);
      assert.equal(from.code, 0, from.stderr); // a cache that cannot be read is none
      assert.match(from.stderr, /index\.json/);
      for (const args of [
        ["--cache-to", `type=local,dest=${path}`],
        ["-o", `type=oci,tar=false,dest=${path}`],
      ]) {
        const { code, stderr } = await over(["build", ...args, app]);
        assert.equal(code, 1, stderr);
        assert.ok(stderr.includes(path) && stderr.includes("index.json"), stderr);
      }
    });

    it(`${kind} as a file of arguments, secrets or keys`, async () => {
      const path = shop.at("given");
      for (const args of [
        ["--build-arg-file", path, app],
        ["--ssh", `default=${path}`, app],
        ["--secret", `id=s,src=${path}`, step],
      ]) {
        rmSync(path, { recursive: true, force: true });
        make(path);
        if (kind === "a FIFO" && !args.includes("--ssh")) {
          // Somebody may still write: it is waited for, and a signal ends that.
          const command = shop.start(["build", ...args], { group: true });
          const writer = await openedForReading(path);
          command.kill("SIGINT");
          assert.equal((await command.outcome).code, 130);
          closeSync(writer);
          continue;
        }
        const { code, stderr } = await over(["build", ...args]);
        assert.equal(code, 1, args.join(" "));
        assert.match(stderr, /given/);
      }
    });

    it(`${kind} as configuration of docker or as a certificate`, () => {
      const dir = shop.at("config");
      rmSync(dir, { recursive: true, force: true });
      mkdirSync(join(dir, "host"), { recursive: true });
      make(join(dir, "config.json"));
      make(join(dir, "host", "ca.crt"));
      const script = `
        const [config, certificates] = await Promise.all(process.argv.slice(1, 3).map((url) => import(url)));
        const say = (error) => console.log(error.message, error.hint ?? "");
        const find = config.dockerCredentials({ files: [process.argv[3] + "/config.json"], env: {} });
        await Promise.resolve("host").then(find).catch(say);
        await certificates.hostCertificates([process.argv[3]])("host").catch(say);`;
      const modules = ["docker-config", "certificates"].map(
        (name) => new URL(`../../cache/registry/${name}.js`, import.meta.url).href,
      );
      const said = execFileSync(
        process.execPath,
        ["--input-type=module", "-e", script, "--", ...modules, dir],
        { encoding: "utf8", timeout: LIMIT_MS },
      );
      assert.match(said, /config\.json.*\n.*ca\.crt/);
    });
  }

  it("a pipe is read to its end where the user names one, as <(command)", async () => {
    const bash = (command: string): string =>
      execFileSync("bash", ["-c", command, "bash", process.execPath, program(), ...base()], {
        encoding: "utf8",
        env: { ...process.env, TSBUILD_ROOT: shop.root },
        stdio: ["ignore", "pipe", "pipe"],
      });
    const base = (): string[] => [`base=oci-layout://${shop.at("base")}`, step, shop.at("out")];
    bash('"$1" "$2" build --build-context "$3" --secret id=s,src=<(sleep 0.2; echo -n secret) -o "$5" "$4"');
    assert.equal(readFileSync(shop.at("out", "s"), "utf8"), "secret");
  });

  it("a tar as OCI layout whose headers lie about sizes", async () => {
    const dir = shop.context("tars", {});
    const plain = join(dir, "plain.tar");
    execFileSync("tar", ["-cf", plain, "-C", shop.at("base"), "."]);
    const good = readFileSync(plain);
    const numbers: Readonly<Record<string, Buffer>> = {
      "2^63": Buffer.from("800000008000000000000000", "hex"),
      "-1": Buffer.from("ffffffffffffffffffffffff", "hex"),
      "2^95": Buffer.from("c00000000000000000000000", "hex"),
      text: Buffer.from("not a number"),
      "8 TB": Buffer.from("800000000000080000000000", "hex"),
    };
    const cases = new Map<string, Buffer>();
    for (const [name, field] of Object.entries(numbers)) {
      const bytes = Buffer.from(good);
      field.copy(bytes, 124);
      cases.set(name, withChecksum(bytes));
    }
    for (const size of ["9223372036854775807", "-1", "0x10", "1e3", "18446744073709551616"])
      cases.set(`pax size ${size}`, Buffer.concat([paxHeader(`size=${size}`), good]));
    cases.set("pax records without end", Buffer.concat(Array.from({ length: 20 }, () => record(1 << 20))));
    cases.set("pax length bomb", Buffer.concat([header("x", 512), Buffer.alloc(512, "9"), good]));
    for (const [name, bytes] of cases) {
      const path = join(dir, "hostile.tar");
      writeFileSync(`${path}.new`, bytes);
      renameSync(`${path}.new`, path);
      const file = `${shop.context("strange", { Dockerfile: "FROM strange\n" })}/Dockerfile`;
      const { code, stderr } = await over([
        ...["build", "--build-context", `strange=oci-layout://${path}`, "-f", file, app],
      ]);
      assert.equal(code, 1, `${name}: ${stderr}`);
      assert.match(stderr, /hostile\.tar is not an OCI layout: /, name);
    }
  });
});

/** Waits until somebody has opened a FIFO for reading: until then it cannot be opened for writing without waiting, fifo(7). */
async function openedForReading(path: string): Promise<number> {
  for (const end = Date.now() + LIMIT_MS; ; await delay(20)) {
    try {
      return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENXIO" || Date.now() > end) throw error;
    }
  }
}

function program(): string {
  return join(import.meta.dirname, "..", "..", "bin", "tsbuild.cjs");
}

function withChecksum(bytes: Buffer): Buffer {
  bytes.fill(0x20, 148, 156);
  const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return bytes;
}

function header(type: string, size: number): Buffer {
  const bytes = Buffer.alloc(512);
  bytes.write(basename(import.meta.filename), 0);
  bytes.write(`${size.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  bytes.write(type, 156);
  bytes.write("ustar\x0000", 257, "latin1");
  return withChecksum(bytes);
}

function paxHeader(record: string): Buffer {
  const length = record.length + 2 + String(record.length + 4).length;
  const text = `${length} ${record}\n`;
  return Buffer.concat([header("x", text.length), Buffer.from(text.padEnd(512, "\0"), "latin1")]);
}

/** A pax header with one record, of so many bytes. */
function record(size: number): Buffer {
  const start = `${size} comment=`;
  return Buffer.concat([header("x", size), Buffer.from(`${start}${"x".repeat(size - start.length - 1)}\n`)]);
}
