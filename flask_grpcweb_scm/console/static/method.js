// The page of one method: its request, how it is sent, and what comes back.

import { call, makeRequest, protocolsFor } from "./calls.js";
import { byId, copy, el, newId, prose } from "./dom.js";
import { requestEditor } from "./form.js";
import { forget, history, remember, withoutSecrets } from "./history.js";
import { jsonName, parseJson } from "./protobuf.js";
import { responseView, statusName } from "./response.js";
import { hasToken, tokenHeader, tokenMetadata } from "./session.js";
import { snippets } from "./snippets.js";

/** Requests that have been written and not sent, and how they would be; of this page until it is closed.
 * @type {Map<string, any>} */
const drafts = new Map();
const chosen = { protocol: "", timeout: "", metadata: /** @type {[string, string][]} */ ([]) };

/** @param {any} schema @param {any} service @param {any} method @param {URLSearchParams} link what a link to share has */
export function methodPage(schema, service, method, link) {
  const name = `${service.name}/${method.name}`;
  const examples = method.examples ?? [];
  const linked = requestsOf(link.get("request"));
  let requests = linked ?? drafts.get(name) ?? examples[0]?.requests ?? (method.clientStreaming ? [] : [{}]);
  /** @type {any} */
  let editor;
  /** @type {AbortController | undefined} */
  let running;

  // The request

  const place = el("div", { id: "editor" });
  const problem = el("p", { class: "wrong", role: "alert", hidden: true });
  const showEditor = (/** @type {boolean} */ asJson) => {
    editor = asJson ? jsonEditor(method, requests) : requestEditor(schema, method, requests);
    place.replaceChildren(editor.element);
  };
  const readRequests = () => {
    problem.hidden = true;
    try {
      requests = editor.read();
      return true;
    } catch (error) {
      showProblem(/** @type {Error} */ (error).message);
      return false;
    }
  };
  const showProblem = (/** @type {string} */ text) => {
    problem.textContent = text;
    problem.hidden = false;
  };
  const isJson = () => view.querySelector("input[value=json]").checked;
  const view = segments("View", [["form", "Form"], ["json", "JSON"]], "form", () => {
    if (readRequests()) showEditor(isJson());
    else view.querySelector(`input[value=${isJson() ? "form" : "json"}]`).checked = true;
  });
  const load = (/** @type {any[]} */ given) => {
    requests = given;
    problem.hidden = true;
    showEditor(isJson());
  };
  const exampleSelect = el("select", { "aria-label": "Example", class: "example", onchange: () => {
    const at = exampleSelect.value;
    if (at !== "") load(at === "empty" ? (method.clientStreaming ? [] : [{}]) : examples[Number(at)].requests);
    exampleSelect.value = "";
  } },
  el("option", { value: "" }, "Fill in …"),
  examples.map((/** @type {any} */ each, /** @type {number} */ index) => el("option", { value: index }, each.title)),
  el("option", { value: "empty" }, "An empty request"));

  // How it is sent

  const protocols = protocolsFor(schema, method);
  const protocol = el("select", { id: newId() }, protocols.map(({ id, name: text }) => el("option", { value: id }, text)));
  const wanted = link.get("protocol") ?? chosen.protocol;
  protocol.value = protocols.some(({ id }) => id === wanted) ? wanted : protocols[0]?.id;
  protocol.addEventListener("change", () => (chosen.protocol = protocol.value));
  const timeout = el("input", { id: newId(), inputmode: "decimal", placeholder: "none", autocomplete: "off" });
  timeout.value = link.get("timeout") ?? chosen.timeout;
  timeout.addEventListener("change", () => (chosen.timeout = timeout.value));
  const metadata = metadataEditor();
  const options = () => {
    if (timeout.value.trim() !== "" && !(Number(timeout.value) > 0)) {
      timeout.focus();
      throw new Error(`deadline: ${JSON.stringify(timeout.value)} is not a number of seconds`);
    }
    return { protocol: protocol.value, requests, timeout: Number(timeout.value) || undefined, metadata: metadata.read() };
  };

  // Sending

  const response = responseView();
  const send = el("button", { type: "submit", class: "primary", title: "Ctrl+Enter" }, "Call");
  const cancel = el("button", { type: "button", hidden: true, title: "Escape", onclick: () => running?.abort() }, "Cancel");
  const run = async () => {
    if (running || !readRequests()) return;
    let given;
    try {
      given = options();
      // What cannot be sent is said before anything else changes.
      makeRequest(schema, service, method, given);
    } catch (error) {
      showProblem(/** @type {Error} */ (error).message);
      return;
    }
    running = new AbortController();
    cancel.hidden = false;
    send.setAttribute("aria-disabled", "true"); // disabled in earnest, it would lose the focus
    response.begin(method);
    if (matchMedia("(max-width: 75rem)").matches) response.element.scrollIntoView();
    const end = await call(schema, service, method, {
      ...given, metadata: [...tokenMetadata(), ...given.metadata], signal: running.signal,
      onHeaders: response.headers, onMessage: response.message,
    });
    running = undefined;
    if (document.activeElement === cancel) send.focus();
    cancel.hidden = true;
    send.removeAttribute("aria-disabled");
    response.end(end);
    remember(schema.base, name, { requests: withoutSecrets(schema, method, requests), protocol: given.protocol, code: end.code, milliseconds: end.milliseconds, at: Date.now() });
    showHistory();
  };

  const past = el("ol", { class: "history" });
  const pastDetails = el("details", { class: "past" }, el("summary", {}, "History"), past,
    el("button", { type: "button", class: "small", onclick: () => {
      forget(schema.base, name);
      showHistory();
    } }, "Forget all"));
  const showHistory = () => {
    const entries = history(schema.base, name);
    pastDetails.hidden = !entries.length;
    pastDetails.querySelector("summary").textContent = `History (${entries.length})`;
    past.replaceChildren(...entries.map((entry) => el("li", {}, el("button", { type: "button", title: "Fill in this request", onclick: () => {
      load(entry.requests);
      if (protocols.some(({ id }) => id === entry.protocol)) protocol.value = entry.protocol;
    } },
    el("span", { class: entry.code === 0 ? "good" : "bad" }, statusName(entry.code)),
    el("span", { class: "request-text" }, JSON.stringify(method.clientStreaming ? entry.requests : entry.requests[0]).slice(0, 200)),
    el("time", { datetime: new Date(entry.at).toISOString() }, new Date(entry.at).toLocaleString())))));
  };
  showHistory();

  const said = el("span", { role: "status", class: "quiet" });
  const share = el("button", { type: "button", onclick: async () => {
    if (!readRequests()) return;
    const query = new URLSearchParams({ protocol: protocol.value, request: JSON.stringify(withoutSecrets(schema, method, requests)) });
    if (timeout.value) query.set("timeout", timeout.value);
    await copy(`${location.href.split("#")[0]}#/${name}?${query}`);
    said.textContent = "Link copied, without token and metadata.";
  } }, "Copy link");
  const copyAs = el("button", { type: "button", onclick: () => {
    if (!readRequests()) return;
    try {
      showSnippets(snippets(schema, service, method, { ...options(), hasToken: hasToken(), tokenHeader: tokenHeader() }));
    } catch (error) {
      showProblem(/** @type {Error} */ (error).message);
    }
  } }, "Copy as …");

  const form = el("form", { class: "panel request", "aria-labelledby": "request-title", novalidate: true, onsubmit: (/** @type {Event} */ event) => {
    event.preventDefault();
    run();
  } },
  el("div", { class: "panel-head" }, el("h2", { id: "request-title" }, "Request"), el("code", { class: "type" }, method.clientStreaming ? `stream of ${last(method.request)}` : last(method.request)), exampleSelect, view),
  place,
  el("div", { class: "sending" },
    el("div", {}, el("label", { for: protocol.id }, "Protocol"), protocol),
    el("div", {}, el("label", { for: timeout.id }, "Deadline (s)"), timeout),
    metadata.element),
  problem,
  el("div", { class: "actions" }, send, cancel, el("span", { class: "spring" }), share, copyAs),
  said, pastDetails);

  const onKey = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !document.querySelector("dialog[open]")) {
      event.preventDefault();
      run();
    } else if (event.key === "Escape" && running && !document.querySelector("dialog[open]")) running.abort();
  };
  addEventListener("keydown", onKey);
  showEditor(false);

  const kinds = [
    method.clientStreaming && method.serverStreaming ? "Streams both ways" : method.serverStreaming ? "Streams responses" : method.clientStreaming ? "Streams requests" : "Unary",
    method.safe && "No side effects",
    method.deprecated && "Deprecated",
  ].filter(Boolean);
  const element = el("article", {},
    el("p", { class: "service-name" }, service.name),
    el("h1", {}, method.name),
    el("p", { class: "badges" }, kinds.map((kind) => el("span", { class: kind === "Deprecated" ? "badge is-bad" : "badge" }, kind))),
    el("div", { class: "comment" }, prose(method.comment)),
    el("div", { class: "panels" }, form, response.element),
    messageTypes(schema, method));
  return {
    element,
    leave: () => {
      running?.abort();
      removeEventListener("keydown", onKey);
      try {
        drafts.set(name, editor.read());
      } catch {
        drafts.delete(name); // what is no message is not kept
      }
    },
  };
}

