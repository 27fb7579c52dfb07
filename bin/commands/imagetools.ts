// tsbuild imagetools: create and inspect, as docker buildx has them.

import { groupCommand } from "./image.ts";
import type { Command } from "../command.ts";

export const command: Command = groupCommand("imagetools", []);
