// The daemon's log: lines for people, or one JSON object a line. What clients have named in it is printed without control characters.

import { printable } from "../../solver/graph/error.ts";

/** From silent to talkative, in logrus' words, which buildkitd's settings have. */
export const LOG_LEVELS = ["panic", "fatal", "error", "warn", "info", "debug", "trace"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export const LOG_FORMATS = ["text", "json"] as const;

export interface LogSettings {
  readonly format: (typeof LOG_FORMATS)[number];
  readonly level: LogLevel;
}

export interface Log {
  error(text: string): void;
  warn(text: string): void;
  info(text: string): void;
  debug(text: string): void;
  /** Are texts of this level written? */
  shows(level: keyof typeof PREFIXES): boolean;
  /** From now on. */
  set(settings: LogSettings): void;
}

/** A stack trace has some thousand characters. */
const TEXT_MAX_CHARS = 8_192;

const PREFIXES = { error: "ERROR: ", warn: "WARNING: ", info: "", debug: "" } as const;

/** `write`: takes whole lines. */
export function openLog(write: (text: string) => void, initial: LogSettings): Log {
  let { format, level } = initial;
  const shows = (of: keyof typeof PREFIXES): boolean => LOG_LEVELS.indexOf(of) <= LOG_LEVELS.indexOf(level);
  const at = (of: keyof typeof PREFIXES) => (text: string) => {
    if (!shows(of)) return;
    const shown = text
      .split("\n")
      .map((line) => printable(line, TEXT_MAX_CHARS))
      .join("\n");
    if (format === "json") {
      const time = new Date().toISOString();
      write(`${JSON.stringify({ level: of === "warn" ? "warning" : of, msg: shown, time })}\n`);
    } else write(`${PREFIXES[of]}${shown}\n`);
  };
  return {
    ...{ error: at("error"), warn: at("warn"), info: at("info"), debug: at("debug") },
    shows,
    set(settings) {
      ({ format, level } = settings);
    },
  };
}
