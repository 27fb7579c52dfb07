// User input: prompts on a terminal, and standard input as a whole. Prompts go to standard error: standard output is for results.

import { addAbortSignal, Writable } from "node:stream";
import { BuildError } from "../solver/graph/error.ts";

/** One line of the terminal. `hidden`: what is typed is not shown. Rejects with signal.reason. */
export async function ask(
  question: string,
  { signal, hidden = false }: { readonly signal: AbortSignal; readonly hidden?: boolean },
): Promise<string> {
  const { createInterface } = await import("node:readline/promises");
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  // As a terminal, readline takes the echo over from the kernel, and gives it to its output.
  const lines = createInterface({
    input: process.stdin,
    output: hidden ? nowhere : process.stderr,
    terminal: true,
  });
  try {
    if (hidden) process.stderr.write(question);
    // Ctrl-C is a key to readline; it is to be the signal that it is elsewhere.
    lines.on("SIGINT", () => process.kill(process.pid, "SIGINT"));
    return await lines.question(hidden ? "" : question, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    lines.close();
    if (hidden) process.stderr.write("\n");
  }
}

/** All of standard input. Throws LIMIT_EXCEEDED, signal.reason. */
export async function readStandardInput(maxBytes: number, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of addAbortSignal(signal, process.stdin) as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      length += chunk.length;
      if (length > maxBytes)
        throw new BuildError("LIMIT_EXCEEDED", `standard input is longer than ${maxBytes} bytes`);
    }
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
  return Buffer.concat(chunks);
}