const last = (/** @type {string} */ name) => name.slice(name.lastIndexOf(".") + 1);

/** The requests that a link has; undefined for none, and for what is no request.
 * @param {string | null} text @returns {any[] | undefined} */
function requestsOf(text) {
  try {
    const found = text && parseJson(text);
    return Array.isArray(found) ? found : undefined;
  } catch {
    return undefined;
  }
}

/** @param {any} method @param {any[]} requests */
function jsonEditor(method, requests) {
  const value = method.clientStreaming ? requests : requests[0];
  const area = el("textarea", { class: "code json", spellcheck: "false", autocomplete: "off", rows: 8, "aria-label": method.clientStreaming ? "Requests, a list in JSON" : "Request in JSON" });
  area.value = JSON.stringify(value, null, 2);
  const read = () => {
    /** @type {any} */
    let found;
    try {
      found = parseJson(area.value || (method.clientStreaming ? "[]" : "{}"));
    } catch (error) {
      area.focus();
      throw new Error(`This is not JSON: ${/** @type {Error} */ (error).message}`);
    }
    if (method.clientStreaming && !Array.isArray(found)) throw new Error("The requests of a stream are a list: [{…}, {…}]");
    return method.clientStreaming ? found : [found];
  };
  return { element: area, read };
}

/** A choice between a few, of which all are seen.
 * @param {string} label @param {string[][]} choices @param {string} value @param {() => void} onchange */
