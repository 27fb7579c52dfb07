// tsbuild builder: named builders that builds can be sent to.

import { isAbsolute, resolve } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import { Scope } from "../../solver/graph/scope.ts";
import type { ParsedFlags } from "../args.ts";
import { HERE } from "../builder-choice.ts";
import { type Builders, checkBuilderName, findBuilder, readBuilders, writeBuilders } from "../builders.ts";
import { table } from "../call-output.ts";
import type { Command, CommandContext } from "../command.ts";
import { BUILDER_TLS_FLAGS, readTlsFlags } from "../flags-builder.ts";
import { isAddress, parseAddress, shownAddress } from "../remote/address.ts";

export const command: Command = {
  flags: {
    usage: "ls | add NAME ADDRESS | rm NAME | use NAME | inspect [NAME]",
    positionals: { min: 1, max: 3 },
    flags: [
      ...BUILDER_TLS_FLAGS,
      { name: "use", kind: "bool", help: "With add: send builds to it from now on" },
    ],
  },
  async run(flags, context) {
    const [action = "", ...args] = flags.positionals;
    const counts: Readonly<Record<string, readonly [number, number]>> = {
      ls: [0, 0],
      add: [2, 2],
      rm: [1, 1],
      use: [1, 1],
      inspect: [0, 1],
    };
    const [min, max] = counts[action] ?? [1, 0];
    if (args.length < min || args.length > max)
      throw new BuildError("USAGE", `invalid arguments: tsbuild builder ${flags.positionals.join(" ")}`, {
        hint: "the forms are ls, add NAME ADDRESS, rm NAME, use NAME and inspect [NAME]",
      });
    const [name = "", address = ""] = args;
    switch (action) {
      case "ls":
        return list(context);
      case "add":
        return await add(name, address, flags, context);
      case "rm":
        return await remove(name, context);
      case "use":
        return await use(name, context);
      default:
        return await inspect(name, flags, context);
    }
  },
};

function list({ config, print }: CommandContext): number {
  const { current, all } = readBuilders(config.configDir);
  const mark = (name: string): string => ((current ?? HERE) === name ? `${name} *` : name);
  const rows = [...all].map(([name, { address }]) => [mark(name), address]);
  print(table([["NAME", "ADDRESS"], [mark(HERE), "this process"], ...rows], 3));
  return 0;
}

async function add(
  name: string,
  address: string,
  flags: ParsedFlags,
  { config, cwd, print }: CommandContext,
): Promise<number> {
  checkBuilderName(name);
  const tls = readTlsFlags(flags, cwd);
  parseAddress(address, tls, cwd);
  const path = /^unix:\/\/(.+)$/.exec(address)?.[1];
  const kept = path === undefined || isAbsolute(path) ? address : `unix://${resolve(cwd, path)}`;
  const { current, all } = readBuilders(config.configDir);
  if (all.has(name))
    throw new BuildError("USAGE", `there is a builder ${name} already`, {
      hint: `tsbuild builder rm ${name}`,
    });
  await writeBuilders(config.configDir, {
    current: flags.bool("use") ? name : current,
    all: new Map([...all, [name, { address: kept, tls }]]),
  });
  print(`${name}\n`);
  return 0;
}

async function remove(name: string, { config, print }: CommandContext): Promise<number> {
  const builders = readBuilders(config.configDir);
  known(builders, name);
  const all = new Map(builders.all);
  all.delete(name);
  await writeBuilders(config.configDir, {
    current: builders.current === name ? null : builders.current,
    all,
  });
  print(`${name} removed\n`);
  return 0;
}

async function use(name: string, { config }: CommandContext): Promise<number> {
  const builders = readBuilders(config.configDir);
  if (name !== HERE) known(builders, name);
  await writeBuilders(config.configDir, { current: name === HERE ? null : name, all: builders.all });
  return 0;
}

function known({ all }: Builders, name: string): void {
  if (!all.has(name))
    throw new BuildError("USAGE", `no builder ${JSON.stringify(name)} found`, {
      hint: "see 'tsbuild builder ls'",
    });
}

/** Connects, and tells what answers. */
async function inspect(asked: string, flags: ParsedFlags, context: CommandContext): Promise<number> {
  const { config, cwd, signal, print } = context;
  const name = asked || readBuilders(config.configDir).current || HERE;
  if (name === HERE) {
    print("Name:    default\nAddress: this process\n");
    return 0;
  }
  const address = findBuilder(name, readTlsFlags(flags, cwd), { configDir: config.configDir, cwd });
  const [{ reachBuilder }, { listWorkers }] = await Promise.all([
    import("../remote/remote.ts"),
    import("../remote/control.ts"),
  ]);
  await using scope = new Scope(null);
  const { http, info } = await reachBuilder(address, { env: config.env, signal, scope });
  const workers = await listWorkers(http, { signal });
  const lines = [
    ...(isAddress(name) ? [] : [`Name:      ${name}`]),
    `Address:   ${shownAddress(address)}`,
    `Version:   ${[info.name, info.version].filter((part) => part !== "").join(" ") || "unknown"}`,
    ...workers.flatMap(({ id, platforms }) => [`Worker:    ${id}`, `Platforms: ${platforms.join(", ")}`]),
  ];
  print(`${lines.join("\n")}\n`);
  return 0;
}
