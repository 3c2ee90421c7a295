// Messages between protobuf's JSON and its binary encoding, by the schema of the server.
//
// Values are those of protobuf's JSON everywhere: 64-bit numbers are texts, bytes are base64, Timestamp is a text.

const LIMIT = 100; // of nested messages, as protobuf's own
const WIRE_TYPES = {
  double: 1, fixed64: 1, sfixed64: 1,
  float: 5, fixed32: 5, sfixed32: 5,
  string: 2, bytes: 2, message: 2, group: 3,
};
const RANGES = {
  int32: [-(2n ** 31n), 2n ** 31n - 1n], sint32: [-(2n ** 31n), 2n ** 31n - 1n], sfixed32: [-(2n ** 31n), 2n ** 31n - 1n],
  uint32: [0n, 2n ** 32n - 1n], fixed32: [0n, 2n ** 32n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n], sint64: [-(2n ** 63n), 2n ** 63n - 1n], sfixed64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n], fixed64: [0n, 2n ** 64n - 1n],
};
const WRAPPERS = new Set(
  ["Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes"].map((name) => `google.protobuf.${name}Value`),
);
const DECIMAL = /^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/;
const NULL_VALUE = "google.protobuf.NullValue";

export const isWrapper = (/** @type {string} */ type) => WRAPPERS.has(type);
export const isInteger = (/** @type {string} */ type) => type in RANGES;
export const jsonName = (/** @type {any} */ field) => field.json ?? field.name;

/** A value that a field cannot have; `path` names the field, as `items[2].name`. */
export class FieldError extends Error {
  /** @param {string} message @param {string} path */
  constructor(message, path) {
    super(path ? `${path}: ${message}` : message);
    this.path = path;
  }
}

/** JSON whose numbers are all kept: those with more digits than JavaScript has become texts.
 * @param {string} text */
