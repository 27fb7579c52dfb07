// Stanzas of "Key: value" lines separated by empty lines: deb-control(5), and the headers of Python's metadata.

/** The fields of each stanza by their name in lower case; continuation lines are joined by newlines. */
export function* stanzas(text: string): Generator<(key: string) => string | undefined> {
  for (const part of text.split(/\r?\n(?:[ \t]*\r?\n)+/)) {
    const fields = new Map<string, string>();
    let last: string | null = null;
    for (const line of part.split(/\r?\n/)) {
      if (/^[ \t]/.test(line)) {
        if (last !== null) fields.set(last, `${fields.get(last)}\n${line.trim()}`);
        continue;
      }
      const colon = line.indexOf(":");
      if (colon <= 0) continue;
      last = line.slice(0, colon).toLowerCase();
      // The first of several counts; Python's classifiers are read from the text.
      if (fields.has(last)) last = null;
      else fields.set(last, line.slice(colon + 1).trim());
    }
    if (fields.size > 0) yield (key) => fields.get(key);
  }
}
