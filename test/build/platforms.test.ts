// Builds for two platforms, one of them foreign. The kernel lets a user namespace have its own emulators (since Linux 6.7,
// binfmt_misc.c), so nothing on this machine changes, and its registered emulators do not matter.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { needs } from "../support/needs.ts";
import { type TemporaryDir, temporaryDir } from "../support/store.ts";
import { tinyProgram } from "../support/tiny-program.ts";
import { type Account, ordinaryUser, programDir } from "../support/unprivileged.ts";

const OWN = process.arch === "arm64" ? "arm64" : "amd64";
const FOREIGN = OWN === "arm64" ? "amd64" : "arm64";
const EMULATOR = FOREIGN === "arm64" ? "qemu-aarch64-static" : "qemu-x86_64-static";
const BOTH = `linux/${OWN},linux/${FOREIGN}`;
const DOCKERFILE = `
FROM scratch AS files
ARG TARGETARCH
COPY $TARGETARCH /program
FROM files AS made
RUN ["/program"]
FROM scratch
ARG TARGETARCH
LABEL built.for=$TARGETARCH
COPY --from=made /made /made
`;

describe("A build for several platforms", function () {
  this.timeout(120_000);
  const account = ordinaryUser();
  let dir: TemporaryDir;
  before(function () {
    if (!hasOwnEmulators(account)) this.skip(); // nothing a package could bring
  });
  beforeEach(() => {
    dir = temporaryDir(account);
    execFileSync("install", ["-d", "-o", account.name, dir.at("context")]);
    writeFileSync(dir.at("context", "Dockerfile"), DOCKERFILE);
    for (const architecture of ["amd64", "arm64"] as const)
      writeFileSync(dir.at("context", architecture), tinyProgram(architecture, `made on ${architecture}\n`), {
        mode: 0o755,
      });
  });
  afterEach(() => dir?.[Symbol.dispose]());

  it("gives an index with an image of each", () => {
    const archive = dir.at("image.tar");
    const args = ["--platform", BOTH, "--target", "files", "-o", `type=oci,dest=${archive}`];
    const { status, stderr } = tsbuild(account, dir, ["build", ...args, dir.at("context")], {
      emulator: false,
    });
    assert.equal(status, 0, stderr);
    const inspect = (...flags: string[]): unknown =>
      JSON.parse(
        execFileSync(needs("skopeo"), ["inspect", ...flags, `oci-archive:${archive}`], { encoding: "utf8" }),
      );
    const index = inspect("--raw") as { mediaType: string; manifests: { platform: object }[] };
    assert.equal(index.mediaType, "application/vnd.oci.image.index.v1+json");
    assert.deepEqual(
      index.manifests.map(({ platform }) => platform),
      [OWN, FOREIGN].map((architecture) => ({ architecture, os: "linux" })),
    );
    for (const architecture of [OWN, FOREIGN]) {
      const config = inspect("--config", `--override-arch=${architecture}`) as { architecture: string };
      assert.equal(config.architecture, architecture);
    }
  });

  it("runs the commands of each where the kernel has an emulator", () => {
    const out = dir.at("out");
    const args = [
      "--platform",
      BOTH,
      "-t",
      "localhost/both",
      "-o",
      "type=image",
      "-o",
      `type=local,dest=${out}`,
    ];
    const { status, stderr } = tsbuild(account, dir, ["build", ...args, dir.at("context")], {
      emulator: true,
    });
    assert.equal(status, 0, stderr);
    for (const architecture of [OWN, FOREIGN]) {
      assert.equal(
        readFileSync(join(out, `linux_${architecture}`, "made"), "utf8"),
        `made on ${architecture}\n`,
      );
    }
    const inspected = tsbuild(account, dir, ["inspect", "localhost/both"], { emulator: false });
    const images = JSON.parse(inspected.stdout) as { Architecture: string; Config: { Labels: object } }[];
    assert.deepEqual(
      images.map(({ Architecture, Config }) => [Architecture, Config.Labels]),
      [OWN, FOREIGN].map((architecture) => [architecture, { "built.for": architecture }]),
    );
  });

  it("says what is missing where it has none", () => {
    const args = ["build", "--platform", `linux/${FOREIGN}`, dir.at("context")];
    const { status, stderr } = tsbuild(account, dir, args, { emulator: false });
    assert.equal(status, 1);
    assert.match(
      stderr,
      new RegExp(`RUN for linux/${FOREIGN} needs an emulator on this linux/${OWN} machine`),
    );
    assert.match(stderr, />>> RUN \["\/program"\]/);
    assert.match(stderr, /^hint: apt-get install qemu-user-static/m);
  });
});

/** In a user namespace with emulators of its own: root there, with the account's ids. */
function inNamespace(account: Account, script: string, args: readonly string[], env: NodeJS.ProcessEnv) {
  const mount = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc";
  const flags = [
    "--user",
    "--map-root-user",
    "--map-auto",
    "--mount",
    "sh",
    "-ec",
    `${mount}; ${script}`,
    "sh",
  ];
  const foreign = account.uid !== process.getuid?.();
  return spawnSync("unshare", [...flags, ...args], {
    encoding: "utf8",
    cwd: "/",
    env,
    ...(foreign ? { uid: account.uid, gid: account.gid } : {}),
  });
}

function hasOwnEmulators(account: Account): boolean {
  return inNamespace(account, "true", [], { PATH: process.env.PATH }).status === 0;
}

function tsbuild(
  account: Account,
  dir: TemporaryDir,
  args: readonly string[],
  options: { emulator: boolean },
) {
  const register = options.emulator
    ? `printf %s '${registration()}' > /proc/sys/fs/binfmt_misc/register;`
    : "";
  const program = join(programDir(account), "dist", "bin", "tsbuild.cjs");
  return inNamespace(account, `${register} exec "$@"`, [process.execPath, program, ...args], {
    PATH: process.env.PATH,
    TMPDIR: dir.path,
    HOME: dir.path,
    TSBUILD_ROOT: dir.at("store"),
  });
}

/** ":name:M:offset:magic:mask:interpreter:flags"; the kernel reads the escapes. */
function registration(): string {
  const escape = (hex: string): string => hex.replace(/../g, "\\x$&");
  const machine = FOREIGN === "arm64" ? "b700" : "3e00";
  const magic = escape(`7f454c460201010000000000000000000200${machine}`);
  const mask = escape("ffffffffffffff00fffffffffffffffffeffffff");
  return `:tsbuild-test:M::${magic}:${mask}:${needs(EMULATOR)}:F`;
}
