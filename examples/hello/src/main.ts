import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { greet } from "./greet.js";

const built = readFileSync("node-version.txt", "utf8").trim();
console.log(greet(process.env.GREETING ?? "Hello", process.argv.slice(2)));
console.log(
  `process ${process.pid} on ${hostname()}, uid ${process.getuid?.()}, node ${process.version}, built with ${built}`,
);
