// What comes back from a call: messages as they come, at last the status.

import { CODES } from "./calls.js";
import { copy, duration, el, size } from "./dom.js";

const MOST_MESSAGES = 200;
const MOST_CHARACTERS = 50_000;

/** @param {number} code */
export const statusName = (code) => `${CODES[code] ?? "UNKNOWN"} (${code})`;

export function responseView() {
  const status = el("div", { class: "status", role: "status" }, el("p", { class: "quiet" }, "Nothing has been called yet."));
  const messages = el("ol", { class: "messages" });
  const notice = el("p", { class: "quiet", hidden: true });
  const rest = el("div");
  const type = el("code", { class: "type" });
  const element = el("section", { class: "panel response", "aria-labelledby": "response-title" },
    el("div", { class: "panel-head" }, el("h2", { id: "response-title" }, "Response"), type), status, notice, messages, rest);
  let [count, started, isStream] = [0, 0, false];
  /** @type {{message: any, bytes: number, number: number, at: number}[]} */
  let waiting = [];

  const flush = () => {
    // Elements for those alone that will be seen.
    for (const each of waiting.slice(-MOST_MESSAGES)) messages.append(messageView(each, isStream));
    waiting = [];
    while (messages.children.length > MOST_MESSAGES) messages.firstChild.remove();
    const dropped = count - messages.children.length;
    notice.hidden = dropped <= 0;
    notice.textContent = `The last ${MOST_MESSAGES} of ${count} messages are shown.`;
  };
  const progress = () => {
    if (waiting.length) flush();
    status.replaceChildren(el("p", { class: "running" }, isStream ? `Running: ${count} ${count === 1 ? "message" : "messages"}` : "Running …"));
  };
  let timer = 0;

  return {
    element,
    begin(/** @type {any} */ method) {
      [count, started, isStream, waiting] = [0, performance.now(), Boolean(method.serverStreaming), []];
      messages.replaceChildren();
      rest.replaceChildren();
      notice.hidden = true;
      type.textContent = (isStream ? "stream of " : "") + method.response.slice(method.response.lastIndexOf(".") + 1);
      clearInterval(timer);
      progress();
      timer = setInterval(() => waiting.length && progress(), 100);
    },
    headers() {},
    message(/** @type {any} */ message, /** @type {number} */ bytes) {
      count += 1;
      waiting.push({ message, bytes, number: count, at: performance.now() - started });
      if (count === 1) progress();
      else if (waiting.length > 2 * MOST_MESSAGES) waiting.splice(0, MOST_MESSAGES);
    },
    end(/** @type {any} */ end) {
      clearInterval(timer);
      flush();
      const isGood = end.code === 0;
      status.replaceChildren(
        el("p", { class: `outcome ${isGood ? "good" : "bad"}` }, statusName(end.code)),
        end.message ? el("p", { class: "status-message" }, end.message) : "",
        el("ul", { class: "numbers" },
          el("li", {}, duration(end.milliseconds)),
          isStream && el("li", {}, `${count} ${count === 1 ? "message" : "messages"}`),
          el("li", {}, `${size(end.sent)} sent`), el("li", {}, `${size(end.received)} received`)));
      rest.replaceChildren(
        ...(end.details.length ? [el("h3", {}, "Details"), ...end.details.map(detailView)] : []),
        pairs("Headers", end.headers), pairs("Trailers", end.trailers));
    },
  };
}

/** @param {{message: any, bytes: number, number: number, at: number}} options @param {boolean} isStream */
function messageView({ message, bytes, number, at }, isStream) {
  const text = JSON.stringify(message, null, 2);
  const button = el("button", { type: "button", class: "small", "aria-label": isStream ? `Copy message ${number}` : "Copy message", onclick: () => copy(text) }, "Copy");
  return el("li", {},
    el("div", { class: "message-head" }, el("span", {}, isStream ? `${number}` : "Message"), el("span", {}, `+${duration(at)}`), el("span", {}, size(bytes)), button),
    code(text, isStream ? `Message ${number}` : "Message"));
}

/** @param {any} detail */
function detailView({ "@type": type, ...fields }) {
  return el("div", { class: "detail" }, el("p", { class: "detail-type" }, type.slice(type.lastIndexOf("/") + 1)), code(JSON.stringify(fields, null, 2), type));
}

/** @param {string} text JSON @param {string} label */
function code(text, label) {
  const pre = el("pre", { class: "code", tabindex: "0", role: "group", "aria-label": label });
  if (text.length <= MOST_CHARACTERS) return coloured(pre, text);
  pre.textContent = `${text.slice(0, MOST_CHARACTERS)} …`;
  const button = el("button", { type: "button", class: "small", onclick: () => {
    pre.textContent = text;
    button.remove();
  } }, `Show all ${size(text.length)}`);
  return el("div", {}, pre, button);
}

/** @param {any} pre @param {string} text */
function coloured(pre, text) {
  for (const [token, key, string, literal] of text.matchAll(/("(?:[^"\\]|\\.)*")(?=:)|("(?:[^"\\]|\\.)*")|(-?\d[\d.eE+-]*|true|false|null)|[^"\d\-a-z]+|./g)) {
    const kind = key ? "key" : string ? "string" : literal ? "literal" : null;
    pre.append(kind ? el("span", { class: kind }, token) : token);
  }
  return pre;
}

/** @param {string} title @param {[string, string][]} all */
function pairs(title, all) {
  if (!all.length) return "";
  return el("details", {}, el("summary", {}, `${title} (${all.length})`),
    el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": title }, el("table", {}, el("tbody", {}, all.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value)))))));
}
