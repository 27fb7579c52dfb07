// Adds the position of the instruction to errors it causes.

import { BuildError, locate, type SourceRange } from "../solver/graph/error.ts";

/** Runs `work`; an error of the user's without a place gets this one. */
export function atPlace<T>(at: SourceRange, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof BuildError ? locate(error, at, null) : error;
  }
}

/** The same for work that takes time. */
export async function atPlaceLater<T>(at: SourceRange, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof BuildError ? locate(error, at, null) : error;
  }
}