function segments(label, choices, value, onchange) {
  const group = newId();
  return el("fieldset", { class: "segments" }, el("legend", { class: "visually-hidden" }, label), choices.map(([each, text]) => {
    const input = el("input", { type: "radio", id: newId(), name: group, value: each, checked: each === value, onchange });
    return [input, el("label", { for: input.id }, text)];
  }));
}

function metadataEditor() {
  const list = el("ol", { class: "items" });
  const keep = () => (chosen.metadata = rows().filter(([name]) => name));
  const rows = () => [...list.children].map((/** @type {any} */ row) => {
    const [name, value] = row.querySelectorAll("input");
    return /** @type {[string, string]} */ ([name.value.trim().toLowerCase(), value.value.trim()]);
  });
  const add = (/** @type {string} */ name = "", /** @type {string} */ value = "") => {
    const number = list.children.length + 1;
    const [nameInput, valueInput] = [["Name", name], ["Value", value]].map(([label, initial]) => {
      const input = el("input", { "aria-label": `${label} of metadata ${number}`, placeholder: label.toLowerCase(), autocomplete: "off", spellcheck: "false", onchange: keep });
      input.value = initial;
      return input;
    });
    const row = el("li", { class: "entry" }, nameInput, valueInput, el("button", { type: "button", class: "remove", "aria-label": `Remove metadata ${number}`, onclick: () => {
      row.remove();
      keep();
      button.focus();
    } }, "×"));
    list.append(row);
    return nameInput;
  };
  const button = el("button", { type: "button", class: "small", "aria-label": "Add metadata", onclick: () => add().focus() }, "Add");
  for (const [name, value] of chosen.metadata) add(name, value);
  const read = () => {
    keep();
    for (const [name, value] of chosen.metadata) {
      try {
        new Headers([[name, value]]);
      } catch {
        throw new Error(`metadata: ${JSON.stringify(name)} cannot have the value ${JSON.stringify(value)}`);
      }
    }
    return chosen.metadata;
  };
  return { element: el("div", { class: "metadata", role: "group", "aria-label": "Metadata" }, el("div", { class: "label" }, el("span", { class: "name" }, "Metadata"), button), list), read };
}

