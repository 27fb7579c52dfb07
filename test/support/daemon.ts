// A tsbuildd with a stock client: docker buildx with its remote driver, and a home of its own.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import type { ClientHttp2Session } from "node:http2";
import { connect } from "node:net";
import { join } from "node:path";
import { dialHttp2 } from "../../bin/wire/connection.ts";
import type { Workshop } from "../build/fixture.ts";
import { buildxProgram } from "./buildx.ts";
import { type CliOptions, type Outcome, type RunningCommand, startTsbuild } from "./cli.ts";
import { needs } from "./needs.ts";

/** Disposing kills a daemon that was not stopped. */
export interface DaemonShop extends AsyncDisposable {
  readonly daemon: RunningCommand;
  readonly socket: string;
  /** `docker buildx ARGS`. `env`: beside its home. */
  start(args: readonly string[], input?: string, env?: Readonly<Record<string, string>>): RunningCommand;
  run(...args: readonly string[]): Promise<Outcome>;
  /** As run(); fails the test with the output when it fails. */
  ok(...args: readonly string[]): Promise<Outcome>;
  /** A context with busybox for the steps of BASE. */
  context(name: string, files: Readonly<Record<string, string>>): string;
  /** Ends the daemon with SIGTERM. */
  stop(): Promise<Outcome>;
}

/** A stage with busybox, since a stock client has no image of ours. */
export const BASE = "FROM scratch AS base\nCOPY busybox /bin/busybox\n";
/** RUN with busybox's shell. */
export function sh(script: string): string {
  return `RUN ["/bin/busybox", "sh", "-c", ${JSON.stringify(script)}]\n`;
}

/** A tsbuildd of direct calls. */
export interface CalledDaemon extends AsyncDisposable {
  readonly http: ClientHttp2Session;
}

/** Starts `tsbuildd` on a socket in the shop, and connects to it. Disposing ends it with SIGTERM, and fails where it does not end well. */
export async function openCalledDaemon(shop: Workshop): Promise<CalledDaemon> {
  shop.context("home", { ".keep": "" });
  const socket = shop.at("home", "d.sock");
  const daemon = shop.start(["--addr", `unix://${socket}`], { program: "tsbuildd" });
  await daemon.says(/listens on unix:/);
  const http = dialHttp2(connect({ path: socket }));
  return {
    http,
    async [Symbol.asyncDispose]() {
      http.close();
      daemon.kill("SIGTERM");
      const { code, stderr } = await daemon.outcome;
      assert.equal(code, 0, stderr);
      assert.doesNotMatch(stderr, /internal error/);
    },
  };
}

/** A context of the shop with busybox for the steps of BASE. */
export function busyboxContext(
  shop: Workshop,
  name: string,
  files: Readonly<Record<string, string>>,
): string {
  const dir = shop.context(name, files);
  execFileSync("cp", [needs("busybox"), join(dir, "busybox")]);
  return dir;
}

/** Starts `tsbuildd ARGS` on a socket in the shop, and makes it buildx's builder. */
export async function openDaemonShop(
  shop: Workshop,
  args: readonly string[] = [],
  options: Partial<CliOptions> = {},
): Promise<DaemonShop> {
  shop.context("home", { ".keep": "" });
  const home = shop.at("home");
  const socket = shop.at("home", "d.sock");
  const daemon = shop.start(["--addr", `unix://${socket}`, ...args], { program: "tsbuildd", ...options });
  const start: DaemonShop["start"] = (words, input, env = {}) =>
    startTsbuild(words, {
      account: shop.account,
      root: shop.root,
      cwd: shop.dir,
      command: [buildxProgram()],
      env: { HOME: home, DOCKER_CONFIG: home, ...env },
      ...(input === undefined ? {} : { input }),
    });
  const run = (...words: readonly string[]): Promise<Outcome> => start(words).outcome;
  const ok = async (...words: readonly string[]): Promise<Outcome> => {
    const outcome = await run(...words);
    assert.equal(outcome.code, 0, `buildx ${words.join(" ")}:\n${outcome.stdout}${outcome.stderr}`);
    return outcome;
  };
  await daemon.says(/listens on unix:/);
  await ok("create", "--name", "ts", "--driver", "remote", "--use", `unix://${socket}`);
  return {
    ...{ daemon, socket, start, run, ok },
    context: (name, files) => busyboxContext(shop, name, files),
    async stop() {
      daemon.kill("SIGTERM");
      return await daemon.outcome;
    },
    async [Symbol.asyncDispose]() {
      daemon.kill("SIGKILL");
      await daemon.outcome;
    },
  };
}
