// Elements, made without markup: texts are never parsed.

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes] of which `on…` are listeners; what is false or missing is left out
 * @param {...any} children texts and elements; what is false or missing is left out
 * @returns {any}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** A link to a page elsewhere; a text where there is none, or what is no address of the web.
 * @param {string | undefined} url @param {...any} content */
export function linkTo(url, ...content) {
  const isPage = /^https?:\/\//i.test(url ?? "");
  return isPage ? el("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, ...content) : el("span", {}, ...content);
}

let last = 0;
/** An id that no other element has. */
export const newId = () => `id-${++last}`;

/** The paragraphs of a comment of a proto file. Lines are joined, but for lists and what is indented.
 * @param {string | undefined} text */
export function prose(text) {
  return (text ?? "").split(/\n\s*\n/).filter(Boolean).map((paragraph) => {
    const lines = paragraph.split("\n").reduce((/** @type {string[]} */ found, line) => {
      if (found.length && !/^\s|^[-*•]\s|^\d+[.)]\s/.test(line)) found[found.length - 1] += ` ${line.trim()}`;
      else found.push(line);
      return found;
    }, []);
    return el("p", {}, ...inline(lines.join("\n")));
  });
}

/** A text in which `names` between backticks are code.
 * @param {string} text */
function inline(text) {
  return text.split(/`([^`\n]+)`/).map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

/** The first sentence of a comment.
 * @param {string | undefined} text */
export const firstSentence = (text) => (text ?? "").split(/\n\s*\n/)[0].replace(/\s+/g, " ").match(/^.*?[.!?](?=\s|$)|^.*/)?.[0] ?? "";

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** @param {number} milliseconds */
export const duration = (milliseconds) =>
  milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(2)} s`;

/** Copy a text, also where the page is not of a secure origin.
 * @param {string} text @param {any} within a dialog that is open, outside of which nothing can be selected */
export async function copy(text, within = document.body) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = el("textarea", { "aria-hidden": "true", class: "visually-hidden" });
  area.value = text;
  within.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