export function parseJson(text) {
  const kept = text.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, (token) =>
    /^-?\d{16,}$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"${token}"` : token,
  );
  return JSON.parse(kept);
}

// Scalars

/** The canonical JSON value of a field that is no message.
 * @param {any} schema @param {any} field @param {any} value @param {string} path */
export function checkScalar(schema, field, value, path) {
  const wrong = (/** @type {string} */ expected) => {
    throw new FieldError(`${JSON.stringify(value)} is not ${expected}`, path);
  };
  if (field.type === "enum") {
    const { values } = schema.enums[field.of];
    if (field.of === NULL_VALUE) return value === null || value === "NULL_VALUE" || value === 0 ? "NULL_VALUE" : wrong("null");
    if (typeof value === "object") wrong(`a value of ${field.of}`);
    const found = values.find((/** @type {any} */ each) => each.name === value || String(each.number) === String(value));
    if (found) return found.name;
    const isNumber = /^-?\d+$/.test(String(value)) && Number(value) === (Number(value) | 0);
    return isNumber ? Number(value) : wrong(`a value of ${field.of}`);
  }
  if (field.type in RANGES) {
    const [low, high] = RANGES[/** @type {keyof typeof RANGES} */ (field.type)];
    const text = String(value).trim();
    const isWhole = ["number", "string"].includes(typeof value) && (/^-?\d+$/.test(text) || (DECIMAL.test(text) && Number.isSafeInteger(Number(text))));
    if (!isWhole) wrong("a whole number");
    const number = /^-?\d+$/.test(text) ? BigInt(text) : BigInt(Number(text));
    if (number < low || number > high) wrong(`of type ${field.type}, which is ${low} to ${high}`);
    return field.type.includes("64") ? String(number) : Number(number);
  }
  if (field.type === "double" || field.type === "float") {
    if (["NaN", "Infinity", "-Infinity"].includes(value)) return value;
    const isNumber = typeof value === "number" || (typeof value === "string" && DECIMAL.test(value.trim()));
    if (!isNumber) wrong("a number, NaN, Infinity or -Infinity");
    const number = Number(value);
    if (!Number.isFinite(field.type === "float" ? Math.fround(number) : number)) wrong(`of type ${field.type}: it is too large`);
    return special(number);
  }
  if (field.type === "bool") return typeof value === "boolean" ? value : wrong("true or false");
  if (typeof value !== "string") wrong(field.type === "bytes" ? "a text with base64" : "a text");
  if (field.type === "bytes") {
    try {
      fromBase64(value);
    } catch {
      wrong("base64");
    }
  }
  return value;
}

/** @param {string} text standard or for URLs, padded or not */
export function fromBase64(text) {
  const binary = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

/** @param {Uint8Array} bytes */
export function toBase64(bytes) {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 0x8000) binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(binary);
}

/** @param {Uint8Array[]} parts */
export function concat(parts) {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

// Messages that JSON writes in ways of their own: to the fields that they have, and back.

const NANOS = 1_000_000_000n;
const MOST_SECONDS = 315_576_000_000; // of a Duration
/** Milliseconds of the years 1 to 9999. @param {number} milliseconds */
const isTime = (milliseconds) => milliseconds >= -62_135_596_800_000 && milliseconds < 253_402_300_800_000;

/** @type {Record<string, [(schema: any, value: any, path: string) => any, (schema: any, fields: any) => any]>} */
const SPECIAL = {
  "google.protobuf.Timestamp": [
    (_, value, path) => {
      const match = /^(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/.exec(value);
      const milliseconds = match ? Date.parse(match[1].toUpperCase() + match[3].toUpperCase()) : NaN;
      // Date makes the first of March of a thirtieth of February.
      const isDay = match && new Date(`${match[1].slice(0, 10)}T00:00:00Z`).getUTCDate() === Number(match[1].slice(8, 10));
      if (!match || !isDay || !isTime(milliseconds)) throw new FieldError(`${JSON.stringify(value)} is not a time such as 2030-01-31T12:00:00Z`, path);
      return { seconds: String(Math.floor(milliseconds / 1000)), nanos: Number((match[2] ?? "").padEnd(9, "0")) };
    },
    (_, { seconds = "0", nanos = 0 }) => {
      if (!isTime(Number(seconds) * 1000)) throw new Error(`a Timestamp of ${seconds} seconds is not in the years 1 to 9999`);
      return new Date(Number(seconds) * 1000).toISOString().slice(0, 19) + fraction(BigInt(nanos)) + "Z";
    },
  ],
  "google.protobuf.Duration": [
    (_, value, path) => {
      const match = /^(-?)(\d+)(?:\.(\d{1,9}))?s$/.exec(value);
      if (!match || Number(match[2]) > MOST_SECONDS) throw new FieldError(`${JSON.stringify(value)} is not a duration such as 1.5s`, path);
      const nanos = Number((match[3] ?? "").padEnd(9, "0"));
      return { seconds: match[1] + match[2], nanos: match[1] ? -nanos : nanos };
    },
    (_, { seconds = "0", nanos = 0 }) => {
      const all = BigInt(seconds) * NANOS + BigInt(nanos);
      const positive = all < 0n ? -all : all;
      return `${all < 0n ? "-" : ""}${positive / NANOS}${fraction(positive % NANOS)}s`;
    },
  ],
  "google.protobuf.FieldMask": [
    (_, value, path) => {
      if (typeof value !== "string") throw new FieldError(`${JSON.stringify(value)} is not a text with paths such as name,author.email`, path);
      return { paths: value ? value.split(",").map((/** @type {string} */ path) => path.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)) : [] };
    },
    (_, { paths = [] }) => paths.map((/** @type {string} */ path) => path.replace(/_([a-z])/g, (_match, letter) => letter.toUpperCase())).join(","),
  ],
  "google.protobuf.Struct": [(_, value) => ({ fields: value }), (_, { fields = {} }) => fields],
  "google.protobuf.ListValue": [(_, value) => ({ values: value }), (_, { values = [] }) => values],
  "google.protobuf.Value": [
    (_, value) => {
      if (value === null) return { nullValue: "NULL_VALUE" };
      if (Array.isArray(value)) return { listValue: value };
      const kinds = /** @type {Record<string, string>} */ ({ number: "numberValue", string: "stringValue", boolean: "boolValue", object: "structValue" });
      return { [kinds[typeof value]]: value };
    },
    (_, fields) => {
      const [value] = Object.values(fields);
      if ("nullValue" in fields) return null;
      return "numberValue" in fields && value === "-0" ? 0 : value ?? null; // JSON's own numbers have no other zero
    },
  ],
  "google.protobuf.Any": [
    (schema, value, path) => {
      const { "@type": typeUrl, ...rest } = value ?? {};
      if (typeof typeUrl !== "string") throw new FieldError('an Any needs "@type", such as type.googleapis.com/package.Message', path);
      const type = nameOf(typeUrl);
      if (!isKnown(schema, type)) throw new FieldError(`the message ${type} is not known here; choose a protocol with JSON`, path);
      const message = isSpecial(type) ? rest.value : rest;
      return { typeUrl, value: toBase64(encode(schema, type, message, path)) };
    },
    (schema, { typeUrl = "", value = "" }) => anyOf(schema, typeUrl, value),
  ],
};
for (const name of WRAPPERS) {
  SPECIAL[name] = [(_, value) => ({ value }), (schema, { value }) => value ?? zero(schema, schema.messages[name].fields[0])];
}

/** The JSON of an Any; its base64 when its message is not in the schema.
 * @param {any} schema @param {string} typeUrl @param {string} value */
export function anyOf(schema, typeUrl, value) {
  const type = nameOf(typeUrl);
  if (!isKnown(schema, type)) return { "@type": typeUrl, value };
  const message = decode(schema, type, fromBase64(value));
  return isSpecial(type) ? { "@type": typeUrl, value: message } : { "@type": typeUrl, ...message };
}

const nameOf = (/** @type {string} */ typeUrl) => typeUrl.slice(typeUrl.lastIndexOf("/") + 1);
const isKnown = (/** @type {any} */ schema, /** @type {string} */ type) => Object.hasOwn(schema.messages, type);
export const isSpecial = (/** @type {string} */ type) => Object.hasOwn(SPECIAL, type);

/** @param {bigint} nanos */
function fraction(nanos) {
  if (!nanos) return "";
  const digits = String(nanos).padStart(9, "0");
  return `.${digits.endsWith("000000") ? digits.slice(0, 3) : digits.endsWith("000") ? digits.slice(0, 6) : digits}`;
}

/** @param {any} schema @param {any} field */
function zero(schema, field) {
  if (field.type === "string" || field.type === "bytes") return "";
  if (field.type === "bool") return false;
  if (field.type === "enum") return schema.enums[field.of].values[0].name;
  return field.type.includes("64") ? "0" : 0;
}

// Encoding

/** @param {bigint} value @returns {Uint8Array} */
function varint(value) {
  const bytes = [];
  let rest = BigInt.asUintN(64, value);
  do {
    const byte = Number(rest & 127n);
    rest >>= 7n;
    bytes.push(rest ? byte | 128 : byte);
  } while (rest);
  return Uint8Array.from(bytes);
}

/** The bytes of a message.
 * @param {any} schema @param {string} type its full name @param {any} value its JSON @param {string} [path] @param {number} [depth]
 * @returns {Uint8Array} */
export function encode(schema, type, value, path = "", depth = 0) {
  if (depth > LIMIT) throw new FieldError(`more than ${LIMIT} messages in each other`, path);
  if (isSpecial(type)) value = SPECIAL[type][0](schema, value, path);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new FieldError(`${JSON.stringify(value)} is not an object with the fields of ${type}`, path);
  }
  const { fields = [] } = schema.messages[type];
  const parts = [];
  /** @type {Map<string, string>} */
  const oneofs = new Map();
  for (const [name, item] of Object.entries(value)) {
    const field = fields.find((/** @type {any} */ each) => each.name === name || jsonName(each) === name);
    const at = path ? `${path}.${name}` : name;
    if (!field) throw new FieldError(`${type} has no such field`, at);
    if (item === null && field.of !== "google.protobuf.Value" && field.of !== NULL_VALUE) continue;
    if (field.oneof && oneofs.has(field.oneof)) throw new FieldError(`${oneofs.get(field.oneof)} is set, too; only one of ${field.oneof} can be`, at);
    if (field.oneof) oneofs.set(field.oneof, name);
    parts.push(...encodeField(schema, field, item, at, depth));
  }
  return concat(parts);
}

/** @param {any} schema @param {any} field @param {any} value @param {string} path @param {number} depth */
function encodeField(schema, field, value, path, depth) {
  if (field.key) {
    if (typeof value !== "object" || Array.isArray(value)) throw new FieldError("a map is an object", path);
    const entries = Object.entries(value);
    const key = { name: "key", number: 1, type: field.key };
    const item = { ...field, key: undefined, number: 2, optional: true };
    return entries.map(([name, each]) => {
      const own = field.key === "bool" && ["true", "false"].includes(name) ? name === "true" : name;
      const entry = concat([
        ...encodeField(schema, key, own, `${path} key`, depth),
        ...encodeField(schema, item, each, `${path}[${JSON.stringify(name)}]`, depth),
      ]);
      return concat([tag(field.number, 2), varint(BigInt(entry.length)), entry]);
    });
  }
  if (field.repeated) {
    if (!Array.isArray(value)) throw new FieldError("a repeated field is a list", path);
    const items = value.map((each, index) => encodeValue(schema, field, each, `${path}[${index}]`, depth));
    if (wireType(field) === 2 || field.type === "group") return items.map((item) => concat([tag(field.number, wireType(field)), item]));
    // Packed: "parsers must be able to parse repeated fields that were compiled as packed as if they were not packed".
    const packed = concat(items);
    return items.length ? [tag(field.number, 2), varint(BigInt(packed.length)), packed] : [];
  }
  const bytes = encodeValue(schema, field, value, path, depth);
  const isZero = !field.optional && !field.oneof && field.type !== "message" && field.type !== "group" && bytes.every((byte) => !byte);
  return isZero ? [] : [tag(field.number, wireType(field)), bytes];
}

const wireType = (/** @type {any} */ field) => WIRE_TYPES[/** @type {keyof typeof WIRE_TYPES} */ (field.type)] ?? 0;
const tag = (/** @type {number} */ number, /** @type {number} */ wire) => varint(BigInt(number * 8 + wire));

/** @param {any} schema @param {any} field @param {any} value @param {string} path @param {number} depth @returns {Uint8Array} */
function encodeValue(schema, field, value, path, depth) {
  if (field.type === "message" || field.type === "group") {
    const bytes = encode(schema, field.of, value, path, depth + 1);
    return field.type === "group" ? concat([bytes, tag(field.number, 4)]) : concat([varint(BigInt(bytes.length)), bytes]);
  }
  const checked = checkScalar(schema, field, value, path);
  const view = new DataView(new ArrayBuffer(8));
  switch (field.type) {
    case "string": case "bytes": {
      const bytes = field.type === "string" ? new TextEncoder().encode(checked) : fromBase64(checked);
      return concat([varint(BigInt(bytes.length)), bytes]);
    }
    case "bool": return Uint8Array.of(checked ? 1 : 0);
    case "enum": {
      const found = schema.enums[field.of].values.find((/** @type {any} */ each) => each.name === checked);
      return varint(BigInt(found ? found.number : checked));
    }
    case "double": view.setFloat64(0, Number(checked), true); return new Uint8Array(view.buffer);
    case "float": view.setFloat32(0, Number(checked), true); return new Uint8Array(view.buffer, 0, 4);
    case "fixed64": case "sfixed64": view.setBigInt64(0, BigInt.asIntN(64, BigInt(checked)), true); return new Uint8Array(view.buffer);
    case "fixed32": case "sfixed32": view.setInt32(0, Number(checked) | 0, true); return new Uint8Array(view.buffer, 0, 4);
    case "sint32": case "sint64": {
      const number = BigInt(checked);
      return varint(number < 0n ? -number * 2n - 1n : number * 2n);
    }
    default: return varint(BigInt(checked));
  }
}

// Decoding

/** The JSON of a message's bytes; fields that the schema does not know are left out.
 * @param {any} schema @param {string} type @param {Uint8Array} bytes @param {number} [depth] @returns {any} */
export function decode(schema, type, bytes, depth = 0) {
  return decodeFields(schema, type, new Reader(bytes), depth, 0);
}

/** @param {any} schema @param {string} type @param {Reader} reader @param {number} depth @param {number} group */
function decodeFields(schema, type, reader, depth, group) {
  if (depth > LIMIT) throw new Error(`more than ${LIMIT} messages in each other`);
  const { fields = [] } = schema.messages[type];
  /** @type {Map<any, any>} */
  const found = new Map();
  while (!reader.isAtEnd()) {
    const head = Number(reader.varint());
    const [number, wire] = [head >>> 3, head & 7];
    if (wire === 4 && number === group) break;
    const field = fields.find((/** @type {any} */ each) => each.number === number);
    if (!field) reader.skip(wire, number);
    else if (field.key) {
      const { key, value } = decodeEntry(schema, field, reader.bytes(), depth);
      found.set(field, { ...found.get(field), [String(key)]: value });
    } else if (field.repeated) {
      const items = found.get(field) ?? [];
      if (wire === 2 && wireType(field) !== 2) {
        const packed = new Reader(reader.bytes());
        while (!packed.isAtEnd()) items.push(decodeValue(schema, field, packed, depth));
      } else items.push(decodeValue(schema, field, reader, depth));
      found.set(field, items);
    } else {
      for (const other of field.oneof ? found.keys() : []) if (other.oneof === field.oneof) found.delete(other);
      found.set(field, decodeValue(schema, field, reader, depth));
    }
  }
  const known = fields.filter((/** @type {any} */ field) => found.has(field));
  const value = Object.fromEntries(known.map((/** @type {any} */ field) => [jsonName(field), found.get(field)]));
  return isSpecial(type) ? SPECIAL[type][1](schema, value) : value;
}

/** @param {any} schema @param {any} field @param {Uint8Array} bytes @param {number} depth */
function decodeEntry(schema, field, bytes, depth) {
  const reader = new Reader(bytes);
  const item = { ...field, key: undefined };
  const key = { type: field.key };
  const entry = { key: zero(schema, key), value: field.type === "message" ? undefined : zero(schema, item) };
  while (!reader.isAtEnd()) {
    const head = Number(reader.varint());
    if (head >>> 3 === 1) entry.key = decodeValue(schema, key, reader, depth);
    else if (head >>> 3 === 2) entry.value = decodeValue(schema, item, reader, depth);
    else reader.skip(head & 7, head >>> 3);
  }
  if (entry.value === undefined) entry.value = decode(schema, field.of, new Uint8Array());
  return entry;
}

/** @param {any} schema @param {any} field @param {Reader} reader @param {number} depth @returns {any} */
function decodeValue(schema, field, reader, depth) {
  switch (field.type) {
    case "message": return decodeFields(schema, field.of, new Reader(reader.bytes()), depth + 1, 0);
    case "group": return decodeFields(schema, field.of, reader, depth + 1, field.number);
    case "string": return new TextDecoder().decode(reader.bytes());
    case "bytes": return toBase64(reader.bytes());
    case "bool": return reader.varint() !== 0n;
    case "enum": {
      const number = Number(BigInt.asIntN(32, reader.varint()));
      return schema.enums[field.of].values.find((/** @type {any} */ each) => each.number === number)?.name ?? number;
    }
    case "double": return special(reader.fixed(8).getFloat64(0, true));
    case "float": return special(shortest(reader.fixed(4).getFloat32(0, true)));
    case "fixed64": return String(reader.fixed(8).getBigUint64(0, true));
    case "sfixed64": return String(reader.fixed(8).getBigInt64(0, true));
    case "fixed32": return reader.fixed(4).getUint32(0, true);
    case "sfixed32": return reader.fixed(4).getInt32(0, true);
    case "int32": return Number(BigInt.asIntN(32, reader.varint()));
    case "uint32": return Number(BigInt.asUintN(32, reader.varint()));
    case "int64": return String(BigInt.asIntN(64, reader.varint()));
    case "uint64": return String(BigInt.asUintN(64, reader.varint()));
    default: {
      const number = reader.varint();
      const value = number & 1n ? -(number + 1n) / 2n : number / 2n;
      return field.type === "sint32" ? Number(value) : String(value);
    }
  }
}

/** A number in JSON: those that JSON or JavaScript's writing of it has not are texts.
 * @param {number} number */
const special = (number) => (Object.is(number, -0) ? "-0" : Number.isFinite(number) ? number : String(number));

/** @param {number} number of 32 bits: 0.1 and not 0.10000000149011612 */
function shortest(number) {
  if (number === 0) return number; // -0 is one, too
  for (let digits = 6; digits < 9; digits++) {
    const rounded = Number(number.toPrecision(digits));
    if (Math.fround(rounded) === number) return rounded;
  }
  return number;
}

class Reader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.all = bytes;
    this.at = 0;
  }

  isAtEnd() {
    return this.at >= this.all.length;
  }

  varint() {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.take(1)[0];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
    throw new Error("a number of the message has more than ten bytes");
  }

  /** @param {number} length */
  take(length) {
    if (this.at + length > this.all.length) throw new Error("the message is cut short");
    this.at += length;
    return this.all.subarray(this.at - length, this.at);
  }

  bytes() {
    return this.take(Number(this.varint()));
  }

  /** @param {number} length */
  fixed(length) {
    const bytes = this.take(length);
    return new DataView(bytes.buffer, bytes.byteOffset, length);
  }

  /** @param {number} wire @param {number} number */
  skip(wire, number) {
    if (wire === 0) this.varint();
    else if (wire === 1) this.take(8);
    else if (wire === 2) this.bytes();
    else if (wire === 5) this.take(4);
    else if (wire === 3) {
      for (let head = Number(this.varint()); head !== number * 8 + 4; head = Number(this.varint())) this.skip(head & 7, head >>> 3);
    } else throw new Error(`wire type ${wire} of field ${number} is unknown`);
  }
}
