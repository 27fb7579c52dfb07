import type { Command } from "../commands.ts";
export declare const command: Command;
