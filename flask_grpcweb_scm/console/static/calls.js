// Calls by fetch: gRPC-Web and Connect, with protobuf or JSON.

import { anyOf, concat, decode, encode, fromBase64, parseJson, toBase64 } from "./protobuf.js";

export const CODES = [
  "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
  "DATA_LOSS", "UNAUTHENTICATED",
];
const [OK, CANCELLED, UNKNOWN, , DEADLINE_EXCEEDED, , , , , , , , , INTERNAL, UNAVAILABLE] = CODES.keys();
// "HTTP to gRPC Status Code Mapping" of gRPC.
const BY_HTTP_STATUS = { 400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14 };
const GRACE = 1000; // milliseconds for the server's own status after a deadline

/** Ways to call: `served` is the protocol's name in the schema. */
export const PROTOCOLS = [
  { id: "grpc-web", name: "gRPC-Web", served: "grpc-web", codec: "proto" },
  { id: "grpc-web-text", name: "gRPC-Web text", served: "grpc-web", codec: "proto" },
  { id: "grpc-web-json", name: "gRPC-Web with JSON", served: "grpc-web", codec: "json" },
  { id: "connect", name: "Connect", served: "connect", codec: "proto" },
  { id: "connect-json", name: "Connect with JSON", served: "connect", codec: "json" },
  { id: "connect-get", name: "Connect by GET", served: "connect", codec: "json" },
];

/** @param {any} schema @param {any} method */
export function protocolsFor(schema, method) {
  return PROTOCOLS.filter(({ id, served }) => schema.protocols.includes(served) && (id !== "connect-get" || canGet(method)));
}

export const isStream = (/** @type {any} */ method) => Boolean(method.clientStreaming || method.serverStreaming);
const canGet = (/** @type {any} */ method) => method.safe && !isStream(method);

/** Call a method.
 *
 * @param {any} schema
 * @param {any} service
 * @param {any} method
 * @param {{protocol: string, requests: any[], metadata?: [string, string][], timeout?: number, signal?: AbortSignal,
 *   onHeaders?: (headers: Headers) => void, onMessage?: (message: any, bytes: number) => void}} options
 *   `timeout` in seconds; the requests are JSON
 * @returns {Promise<any>} how it ended; a status other than OK is not an exception, a request that cannot be made is one
 */
export async function call(schema, service, method, options) {
  const request = makeRequest(schema, service, method, options);
  /** @type {any} */
  const end = { code: UNKNOWN, message: "", details: [], headers: [], trailers: [], sent: request.body?.length ?? 0, received: 0, milliseconds: 0 };
  const abort = new AbortController();
  const cancel = () => abort.abort();
  options.signal?.addEventListener("abort", cancel);
  const timer = options.timeout ? setTimeout(cancel, options.timeout * 1000 + GRACE) : 0;
  const started = performance.now();
  try {
    const response = await fetch(request.url, {
      method: request.body ? "POST" : "GET", headers: request.headers, body: /** @type {any} */ (request.body), cache: "no-store", signal: abort.signal,
    });
    end.headers = [...response.headers];
    options.onHeaders?.(response.headers);
    const read = request.isGrpcWeb ? readGrpcWeb : isStream(method) ? readConnectStream : readConnect;
    const messageOf = (/** @type {Uint8Array} */ bytes) => {
      const isJson = PROTOCOLS.find(({ id }) => id === options.protocol)?.codec === "json";
      const message = isJson ? parseJson(new TextDecoder().decode(bytes)) : decode(schema, method.response, bytes);
      options.onMessage?.(message, bytes.length);
    };
    Object.assign(end, await read(schema, response, counted(response, end), messageOf));
  } catch (error) {
    Object.assign(end, failure(error, options, abort));
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", cancel);
    abort.abort(); // what is left of a response that could not be read
  }
  end.milliseconds = performance.now() - started;
  return end;
}

/** @param {any} error @param {any} options @param {AbortController} abort */
function failure(error, options, abort) {
  if (options.signal?.aborted) return { code: CANCELLED, message: "cancelled here" };
  if (abort.signal.aborted) return { code: DEADLINE_EXCEEDED, message: `no status from the server within ${options.timeout} s` };
  if (error instanceof TypeError) return { code: UNAVAILABLE, message: `the server cannot be reached, or the connection broke: ${error.message}` };
  return { code: INTERNAL, message: `the response cannot be read: ${error.message}` };
}

