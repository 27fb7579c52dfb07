// Shared by "imagetools create" and "image create": sources, tags, annotations, and what is printed.

import { resolve } from "node:path";
import { BuildError } from "../solver/graph/error.ts";
import { isDigest } from "../solver/graph/digest.ts";
import type { FlagSpec, ParsedFlags } from "./args.ts";
import type { CommandContext } from "./command.ts";
import type { CombineRequest, ImageAddress } from "./engine/images/contract.ts";
import { readGiven } from "./given-file.ts";
import { platformFlag, platformsOf, withImages } from "./image-command.ts";

export const CREATE_FLAGS: readonly FlagSpec[] = [
  { name: "annotation", kind: "list", help: "Add annotation to the image" },
  { name: "append", kind: "bool", help: "Append to existing manifest" },
  { name: "builder", kind: "string", help: "" },
  { name: "dry-run", kind: "bool", help: "Show final image instead of pushing" },
  { name: "file", short: "f", kind: "list", help: "Read source descriptor from file" },
  platformFlag("Filter specified platforms of target image"),
  {
    name: "prefer-index",
    kind: "bool",
    initial: "true",
    help: "Make an index of a single source that is none, too",
  },
  { name: "tag", short: "t", kind: "list", help: "Set reference for new image" },
];

const SOURCE_MAX_BYTES = 1 << 20;

export interface CreateWords {
  readonly source: (text: string, context: CommandContext) => Promise<ImageAddress>;
  readonly target: (text: string, context: CommandContext) => Promise<ImageAddress>;
}

/** Makes an index of the sources of the command line and of --file. Throws USAGE in the words of buildx. */
export async function createImage(
  flags: ParsedFlags,
  context: CommandContext,
  words: CreateWords,
): Promise<number> {
  const files: string[] = [];
  for (const path of flags.all("file")) {
    const bytes = await readGiven(resolve(context.cwd, path), SOURCE_MAX_BYTES, context.signal);
    files.push(Buffer.from(bytes).toString("utf8").trim());
  }
  const given = [...files, ...flags.positionals];
  if (given.length === 0) throw new BuildError("USAGE", "no sources specified");
  const isDry = flags.bool("dry-run");
  const tags = flags.all("tag");
  const [firstTag] = tags;
  if (!isDry && firstTag === undefined)
    throw new BuildError("USAGE", "can't push with no tags specified, please set --tag or --dry-run");
  const texts = flags.bool("append") && firstTag !== undefined ? [firstTag, ...given] : given;
  const targets: ImageAddress[] = [];
  for (const tag of tags) targets.push(await words.target(tag, context));
  const request: CombineRequest = {
    sources: await sourcesOf(texts, targets, context, words),
    annotations: await annotationsOf(flags.all("annotation")),
    prefersIndex: !flags.has("prefer-index") || flags.bool("prefer-index"),
    platforms: await platformsOf(flags),
  };
  const title = isDry ? "creating an index" : `pushing ${tags.join(", ")}`;
  const made = await withImages(title, flags, context, (tools) =>
    tools.create(request, isDry ? [] : targets),
  );
  if (made === null) return 1;
  if (isDry) context.print(`${Buffer.from(made.bytes).toString("utf8")}\n`);
  else context.complain(`${made.descriptor.digest}\n`);
  return 0;
}

async function annotationsOf(all: readonly string[]): Promise<CombineRequest["annotations"]> {
  const { parseAnnotationFlag } = await import("../exporters/annotations.ts");
  return all.flatMap((text) => parseAnnotationFlag(text));
}

/** A source is a name, a digest or a descriptor in JSON; the last two are of the only repository that is named. */
async function sourcesOf(
  texts: readonly string[],
  targets: readonly ImageAddress[],
  context: CommandContext,
  words: CreateWords,
): Promise<CombineRequest["sources"]> {
  const { parseGivenDescriptor } = await import("./engine/images/given-descriptor.ts");
  const { formatRepository, parseReference } = await import("../cache/registry/reference.ts");
  const parsed: {
    address: ImageAddress | null;
    given: CombineRequest["sources"][number]["given"];
    digest: string;
  }[] = [];
  for (const text of texts) {
    if (isDigest(text)) parsed.push({ address: null, given: null, digest: text });
    else if (text.startsWith("{")) {
      const descriptor = parseGivenDescriptor(text);
      parsed.push({ address: null, given: descriptor, digest: String(descriptor["digest"]) });
    } else parsed.push({ address: await words.source(text, context), given: null, digest: "" });
  }
  const repositories = new Set(
    [...targets, ...parsed.flatMap(({ address }) => address ?? [])].flatMap((address) =>
      address.kind === "registry"
        ? [formatRepository(address.reference)]
        : address.kind === "name"
          ? [formatRepository(parseReference(address.name))]
          : [],
    ),
  );
  const [repository] = repositories;
  return parsed.map(({ address, given, digest }) => {
    if (address !== null) return { address, given };
    if (repository === undefined)
      throw new BuildError("USAGE", "no repositories specified, please set a reference in tag or source");
    if (repositories.size > 1)
      throw new BuildError(
        "USAGE",
        `multiple repositories specified, cannot infer repository for ${digest}`,
        {
          hint: `write it with its repository: NAME@${digest}`,
        },
      );
    const text = `${repository}@${digest}`;
    return { address: { kind: "registry", reference: parseReference(text), text }, given };
  });
}
