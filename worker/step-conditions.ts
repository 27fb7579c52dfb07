// What is made different for steps on purpose, to see which results depend on it: `tsbuild verify`. Part of no cache key, so that it is only for
// stores that are thrown away.

/** Conditions of all steps of a worker, for the built-in sandbox; OCI runtimes know the variables and the host name alone. */
export interface StepConditions {
  /** NAME=value, for steps that have no such variable. */
  readonly env: readonly string[];
  /** For steps that ask for none. */
  readonly hostname: string | null;
  /** Processors a step may use, at most; null: all. */
  readonly processors: number | null;
  /** Directories are listed backwards, as far as one call of getdents64(2) goes. */
  readonly reversedNames: boolean;
}

/** Host name every step sees that asks for none, as in BuildKit. */
export const STEP_HOSTNAME = "buildkitsandbox";

/** The variables, and those of the conditions that are not among them. */
export function withConditions(env: readonly string[], more: readonly string[]): readonly string[] {
  const nameOf = (text: string): string => text.slice(0, text.indexOf("="));
  const names = new Set(env.map(nameOf));
  return [...env, ...more.filter((text) => !names.has(nameOf(text)))];
}