/** @param {{name: string, text: string}[]} all */
function showSnippets(all) {
  const text = el("pre", { tabindex: "0", class: "code", "aria-label": "Text to copy" });
  const said = el("span", { role: "status", class: "quiet" });
  const pick = () => {
    text.textContent = all.find(({ name }) => choice.querySelector("input:checked").value === name)?.text ?? "";
    said.textContent = "";
  };
  const choice = segments("Copy as", all.map(({ name }) => [name, name]), all[0].name, pick);
  pick();
  const dialog = el("dialog", { class: "wide", "aria-labelledby": "snippets-title", onclose: () => dialog.remove() },
    el("h2", { id: "snippets-title" }, "Copy as"), choice, text,
    el("p", { class: "quiet" }, hasToken() ? "The token is not in it: set TOKEN before." : ""),
    el("div", { class: "actions" },
      el("button", { type: "button", class: "primary", onclick: async () => {
        await copy(text.textContent ?? "", dialog);
        said.textContent = "Copied.";
      } }, "Copy"),
      el("button", { type: "button", onclick: () => dialog.close() }, "Close"), said));
  document.body.append(dialog);
  dialog.showModal();
}

/** The messages of a method, to be read.
 * @param {any} schema @param {any} method */
function messageTypes(schema, method) {
  const names = [method.request, method.response];
  for (const name of names) {
    for (const { of } of schema.messages[name]?.fields ?? []) {
      if (schema.messages[of] && !of.startsWith("google.protobuf.") && !names.includes(of)) names.push(of);
    }
  }
  const tables = [...new Set(names)].filter((name) => schema.messages[name]).map((name) => {
    const { fields = [], comment } = schema.messages[name];
    return el("section", {}, el("h3", {}, name), el("div", { class: "comment" }, prose(comment)),
      fields.length ? el("dl", { class: "fields" }, fields.map((/** @type {any} */ field) => [
        el("dt", {}, jsonName(field), " ", el("span", { class: "type" }, `${field.repeated ? "repeated " : ""}${field.key ? `map<${field.key}, ${last(field.of ?? field.type)}>` : last(field.of ?? field.type)}`)),
        el("dd", {}, prose(field.comment), enumValues(schema, field)),
      ])) : el("p", { class: "quiet" }, "No fields."));
  });
  return el("details", { class: "types" }, el("summary", {}, `Messages (${tables.length})`), tables);
}

/** @param {any} schema @param {any} field */
function enumValues(schema, field) {
  if (field.type !== "enum") return null;
  return el("p", { class: "quiet" }, schema.enums[field.of].values.map((/** @type {any} */ each) => each.name).join(", "));
}
