// What cases, clients and server agree on.

export const TOKEN = 'your-auth-token';

/** What every client's error is turned into. */
export class CallError extends Error {
  /**
   * @param {number|null} code a gRPC status; null when the client gives none
   * @param {string} message
   * @param {{field: string, description: string}[]} violations of the google.rpc.BadRequest in the status's details
   * @param {string} name what the client itself calls the error
   * @param {object} metadata custom metadata that came with the error
   */
  constructor(code, message, violations, name, metadata = {}) {
    super(message);
    Object.assign(this, {code, violations, name, metadata});
  }
}

export function toBase64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** Metadata for clients that leave base64 to their user. */
export function encodeMetadata(metadata) {
  return mapValues(metadata, (value) => (typeof value === 'string' ? value : toBase64(value)));
}

/** The metadata that the server made of the page's, from pairs of name and text or bytes. */
export function customMetadata(pairs) {
  const custom = [...pairs].filter(([name]) => /^x-(initial|trailing)/.test(name));
  return mapValues(Object.fromEntries(custom), (value, name) =>
    name.endsWith('-bin') ? [...(typeof value === 'string' ? fromBase64(value) : value)] : value,
  );
}

function mapValues(object, change) {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value, name)]));
}
