// Values as Go's templates see them: printed, compared, counted and looked up. text/template exec.go and funcs.go.

/** A struct of Go: its fields have names of their own in templates, and others in JSON; one that is missing has its zero value. */
export class GoStruct {
  readonly type: GoType;
  /** As in JSON. */
  readonly json: Readonly<Record<string, unknown>>;
  constructor(type: GoType, json: Readonly<Record<string, unknown>>) {
    this.type = type;
    this.json = json;
  }
  toJSON(): unknown {
    return this.json;
  }
}

/** A time.Time: RFC 3339 in JSON. */
export class GoTime {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
  toJSON(): unknown {
    return this.text;
  }
}

export interface GoType {
  /** "v1.Descriptor": for messages. */
  readonly name: string;
  readonly fields: readonly GoField[];
}

export interface GoField {
  readonly name: string;
  /** In JSON; "": a struct whose fields are those of this one (embedded). */
  readonly key: string;
  /** What it is when JSON does not have it. */
  readonly zero: unknown;
  /** Of the value, or of the elements of the list that it is. */
  readonly type?: GoType | "time";
}

/** A field of a value. Throws a plain Error in Go's words where the value has no such field; undefined for a missing key of a map. */
export function fieldOf(value: unknown, name: string): unknown {
  if (value instanceof GoStruct) {
    const field = value.type.fields.find((one) => one.name === name) ?? promoted(value.type, name);
    if (field === undefined) throw new Error(`can't evaluate field ${name} in type ${value.type.name}`);
    return fieldValue(value, field);
  }
  if (value === null || value === undefined) throw new Error(`nil pointer evaluating interface {}.${name}`);
  if (typeof value === "object" && !Array.isArray(value))
    return Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
  throw new Error(`can't evaluate field ${name} in type ${typeName(value)}`);
}

/** Fields of embedded structs are fields of the struct. */
function promoted({ fields }: GoType, name: string): GoField | undefined {
  return fields
    .flatMap(({ key, type }) => (key === "" && type !== undefined && type !== "time" ? type.fields : []))
    .find((one) => one.name === name);
}

function fieldValue({ json }: GoStruct, { key, zero, type }: GoField): unknown {
  if (key === "") return type === undefined || type === "time" ? json : new GoStruct(type, json); // embedded
  const found = json[key] ?? zero;
  if (type === undefined || found === null) return found;
  if (type === "time") return typeof found === "string" ? new GoTime(found) : found;
  if (Array.isArray(found)) return found.map((one) => structOf(type, one));
  return structOf(type, found);
}

/** The same object as a struct. */
export function structOf(type: GoType, value: unknown): unknown {
  const isMap = typeof value === "object" && value !== null && !Array.isArray(value);
  return isMap && !(value instanceof GoStruct) ? new GoStruct(type, value as Record<string, unknown>) : value;
}

/** A value as Go prints it with %v. */
export function goText(value: unknown): string {
  if (value === undefined || value === null) return "<no value>";
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return `[${value.map(innerText).join(" ")}]`;
  if (value instanceof GoStruct)
    return `{${value.type.fields.map((field) => innerText(fieldValue(value, field))).join(" ")}}`;
  if (value instanceof GoTime) return timeText(value.text);
  if (typeof value === "object")
    return `map[${sortedKeys(value)
      .map((key) => `${key}:${innerText((value as Record<string, unknown>)[key])}`)
      .join(" ")}]`;
  return JSON.stringify(value);
}

/** "2026-12-01 11:59:46.079 +0000 UTC": Time.String of a time in UTC. */
function timeText(text: string): string {
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) return text;
  const fraction = /\.(\d*?[1-9])0*(?:Z|[+-])/.exec(text)?.[1];
  const whole = new Date(ms).toISOString().slice(0, 19).replace("T", " ");
  return `${whole}${fraction === undefined ? "" : `.${fraction}`} +0000 UTC`;
}

/** Below the top Go has another word for nothing. */
function innerText(value: unknown): string {
  return value === undefined || value === null ? "<nil>" : goText(value);
}

/** Keys of a map in the order in which Go's templates visit them. */
export function sortedKeys(value: object): string[] {
  return Object.keys(value).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** Is it true for if, and, or? Everything but the zero value of its type. */
export function isTrue(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (value instanceof GoStruct) return true;
  if (typeof value === "object" && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}

export function typeName(value: unknown): string {
  if (value === null || value === undefined) return "nil";
  if (value instanceof GoStruct) return value.type.name;
  if (Array.isArray(value)) return "[]interface {}";
  if (typeof value === "object") return "map[string]interface {}";
  return { string: "string", number: "int", boolean: "bool" }[typeof value as string] ?? typeof value;
}

/** The element of a list or map: {{index}}. Throws a plain Error. */
export function indexed(value: unknown, keys: readonly unknown[]): unknown {
  let found = value;
  for (const key of keys) {
    if (Array.isArray(found) || typeof found === "string") {
      if (typeof key !== "number") throw new Error(`cannot index slice/array with type ${typeName(key)}`);
      if (!Number.isInteger(key) || key < 0 || key >= found.length)
        throw new Error(`error calling index: index out of range: ${key}`);
      found = found[key];
    } else if (typeof found === "object" && found !== null && !(found instanceof GoStruct)) {
      found = Object.hasOwn(found, String(key)) ? (found as Record<string, unknown>)[String(key)] : undefined;
    } else throw new Error(`error calling index: can't index item of type ${typeName(found)}`);
  }
  return found;
}

/** {{len}}. Throws a plain Error. */
export function lengthOf(value: unknown): number {
  if (Array.isArray(value)) return value.length;
  if (typeof value === "string") return Buffer.byteLength(value);
  if (typeof value === "object" && value !== null && !(value instanceof GoStruct))
    return Object.keys(value).length;
  throw new Error(`error calling len: len of type ${typeName(value)}`);
}

/** -1, 0 or 1: {{lt}} and its like. Throws a plain Error for what has no order. */
export function compared(a: unknown, b: unknown): number {
  if (typeof a === "number" && typeof b === "number") return Math.sign(a - b);
  if (typeof a === "string" && typeof b === "string") return Buffer.compare(Buffer.from(a), Buffer.from(b));
  throw new Error("error calling a comparison: incompatible types for comparison");
}