// Requests

/** The HTTP request of a call: also what copied commands are made of.
 * @param {any} schema @param {any} service @param {any} method
 * @param {{protocol: string, requests: any[], metadata?: [string, string][], timeout?: number}} options */
export function makeRequest(schema, service, method, { protocol, requests, metadata = [], timeout }) {
  const { codec, served } = /** @type {any} */ (PROTOCOLS.find(({ id }) => id === protocol));
  const payloads = requests.map((value) =>
    codec === "json" ? new TextEncoder().encode(JSON.stringify(value)) : encode(schema, method.request, value),
  );
  const isGrpcWeb = served === "grpc-web";
  let url = new URL(`${schema.base}${service.name}/${method.name}`, document.baseURI).href;
  const headers = new Headers();
  /** @type {Uint8Array | undefined} */
  let body = isGrpcWeb || isStream(method) ? concat(payloads.map(frame)) : payloads[0];
  if (isGrpcWeb) {
    headers.set("Content-Type", protocol === "grpc-web-text" ? "application/grpc-web-text" : `application/grpc-web+${codec}`);
    headers.set("X-Grpc-Web", "1");
    if (timeout) headers.set("Grpc-Timeout", `${Math.ceil(timeout * 1000)}m`);
    if (protocol === "grpc-web-text") body = new TextEncoder().encode(toBase64(body));
  } else {
    headers.set("Connect-Protocol-Version", "1");
    if (timeout) headers.set("Connect-Timeout-Ms", String(Math.ceil(timeout * 1000)));
    if (protocol === "connect-get") {
      url += `?${new URLSearchParams({ connect: "v1", encoding: codec, message: new TextDecoder().decode(body) })}`;
      headers.delete("Connect-Protocol-Version");
      body = undefined;
    } else headers.set("Content-Type", `application/${isStream(method) ? "connect+" : ""}${codec}`);
  }
  for (const [name, value] of metadata) if (name) headers.append(name, value);
  return { url, headers, body, isGrpcWeb };
}

/** @param {Uint8Array} payload behind a byte of flags, and its length in 4 bytes */
function frame(payload) {
  const prefix = new Uint8Array(5);
  new DataView(prefix.buffer).setUint32(1, payload.length);
  return concat([prefix, payload]);
}

// Responses

/** The chunks of a body, whose bytes are counted.
 * @param {Response} response @param {{received: number}} end */
async function* counted(response, end) {
  const reader = response.body?.getReader();
  for (let chunk = await reader?.read(); chunk && !chunk.done; chunk = await reader?.read()) {
    end.received += chunk.value.length;
    yield chunk.value;
  }
}

/** @param {AsyncIterable<Uint8Array>} chunks */
async function whole(chunks) {
  const parts = [];
  for await (const chunk of chunks) parts.push(chunk);
  return concat(parts);
}

/** @param {AsyncIterable<Uint8Array>} chunks of base64, whose pieces may have padding each @returns {AsyncIterable<Uint8Array>} */
async function* decoded(chunks) {
  let kept = "";
  for await (const chunk of chunks) {
    kept += new TextDecoder("latin1").decode(chunk);
    const usable = kept.slice(0, kept.length - (kept.length % 4));
    kept = kept.slice(usable.length);
    for (const piece of usable.match(/(?:[^=]{4})+|[^=]{2}==|[^=]{3}=/g) ?? []) yield fromBase64(piece);
  }
  if (kept) throw new Error("the base64 of the body is cut short");
}

/** Flags and payloads; the network cuts a body anywhere.
 * @param {AsyncIterable<Uint8Array>} chunks @returns {AsyncIterable<[number, Uint8Array]>} */
async function* frames(chunks) {
  /** @type {Uint8Array[]} */
  let kept = [];
  let [length, needed] = [0, 5];
  for await (const chunk of chunks) {
    kept.push(chunk);
    length += chunk.length;
    if (length < needed) continue;
    let bytes = concat(kept);
    needed = 5;
    while (bytes.length >= needed) {
      const end = 5 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(1);
      if (bytes.length < end) {
        needed = end;
        break;
      }
      yield [bytes[0], bytes.subarray(5, end)];
      bytes = bytes.subarray(end);
    }
    [kept, length] = [[bytes.slice()], bytes.length];
  }
  if (length) throw new Error("a frame is cut short");
}

