// Options of a client: names and texts, as BuildKit's messages have them.

export type Attributes = Readonly<Record<string, string>>;
