// A program that builds with the engine alone: node build-once.js STORE CONTEXT BASE. Prints the result as JSON.

import { buildRequest } from "../../../bin/engine/defaults.ts";
import { openEngine } from "../../../bin/engine/engine.ts";
import { testConfig } from "./config.ts";

const [root = "", context = "", base = ""] = process.argv.slice(2);
const { signal } = new AbortController();
await using engine = await openEngine(testConfig(root), { signal });
const request = buildRequest({
  context: { kind: "directory", path: context },
  tags: ["app:1"],
  buildContexts: new Map([["base", `oci-layout://${base}`]]),
});
const steps: string[] = [];
const { names, imageDigest } = await engine.build(request, {
  signal,
  onSource: () => {},
  emit: (event) => {
    if (event.kind === "vertex") steps.push(event.name);
  },
});
process.stdout.write(JSON.stringify({ steps, names, imageDigest }));
