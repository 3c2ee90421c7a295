// What all pages of the console have: the schema of the server, and the credentials of whoever sits before it.

import { call } from "./calls.js";
import { byId, el } from "./dom.js";

/** Of this console alone: another app of the same origin has a token of its own. */
const KEPT = `grpc-console-token ${new URL(".", document.baseURI).pathname}`;
/** Of this tab only, and in no address; in its storage when that is wanted. */
let credentials = kept();
const INVALID_ARGUMENT = 3;
/** @type {any} */
let schema;

export const hasToken = () => Boolean(credentials.token);
export const tokenHeader = () => credentials.header;

function kept() {
  try {
    const { token, header } = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
    if (token && header) return { token: String(token), header: String(header) };
  } catch {
    // Written by another program, or no storage at all.
  }
  return { token: "", header: "authorization" };
}

/** @returns {[string, string][]} */
export function tokenMetadata() {
  if (!credentials.token) return [];
  return [[credentials.header, credentials.header === "authorization" ? `Bearer ${credentials.token}` : credentials.token]];
}

/** The schema of the server: asks for a token for as long as it is needed and there is none that will do.
 * @returns {Promise<any>} */
export async function openSession() {
  byId("token").addEventListener("click", async () => {
    await askForToken("");
    showToken();
  });
  for (let reason = ""; ; ) {
    const response = await fetch("schema.json", { headers: tokenMetadata(), cache: "no-store" });
    const isSchema = response.ok && (response.headers.get("content-type") ?? "").startsWith("application/json");
    if (isSchema) {
      schema = await response.json();
      break;
    }
    reason = (await response.text()).slice(0, 500).trim();
    if (response.status !== 401 && response.status !== 403) {
      throw new Error(`HTTP ${response.status}${response.redirected ? `, redirected to ${response.url}` : ""}: ${isHtml(response) ? "log in to the app first" : reason}`);
    }
    while (!(await askForToken(reason)));
  }
  document.title = `${schema.title} · gRPC console`;
  byId("title").textContent = schema.title;
  byId("pages").replaceChildren(...[{ href: "./", text: "Services" }, ...schema.pages].map(({ href, text }) => {
    const isCurrent = new URL(href, document.baseURI).pathname === location.pathname;
    return el("a", { href, "aria-current": isCurrent ? "page" : null }, text);
  }));
  byId("pages").hidden = !schema.pages.length;
  byId("token").hidden = !schema.authenticates && !hasToken();
  showToken();
  return schema;
}

function showToken() {
  byId("token").textContent = hasToken() ? "Token is set" : "Set token";
}

const isHtml = (/** @type {Response} */ response) => (response.headers.get("content-type") ?? "").startsWith("text/html");

/** Call a unary method by its name, as `package.Service/Method`, with the JSON of its request; how it ended is never an exception.
 * @param {string} name @param {any} request
 * @param {{signal?: AbortSignal, timeout?: number, metadata?: [string, string][]}} [options]
 * @returns {Promise<{code: number, message: string, details: any[], response?: any}>} */
export async function callUnary(name, request, options = {}) {
  const [serviceName, methodName] = name.split("/");
  const service = schema.services.find((/** @type {any} */ each) => each.name === serviceName);
  const method = service?.methods.find((/** @type {any} */ each) => each.name === methodName);
  if (!method) return { code: 12, message: `${name} is not served here`, details: [] };
  let response;
  const protocol = schema.protocols.includes("grpc-web") ? "grpc-web" : "connect";
  const onMessage = (/** @type {any} */ message) => (response = message);
  const metadata = [...tokenMetadata(), ...(options.metadata ?? [])];
  try {
    const end = await call(schema, service, method, { ...options, protocol, requests: [request], metadata, onMessage });
    return { ...end, response };
  } catch (error) {
    // A request that no message can be made of.
    return { code: INVALID_ARGUMENT, message: /** @type {Error} */ (error).message, details: [] };
  }
}

/** @param {string} reason why one is needed @returns {Promise<boolean>} whether there is another one now */
function askForToken(reason) {
  return new Promise((resolve) => {
    const token = el("input", { id: "token-text", type: "password", autocomplete: "off", spellcheck: "false" });
    const header = el("select", { id: "token-header" },
      el("option", { value: "authorization" }, "Authorization: Bearer"),
      el("option", { value: "x-grpc-auth-token" }, "X-Grpc-Auth-Token"));
    const keep = el("input", { id: "token-keep", type: "checkbox" });
    [token.value, header.value, keep.checked] = [credentials.token, credentials.header, sessionStorage.getItem(KEPT) !== null];
    let isDone = false;
    const dialog = el("dialog", { "aria-labelledby": "token-title", onclose: () => {
      dialog.remove();
      resolve(isDone);
    } },
    el("form", { method: "dialog", onsubmit: () => {
      isDone = true;
      credentials = { token: token.value.trim(), header: header.value };
      if (keep.checked && credentials.token) sessionStorage.setItem(KEPT, JSON.stringify(credentials));
      else sessionStorage.removeItem(KEPT);
    } },
    el("h2", { id: "token-title" }, "Token"),
    el("p", { class: reason ? "wrong" : "quiet" }, reason || "It is sent with every call, and is part of no link."),
    el("label", { for: "token-text" }, "Token"), token,
    el("label", { for: "token-header" }, "Sent as"), header,
    el("div", { class: "check" }, keep, el("label", { for: "token-keep" }, "Keep it until this tab is closed")),
    el("div", { class: "actions" },
      el("button", { class: "primary" }, "Use token"),
      el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"))));
    document.body.append(dialog);
    dialog.showModal();
    token.focus();
  });
}
