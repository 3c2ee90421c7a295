// The page of services and methods.

import { byId, el, firstSentence, prose } from "./dom.js";
import { methodPage } from "./method.js";
import { openSession } from "./session.js";

const MANY = 300; // methods: beyond them, the overview shows services alone

/** @type {any} */
let schema;
/** @type {Map<string, {service: any, method: any}>} */
const methods = new Map();
/** @type {{text: string, item: any, group: any}[]} */
let items = [];
let leave = () => {};

const shortName = (/** @type {string} */ name) => name.slice(name.lastIndexOf(".") + 1);
const packageOf = (/** @type {string} */ name) => name.slice(0, Math.max(name.lastIndexOf("."), 0));
const linkTo = (/** @type {any} */ service, /** @type {any} */ method) => `#/${service.name}/${method.name}`;

async function start() {
  byId("menu").addEventListener("click", () => showList(!document.body.classList.contains("list-open")));
  try {
    schema = await openSession();
  } catch (error) {
    byId("main").replaceChildren(el("h1", {}, "The services cannot be shown"), el("p", { class: "wrong", role: "alert" }, /** @type {Error} */ (error).message));
    return;
  }
  schema.services.sort((/** @type {any} */ a, /** @type {any} */ b) => Number(a.name.startsWith("grpc.")) - Number(b.name.startsWith("grpc.")));
  for (const service of schema.services) for (const method of service.methods) methods.set(`${service.name}/${method.name}`, { service, method });
  buildList();
  addEventListener("hashchange", () => show());
  addEventListener("keydown", shortcut);
  show();
}

// The list

function buildList() {
  items = [];
  byId("services").replaceChildren(...schema.services.map((/** @type {any} */ service) => {
    const group = el("section", { "aria-label": service.name },
      el("h2", { title: service.name }, shortName(service.name), " ", el("span", { class: "package" }, packageOf(service.name))));
    const list = el("ul");
    for (const method of service.methods) {
      const item = el("li", {}, el("a", { href: linkTo(service, method), class: method.deprecated ? "is-deprecated" : null },
        el("span", {}, method.name), (method.serverStreaming || method.clientStreaming) && el("span", { class: "kind" }, "stream")));
      list.append(item);
      items.push({ text: `${service.name}/${method.name}`.toLowerCase(), item, group });
    }
    group.append(list);
    return group;
  }));
  const filter = byId("filter");
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = new Set();
    let count = 0;
    for (const { text, item, group } of items) {
      const fits = words.every((/** @type {string} */ word) => text.includes(word));
      item.hidden = !fits;
      if (fits) {
        shown.add(group);
        count += 1;
      }
    }
    for (const { group } of items) group.hidden = !shown.has(group);
    byId("found").textContent = words.length ? `${count} of ${items.length} methods` : "";
  });
  filter.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const first = items.find(({ item }) => !item.hidden)?.item.querySelector("a");
    if (!first || !["Enter", "ArrowDown"].includes(event.key)) return;
    event.preventDefault();
    event.key === "Enter" ? first.click() : first.focus();
  });
  byId("services").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const links = items.filter(({ item }) => !item.hidden).map(({ item }) => item.querySelector("a"));
    const at = links.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    (links[at + step] ?? (step < 0 ? filter : links[at])).focus();
  });
}

/** @param {boolean} isOpen on narrow screens, where it covers the page */
function showList(isOpen) {
  document.body.classList.toggle("list-open", isOpen);
  byId("menu").setAttribute("aria-expanded", String(isOpen));
  if (isOpen) byId("filter").focus();
}

// Pages

function show() {
  leave();
  leave = () => {};
  showList(false);
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const name = decoded(path);
  const found = methods.get(name);
  for (const link of document.querySelectorAll('#services a[aria-current="page"]')) link.removeAttribute("aria-current");
  if (!found) {
    byId("main").replaceChildren(...overview(name));
    document.title = `${schema.title} · gRPC console`;
  } else {
    const page = methodPage(schema, found.service, found.method, new URLSearchParams(query));
    leave = page.leave;
    byId("main").replaceChildren(page.element);
    document.title = `${found.method.name} · ${schema.title}`;
    const link = /** @type {any} */ (document.querySelector(`#services a[href="${CSS.escape(location.hash.split("?")[0])}"]`))
      ?? items.find(({ text }) => text === name.toLowerCase())?.item.querySelector("a");
    link?.setAttribute("aria-current", "page");
    link?.scrollIntoView({ block: "nearest" });
  }
  byId("main").focus({ preventScroll: true });
  scrollTo(0, 0);
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @param {string} wrong the name of a method that is not there */
function overview(wrong) {
  const isLong = methods.size > MANY;
  return [
    wrong && el("p", { class: "wrong", role: "alert" }, `There is no method ${wrong} here.`),
    el("h1", {}, schema.title),
    el("p", { class: "lead" }, `${schema.services.length} ${schema.services.length === 1 ? "service" : "services"} and ${methods.size} methods, served in `,
      new Intl.ListFormat("en").format(schema.protocols.map((/** @type {string} */ each) => ({ "grpc-web": "gRPC-Web", connect: "Connect", grpc: "gRPC" })[each] ?? each)), "."),
    ...schema.services.map((/** @type {any} */ service) => el("section", { class: "service" },
      el("h2", {}, shortName(service.name), " ", el("span", { class: "package" }, packageOf(service.name))),
      el("div", { class: "comment" }, prose(service.comment)),
      isLong ? el("p", { class: "quiet" }, `${service.methods.length} methods`) : el("ul", { class: "cards" }, service.methods.map((/** @type {any} */ method) =>
        el("li", {}, el("a", { href: linkTo(service, method), class: method.deprecated ? "is-deprecated" : null }, method.name),
          (method.serverStreaming || method.clientStreaming) && el("span", { class: "kind" }, "stream"),
          el("p", {}, firstSentence(method.comment))))))),
  ].filter(Boolean);
}

/** @param {KeyboardEvent} event */
function shortcut(event) {
  const isTyping = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !document.querySelector("dialog[open]")) {
    event.preventDefault();
    showList(true);
  } else if (event.key === "Escape" && document.body.classList.contains("list-open")) {
    showList(false);
    byId("menu").focus();
  }
}

start();
