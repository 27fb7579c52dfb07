// Builders with names, in builders.json of the user's configuration: address, TLS files, and which of them is in use.

import { closeSync } from "node:fs";
import { basename, dirname } from "node:path";
import { makeDirectories, openDirectory, readFileOf, writeAll, writeWholeIn } from "../cache/outside.ts";
import { BuildError } from "../solver/graph/error.ts";
import { nearest } from "../solver/graph/nearest.ts";
import { buildersFile, HERE } from "./builder-choice.ts";
import { type BuilderAddress, isAddress, NO_TLS, parseAddress, type TlsSettings } from "./remote/address.ts";

const FILE_MAX_BYTES = 1 << 20;
const NAME = /^[A-Za-z][A-Za-z0-9._-]{0,63}$/;

export interface NamedBuilder {
  /** As it was given, paths absolute. */
  readonly address: string;
  readonly tls: TlsSettings;
}

export interface Builders {
  readonly current: string | null;
  readonly all: ReadonlyMap<string, NamedBuilder>;
}

/** Reads the file; none is as good as an empty one. Throws USAGE for one that is broken. */
export function readBuilders(configDir: string): Builders {
  const path = buildersFile(configDir);
  let text: string;
  try {
    text = readFileOf(path, FILE_MAX_BYTES).toString("utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return { current: null, all: new Map() };
    throw new BuildError("USAGE", `cannot read ${path}`, { cause: error });
  }
  try {
    const { current, builders } = JSON.parse(text) as {
      current?: unknown;
      builders?: Record<string, unknown>;
    };
    const all = new Map(Object.entries(builders ?? {}).map(([name, value]) => [name, builderIn(value)]));
    return { current: typeof current === "string" ? current : null, all };
  } catch (cause) {
    throw new BuildError("USAGE", `${path} is damaged`, { cause, hint: "repair or remove it" });
  }
}

function builderIn(value: unknown): NamedBuilder {
  const { address, tls } = value as { readonly address: unknown; readonly tls?: Partial<TlsSettings> };
  if (typeof address !== "string") throw new Error("no address");
  return { address, tls: tls === undefined ? NO_TLS : { ...NO_TLS, ...tls } };
}

/** Replaces the file, which is the user's alone. */
export async function writeBuilders(configDir: string, { current, all }: Builders): Promise<void> {
  const path = buildersFile(configDir);
  const builders = Object.fromEntries(
    [...all].map(([name, { address, tls }]) => [name, tls === NO_TLS ? { address } : { address, tls }]),
  );
  const text = `${JSON.stringify({ current, builders }, null, 2)}\n`;
  makeDirectories(dirname(path), 0o700);
  const directory = openDirectory(dirname(path));
  try {
    await writeWholeIn(directory, basename(path), (fd) => writeAll(fd, Buffer.from(text)), 0o600);
  } finally {
    closeSync(directory);
  }
}

/** Throws USAGE for what cannot be a builder's name. */
export function checkBuilderName(name: string): void {
  if (name === HERE) throw new BuildError("USAGE", `${HERE} is the name of builds in this process`);
  if (!NAME.test(name))
    throw new BuildError("USAGE", `invalid name of a builder: ${JSON.stringify(name)}`, {
      hint: "letters, digits, dots, dashes and underscores, a letter first",
    });
}

/** The builder that `asked`, an address or a name, stands for. `tls`: flags, which come before what is kept. Throws USAGE. */
export function findBuilder(
  asked: string,
  tls: TlsSettings,
  { configDir, cwd }: { readonly configDir: string; readonly cwd: string },
): BuilderAddress {
  if (isAddress(asked)) return parseAddress(asked, tls, cwd);
  const { all } = readBuilders(configDir);
  const found = all.get(asked);
  if (found === undefined) {
    const near = nearest(asked, [...all.keys(), HERE]);
    throw new BuildError("USAGE", `no builder ${JSON.stringify(asked)} found`, {
      hint:
        near === null
          ? "give an address (unix://, tcp://, ssh://, docker-container://, kube-pod://) or a name of 'tsbuild builder ls'"
          : `did you mean ${near}?`,
    });
  }
  const kept = Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== null));
  const both = { ...found.tls, ...kept };
  return parseAddress(
    found.address,
    Object.values(both).some((value) => value !== null) ? both : NO_TLS,
    cwd,
  );
}
