// Makes output of steps safe for a terminal or a CI log (threat model E8).
//   always   escape sequences are removed completely (CSI, OSC, DCS and the like, even when split), and so
//            are all other control characters except tab and newline; bytes that are not UTF-8 become U+FFFD; CR LF is LF
//   terminal SGR sequences (colours) stay; a single CR restarts the line, as on a terminal
//   plain    no sequences at all; a single CR ends the line, so that each state of a progress bar is a separate line
// Memory is bounded: an unfinished escape sequence is dropped after SEQUENCE_MAX characters, a line is broken at LINE_MAX.

/** Longest escape sequence that is waited for, in characters. */
const SEQUENCE_MAX = 256;
/** Longest line that is kept, in UTF-16 units. */
export const LINE_MAX: number = 64 * 1024;

export type TextMode = "terminal" | "plain";

/** Turns one stream of bytes into safe lines. */
export interface LineReader {
  /** Takes bytes; calls `line` for each line that is complete now, without its newline. */
  push(data: Uint8Array, line: (text: string) => void): void;
  /** The line begun but not ended, as far as it is known. */
  partial(): string;
  /** Takes the unfinished line away and returns it; "" when there is none. */
  flush(): string;
}

/** Opens a reader for one stream (its own decoder: characters may be cut by chunk boundaries). */
export function openLineReader(mode: TextMode): LineReader {
  const decoder = new TextDecoder("utf-8");
  let line = "";
  let sequence = ""; // an escape sequence not complete yet
  let atReturn = false; // the last character was CR

  function take(text: string, emit: (text: string) => void): void {
    const end = () => {
      emit(line);
      line = "";
    };
    for (const part of text.split(CONTROLS)) {
      if (part === "") continue;
      if (atReturn) {
        atReturn = false;
        if (part === "\n") {
          end();
          continue;
        }
        // a lone CR
        if (mode === "terminal") line = "";
        else if (line !== "") end();
      }
      if (part === "\n") end();
      else if (part === "\r") atReturn = true;
      else if (part === "\b") line = line.slice(0, -1);
      else if (part.startsWith("\u001b") || part.startsWith("\u009b")) {
        if (mode === "terminal" && SGR.test(part)) line += part.replace("\u009b", "\u001b[");
      } else if (!isControl(part)) {
        line += part;
        while (line.length > LINE_MAX) {
          emit(line.slice(0, LINE_MAX));
          line = line.slice(LINE_MAX);
        }
      }
    }
  }

  return {
    push(data, emit) {
      let text = sequence + decoder.decode(data, { stream: true });
      sequence = "";
      const open = openSequence(text);
      if (open >= 0) {
        if (text.length - open <= SEQUENCE_MAX) sequence = text.slice(open);
        text = text.slice(0, open);
      }
      take(text, emit);
    },
    partial: () => line,
    flush() {
      const rest = line;
      line = "";
      sequence = "";
      atReturn = false;
      return rest;
    },
  };
}

/** One line of text from elsewhere (names of steps, errors) with the plain policy; newlines stay. */
export function cleanText(text: string): string {
  return text
    .split(CONTROLS)
    .filter((part) => part === "\n" || !isControl(part))
    .join("");
}

// ECMA-48: CSI is ESC [ (or 0x9b), parameters 0x30-0x3f, intermediates 0x20-0x2f, final 0x40-0x7e. OSC, DCS, SOS, PM and APC
// run to BEL or ST; other ESC sequences have intermediates and one final byte. Captured, so that split() keeps them.
const CONTROLS =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  /((?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|\u001b[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\)?|\u001b[ -/]*[0-Z\\^-~]?|[\u0000-\u0008\n-\u001a\u001c-\u001f\u007f-\u009a\u009c-\u009f])/;

/** SGR: colours and attributes. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: see above
const SGR = /^(?:\u001b\[|\u009b)[0-9;:]*m$/;

/** Is this piece one of what CONTROLS finds? Tab is text. */
function isControl(part: string): boolean {
  const code = part.charCodeAt(0);
  return (code < 0x20 && code !== 0x09) || (code >= 0x7f && code <= 0x9f);
}

/** Where an escape sequence begins that the text does not end, or -1. */
function openSequence(text: string): number {
  const at = Math.max(text.lastIndexOf("\u001b"), text.lastIndexOf("\u009b"));
  if (at < 0) return -1;
  const tail = text.slice(at);
  if (/^(?:\u001b\[|\u009b)[0-?]*[ -/]*$/.test(tail)) return at;
  if (/^\u001b[ -/]*$/.test(tail)) return at;
  if (/^\u001b[\]PX^_][^\u0007\u001b]*$/.test(tail)) return at;
  return -1;
}