/** @param {any} schema @param {Response} response @param {AsyncIterable<Uint8Array>} chunks @param {(bytes: Uint8Array) => void} onMessage */
async function readGrpcWeb(schema, response, chunks, onMessage) {
  const type = response.headers.get("content-type") ?? "";
  if (response.headers.has("grpc-status")) {
    await whole(chunks);
    return grpcStatus(schema, response.headers, []);
  }
  if (!response.ok || !type.startsWith("application/grpc-web")) return httpStatus(response, await whole(chunks));
  /** @type {Headers | undefined} */
  let trailers;
  for await (const [flags, payload] of frames(type.startsWith("application/grpc-web-text") ? decoded(chunks) : chunks)) {
    if (!(flags & 0x80)) onMessage(payload);
    else {
      const lines = new TextDecoder("latin1").decode(payload).split("\r\n").filter(Boolean);
      trailers = new Headers();
      for (const line of lines) trailers.append(line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim());
    }
  }
  if (!trailers) throw new Error("it ends without a status");
  return grpcStatus(schema, trailers, [...trailers]);
}

/** @param {any} schema @param {Headers} headers @param {[string, string][]} trailers */
function grpcStatus(schema, headers, trailers) {
  const details = headers.get("grpc-status-details-bin");
  const status = details ? decode(schema, "google.rpc.Status", fromBase64(details)) : {};
  let message = headers.get("grpc-message") ?? "";
  try {
    message = decodeURIComponent(message);
  } catch {
    // Not percent-encoded, whoever has written it.
  }
  return { code: Number(headers.get("grpc-status")), message, details: status.details ?? [], trailers };
}

/** A response that no service has made: of a proxy, a login page, a hook.
 * @param {Response} response @param {Uint8Array} body */
function httpStatus(response, body) {
  const from = response.redirected ? ` from ${response.url}, where the request was redirected to` : "";
  const type = response.headers.get("content-type") ?? "no content type";
  const text = new TextDecoder().decode(body.subarray(0, 2000)).trim();
  const code = BY_HTTP_STATUS[/** @type {keyof typeof BY_HTTP_STATUS} */ (response.status)] ?? UNKNOWN;
  return { code, message: `HTTP ${response.status}, ${type}${from}, is not a response of a call${text ? `: ${text}` : ""}` };
}

/** @param {any} schema @param {Response} response @param {AsyncIterable<Uint8Array>} chunks @param {(bytes: Uint8Array) => void} onMessage */
async function readConnect(schema, response, chunks, onMessage) {
  const body = await whole(chunks);
  const all = [...response.headers];
  const trailers = all.filter(([name]) => name.startsWith("trailer-")).map(([name, value]) => [name.slice("trailer-".length), value]);
  if (response.ok) {
    if (!/^application\/(json|proto)/.test(response.headers.get("content-type") ?? "")) return httpStatus(response, body);
    onMessage(body);
    return { code: OK, trailers };
  }
  try {
    return { ...connectError(schema, JSON.parse(new TextDecoder().decode(body))), trailers };
  } catch {
    return httpStatus(response, body);
  }
}

/** @param {any} schema @param {Response} response @param {AsyncIterable<Uint8Array>} chunks @param {(bytes: Uint8Array) => void} onMessage */
async function readConnectStream(schema, response, chunks, onMessage) {
  if (!response.ok) return readConnect(schema, response, chunks, onMessage);
  if (!(response.headers.get("content-type") ?? "").startsWith("application/connect+")) return httpStatus(response, await whole(chunks));
  let end;
  for await (const [flags, payload] of frames(chunks)) {
    if (flags & 2) end = JSON.parse(new TextDecoder().decode(payload));
    else onMessage(payload);
  }
  if (!end) throw new Error("it ends without a status");
  const trailers = Object.entries(end.metadata ?? {}).map(([name, values]) => [name, values.join(", ")]);
  return { ...(end.error ? connectError(schema, end.error) : { code: OK }), trailers };
}

/** @param {any} schema @param {any} error */
function connectError(schema, error) {
  const name = error.code === "canceled" ? "CANCELLED" : String(error.code).toUpperCase();
  if (!CODES.includes(name)) throw new Error(`the code ${error.code} is unknown`);
  const details = (error.details ?? []).map((/** @type {any} */ { type, value }) => anyOf(schema, `type.googleapis.com/${type}`, value));
  return { code: CODES.indexOf(name), message: error.message ?? "", details };
}
