/** A greeting for everybody in `names`; for the world when there is nobody. */
export function greet(greeting: string, names: readonly string[]): string {
  const all = names.length === 0 ? ["world"] : names;
  return `${greeting}, ${new Intl.ListFormat("en").format(all)}!`;
}
