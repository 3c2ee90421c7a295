// Calls of this browser, by method: neither tokens nor metadata, which may have secrets.

const MOST = 20;
const MOST_CHARACTERS = 20_000;

/** @typedef {{requests: any[], protocol: string, code: number, milliseconds: number, at: number}} Entry */

/** @param {string} base @param {string} name */
const key = (base, name) => `grpc-console ${new URL(base, document.baseURI).pathname} ${name}`;

/** @param {string} base of the calls @param {string} name `package.Service/Method` @returns {Entry[]} newest first */
export function history(base, name) {
  try {
    const found = JSON.parse(localStorage.getItem(key(base, name)) ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return []; // written by another program, or no storage at all
  }
}

/** @param {string} base @param {string} name @param {Entry} entry */
export function remember(base, name, entry) {
  const kept = [entry, ...history(base, name)].filter((each) => JSON.stringify(each).length <= MOST_CHARACTERS);
  for (let most = MOST; most > 0; most = Math.floor(most / 2)) {
    try {
      return localStorage.setItem(key(base, name), JSON.stringify(kept.slice(0, most)));
    } catch {
      // It is full: with fewer then.
    }
  }
}

/** @param {string} base @param {string} name */
export const forget = (base, name) => localStorage.removeItem(key(base, name));

/** Requests without the fields that their author marks with `debug_redact`.
 * @param {any} schema @param {any} method @param {any[]} requests @returns {any[]} */
export const withoutSecrets = (schema, method, requests) => requests.map((each) => strip(schema, method.request, each));

/** @param {any} schema @param {string | undefined} type @param {any} value @returns {any} */
function strip(schema, type, value) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  if (type === "google.protobuf.Any" && typeof value["@type"] === "string") type = value["@type"].slice(value["@type"].lastIndexOf("/") + 1);
  const fields = (type && Object.hasOwn(schema.messages, type) && schema.messages[type].fields) || [];
  const kept = Object.entries(value).flatMap(([name, item]) => {
    const field = fields.find((/** @type {any} */ each) => each.name === name || (each.json ?? each.name) === name);
    if (field?.secret) return [];
    if (field?.type !== "message" && field?.type !== "group") return [[name, item]];
    if (field.repeated && Array.isArray(item)) return [[name, item.map((each) => strip(schema, field.of, each))]];
    if (field.key && item) return [[name, Object.fromEntries(Object.entries(item).map(([key, each]) => [key, strip(schema, field.of, each)]))]];
    return [[name, strip(schema, field.of, item)]];
  });
  return Object.fromEntries(kept);
}
