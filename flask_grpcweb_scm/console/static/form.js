// A form made from the schema of a message. Every editor is {element, read(), focus()}: read() returns JSON, or undefined
// for what is not set, and throws a FieldError for what cannot be.

import { byId, el, newId, prose } from "./dom.js";
import { FieldError, checkScalar, isInteger, isSpecial, isWrapper, jsonName, parseJson, toBase64 } from "./protobuf.js";

const HINTS = {
  "google.protobuf.Timestamp": "2030-01-31T12:00:00Z",
  "google.protobuf.Duration": "1.5s",
  "google.protobuf.FieldMask": "name,author.email",
  "google.protobuf.Any": '{"@type": "type.googleapis.com/…"}',
  "google.protobuf.Struct": '{"key": "value"}',
  "google.protobuf.ListValue": '["value", 2]',
  "google.protobuf.Value": 'any JSON, such as "text"',
};
const AS_JSON = new Set(["Any", "Struct", "ListValue", "Value"].map((name) => `google.protobuf.${name}`));

/** The editor of the requests of a method.
 * @param {any} schema @param {any} method @param {any[]} requests */
export function requestEditor(schema, method, requests) {
  if (!method.clientStreaming) {
    const editor = messageEditor(schema, method.request, requests[0] ?? {});
    return { ...editor, read: () => [editor.read()] };
  }
  const field = { name: "requests", type: "message", of: method.request, repeated: true };
  const editor = listEditor(schema, field, requests, "");
  return { ...editor, read: () => editor.read() ?? [] };
}

/** @param {any} schema @param {string} type @param {any} value @param {string} [path] */
function messageEditor(schema, type, value, path = "") {
  const { fields = [], oneofs = {} } = schema.messages[type];
  const done = new Set();
  /** @type {{names: string[], editor: any}[]} */
  const rows = [];
  for (const field of fields) {
    if (field.oneof && done.has(field.oneof)) continue;
    done.add(field.oneof);
    if (field.oneof) {
      const choices = fields.filter((/** @type {any} */ each) => each.oneof === field.oneof);
      rows.push({ names: choices.map(jsonName), editor: oneofEditor(schema, field.oneof, own(oneofs, field.oneof), choices, value, path) });
    } else {
      rows.push({ names: [jsonName(field)], editor: fieldEditor(schema, field, valueOf(value, field), join(path, jsonName(field))) });
    }
  }
  const element = el("div", { class: "message" }, rows.map(({ editor }) => editor.element));
  if (!rows.length) element.append(el("p", { class: "quiet" }, "This message has no fields."));
  const read = () => Object.fromEntries(rows.flatMap(({ names, editor }) => {
    const found = editor.read();
    if (editor.isOneof) return Object.entries(found);
    return found === undefined ? [] : [[names[0], found]];
  }));
  return { element, read, focus: () => element.querySelector("input, select, textarea, button")?.focus() };
}

const join = (/** @type {string} */ path, /** @type {string} */ name) => (path ? `${path}.${name}` : name);
/** What an object has of its own: a field may have a name such as `constructor`.
 * @param {any} value @param {string} name */
const own = (value, name) => (value != null && Object.hasOwn(value, name) ? value[name] : undefined);
const valueOf = (/** @type {any} */ value, /** @type {any} */ field) => own(value, jsonName(field)) ?? own(value, field.name);
const nullable = (/** @type {any} */ field) => field.of === "google.protobuf.Value" || field.of === "google.protobuf.NullValue";
const isSet = (/** @type {any} */ value, /** @type {any} */ field) =>
  valueOf(value, field) !== undefined || (nullable(field) && value != null && (Object.hasOwn(value, jsonName(field)) || Object.hasOwn(value, field.name)));

/** @param {any} schema @param {string} name @param {string | undefined} comment @param {any[]} choices @param {any} value @param {string} path */
function oneofEditor(schema, name, comment, choices, value, path) {
  const place = el("div", { class: "chosen" });
  /** @type {any} */
  let editor;
  const show = (/** @type {string} */ chosen, /** @type {any} */ initial) => {
    const field = choices.find((each) => each.name === chosen);
    editor = field && valueEditor(schema, { ...field, optional: false, oneof: undefined }, initial, join(path, jsonName(field)), { isAlwaysSet: true, label: jsonName(field) });
    place.replaceChildren(...(field ? [comments(field), editor.element] : []));
  };
  const id = newId();
  const select = el("select", { id, onchange: () => show(select.value, undefined) },
    el("option", { value: "" }, "none of these"),
    choices.map((each) => el("option", { value: each.name }, jsonName(each))));
  const first = choices.find((each) => isSet(value, each));
  if (first) {
    select.value = first.name;
    show(first.name, valueOf(value, first));
  }
  const element = el("div", { class: "field oneof" },
    el("div", { class: "label" }, el("label", { for: id }, name), el("span", { class: "type" }, "one of")),
    el("div", { class: "comment" }, prose(comment)),
    el("div", { class: "control" }, select), place);
  const read = () => {
    const field = choices.find((each) => each.name === select.value);
    return field ? { [jsonName(field)]: editor.read() ?? editor.zero } : {};
  };
  return { element, read, isOneof: true };
}

/** @param {any} field */
function comments(field) {
  return field.comment || field.deprecated || field.default
    ? el("div", { class: "comment" },
        field.deprecated && el("p", { class: "deprecated" }, "Deprecated."),
        prose(field.comment),
        field.default && el("p", {}, `Default: ${field.default}`))
    : null;
}

/** @param {any} field */
function typeName(field) {
  const of = field.of ? field.of.slice(field.of.lastIndexOf(".") + 1) : field.type;
  return field.key ? `map<${field.key}, ${of}>` : field.repeated ? `repeated ${of}` : of;
}

/** A field with its name and comment.
 * @param {any} schema @param {any} field @param {any} value @param {string} path */
function fieldEditor(schema, field, value, path) {
  const id = newId();
  /** @type {any} */
  const editor = valueEditor(schema, field, value, path, { id });
  const isGroup = !editor.isLabelled;
  const label = isGroup ? el("span", { id, class: "name" }, jsonName(field)) : el("label", { for: id }, jsonName(field));
  const element = el("div", { class: "field", ...(isGroup ? { role: "group", "aria-labelledby": id } : {}) },
    el("div", { class: "label" }, label, el("span", { class: "type" }, typeName(field)), editor.beside),
    comments(field), editor.element);
  return { ...editor, element };
}

/** @param {any} schema @param {any} field @param {any} value @param {string} path @param {any} [options] */
function valueEditor(schema, field, value, path, options = {}) {
  if (field.key) return mapEditor(schema, field, value, path);
  if (field.repeated) return listEditor(schema, field, value, path);
  if (field.type === "message" || field.type === "group") {
    if (isWrapper(field.of)) return scalarEditor(schema, { ...schema.messages[field.of].fields[0], optional: true }, value, path, options);
    if (isSpecial(field.of)) return textEditor(field, value, path, options);
    return nestedEditor(schema, field, value, path, options);
  }
  return scalarEditor(schema, field, value, path, options);
}

/** A message within another: made when it is asked for, for messages may be in themselves.
 * @param {any} schema @param {any} field @param {any} value @param {string} path @param {any} options */
function nestedEditor(schema, field, value, path, { isAlwaysSet = false }) {
  const place = el("div", { class: "nested" });
  /** @type {any} */
  let editor;
  const set = (/** @type {any} */ initial) => {
    editor = messageEditor(schema, field.of, initial ?? {}, path);
    place.replaceChildren(editor.element);
  };
  const unset = () => {
    editor = undefined;
    place.replaceChildren();
  };
  if (isAlwaysSet || value !== undefined) set(value);
  const name = jsonName(field);
  const toggle = isAlwaysSet ? null : el("button", { type: "button", class: "small", "aria-expanded": String(Boolean(editor)), onclick: () => {
    editor ? unset() : set(undefined);
    update();
    editor?.focus();
  } });
  const update = () => {
    if (!toggle) return;
    toggle.textContent = editor ? "Remove" : "Add";
    toggle.setAttribute("aria-label", `${toggle.textContent} ${name}`);
    toggle.setAttribute("aria-expanded", String(Boolean(editor)));
  };
  update();
  return { element: place, beside: toggle, zero: {}, read: () => editor?.read(), focus: () => editor?.focus() };
}

/** @param {any} schema @param {any} field @param {any} value @param {string} path */
function listEditor(schema, field, value, path) {
  const item = { ...field, repeated: false, optional: false };
  /** @type {{editor: any, row: any}[]} */
  const items = [];
  const list = el("ol", { class: "items" });
  const number = () => items.forEach(({ row }, index) => {
    row.querySelector(".remove").setAttribute("aria-label", `Remove ${jsonName(field)} ${index + 1}`);
  });
  const addItem = (/** @type {any} */ initial) => {
    const editor = valueEditor(schema, item, initial, `${path}[${items.length}]`, { isAlwaysSet: true, label: `${jsonName(field)} ${items.length + 1}` });
    const entry = { editor, row: el("li", {}, editor.element, el("button", { type: "button", class: "remove", onclick: () => {
      items.splice(items.indexOf(entry), 1);
      entry.row.remove();
      number();
      add.focus();
    } }, "×")) };
    items.push(entry);
    list.append(entry.row);
    number();
    return editor;
  };
  const add = el("button", { type: "button", class: "small", "aria-label": `Add ${jsonName(field)}`, onclick: () => addItem(undefined).focus() }, "Add");
  if (Array.isArray(value)) value.forEach(addItem);
  const read = () => (items.length ? items.map(({ editor }) => editor.read() ?? editor.zero) : undefined);
  return { element: list, beside: add, read, focus: () => add.focus() };
}

/** @param {any} schema @param {any} field @param {any} value @param {string} path */
function mapEditor(schema, field, value, path) {
  const key = { name: "key", type: field.key };
  const item = { ...field, key: undefined, optional: false };
  /** @type {{name: any, editor: any, row: any}[]} */
  const entries = [];
  const list = el("ol", { class: "items" });
  const addEntry = (/** @type {any} */ initialKey, /** @type {any} */ initial) => {
    const label = `${jsonName(field)} ${entries.length + 1}`;
    const name = scalarEditor(schema, key, field.key === "bool" ? initialKey === "true" : initialKey, `${path} key`, { label: `key of ${label}` });
    const editor = valueEditor(schema, item, initial, `${path}[${entries.length}]`, { isAlwaysSet: true, label: `value of ${label}` });
    const entry = { name, editor, row: el("li", { class: "entry" }, name.element, editor.element, el("button", { type: "button", class: "remove", "aria-label": `Remove ${label}`, onclick: () => {
      entries.splice(entries.indexOf(entry), 1);
      entry.row.remove();
      add.focus();
    } }, "×")) };
    entries.push(entry);
    list.append(entry.row);
    return name;
  };
  const add = el("button", { type: "button", class: "small", "aria-label": `Add to ${jsonName(field)}`, onclick: () => addEntry(undefined, undefined).focus() }, "Add");
  for (const [name, each] of Object.entries(value ?? {})) addEntry(name, each);
  const read = () => (entries.length
    ? Object.fromEntries(entries.map(({ name, editor }) => [String(name.read() ?? name.zero), editor.read() ?? editor.zero]))
    : undefined);
  return { element: list, beside: add, read, focus: () => add.focus() };
}

/** A control for one value. Where an empty one differs from none, a checkbox says which.
 * @param {any} schema @param {any} field @param {any} value @param {string} path @param {any} options */
function scalarEditor(schema, field, value, path, { id = newId(), label, isAlwaysSet = false } = {}) {
  const fallback = field.type === "bool" ? false : isInteger(field.type) || field.type === "double" || field.type === "float" ? 0 : "";
  const common = { id, "aria-label": label, spellcheck: "false", autocomplete: "off" };
  /** @type {any} */
  let control;
  /** @type {() => any} */
  let get;
  let zero = /** @type {any} */ (fallback);
  if (field.type === "enum") {
    const values = schema.enums[field.of].values;
    zero = values[0].name;
    control = el("select", common,
      field.optional && el("option", { value: "" }, "not set"),
      values.map((/** @type {any} */ each) => el("option", { value: each.name, title: each.comment }, each.name)));
    if (value !== undefined) {
      const known = values.find((/** @type {any} */ each) => each.name === value || each.number === value);
      if (!known) control.append(el("option", { value }, value));
      control.value = known?.name ?? value;
    }
    get = () => (control.value === "" ? undefined : checkScalar(schema, field, control.value, path));
  } else if (field.type === "bool") {
    control = el("select", common,
      field.optional && el("option", { value: "" }, "not set"), el("option", { value: "false" }, "false"), el("option", { value: "true" }, "true"));
    control.value = value === undefined ? (field.optional ? "" : "false") : String(value);
    get = () => (control.value === "" ? undefined : control.value === "true");
  } else if (field.type === "string" || field.type === "bytes") {
    control = field.secret ? el("input", { ...common, type: "password" }) : el("textarea", { ...common, rows: 1 });
    control.value = value ?? "";
    if (field.type === "bytes") control.placeholder = "base64";
    get = () => checkScalar(schema, field, control.value, path);
  } else {
    control = el("input", { ...common, inputmode: isInteger(field.type) ? "numeric" : "decimal", placeholder: field.optional ? "" : "0" });
    control.value = value ?? "";
    get = () => (control.value.trim() === "" ? undefined : checkScalar(schema, field, control.value, path));
  }
  const hasText = field.type === "string" || field.type === "bytes";
  const set = hasText && field.optional ? el("input", { type: "checkbox", "aria-label": `set ${label ?? field.name}` }) : null;
  if (set) {
    set.checked = value !== undefined;
    control.addEventListener("input", () => (set.checked = true));
  }
  const read = () => {
    const found = get();
    if (set) return set.checked ? found : undefined;
    const isImplicit = !isAlwaysSet && !field.optional && (found === zero || (isInteger(field.type) && String(found) === "0"));
    return isImplicit ? undefined : found;
  };
  return { ...checkedControl(control, read, field.type === "bytes" ? fileButton(control, set) : null, set), zero };
}

/** A message that JSON writes as a text, or that has any JSON in it.
 * @param {any} field @param {any} value @param {string} path @param {any} options */
function textEditor(field, value, path, { id = newId(), label, isAlwaysSet = false }) {
  const isJson = AS_JSON.has(field.of);
  const hint = HINTS[/** @type {keyof typeof HINTS} */ (field.of)];
  const control = el(isJson ? "textarea" : "input", { id, "aria-label": label, rows: isJson ? 1 : null, placeholder: hint, spellcheck: "false", autocomplete: "off", class: "code" });
  if (value !== undefined) control.value = isJson ? JSON.stringify(value, null, 2) : value;
  const isTime = field.of === "google.protobuf.Timestamp";
  const now = isTime && el("button", { type: "button", class: "small", onclick: () => (control.value = new Date().toISOString()) }, "Now");
  const zero = { "google.protobuf.Timestamp": "1970-01-01T00:00:00Z", "google.protobuf.Duration": "0s", "google.protobuf.FieldMask": "", "google.protobuf.Value": null, "google.protobuf.ListValue": [] }[/** @type {string} */ (field.of)];
  const read = () => {
    if (control.value.trim() === "") return undefined;
    if (!isJson) return control.value.trim();
    try {
      // Their numbers are doubles: no digit would be kept by a text, which is another kind of value.
      return field.of === "google.protobuf.Any" ? parseJson(control.value) : JSON.parse(control.value);
    } catch (error) {
      throw new FieldError(`this is not JSON: ${/** @type {Error} */ (error).message}`, path);
    }
  };
  return { ...checkedControl(control, read, now || null, null), zero: zero === undefined ? {} : zero };
}

/** @param {any} control @param {any} set */
function fileButton(control, set) {
  const file = el("input", { type: "file", hidden: true, onchange: async () => {
    if (!file.files[0]) return;
    control.value = toBase64(new Uint8Array(await file.files[0].arrayBuffer()));
    if (set) set.checked = true;
    control.dispatchEvent(new Event("input"));
  } });
  return el("span", {}, file, el("button", { type: "button", class: "small", onclick: () => file.click() }, "File…"));
}

/** A control that shows what is wrong with its value.
 * @param {any} control @param {() => any} get @param {any} after @param {any} set */
function checkedControl(control, get, after, set) {
  const message = el("p", { class: "wrong", id: newId(), hidden: true });
  const show = (/** @type {string} */ text) => {
    message.textContent = text;
    message.hidden = !text;
    if (text) {
      control.setAttribute("aria-invalid", "true");
      control.setAttribute("aria-describedby", message.id);
    } else {
      control.removeAttribute("aria-invalid");
      control.removeAttribute("aria-describedby");
    }
  };
  const read = () => {
    try {
      const value = get();
      show("");
      return value;
    } catch (error) {
      show(/** @type {Error} */ (error).message.replace(/^[^:]*: /, ""));
      control.focus();
      throw error;
    }
  };
  control.addEventListener("change", () => {
    const active = document.activeElement;
    try {
      read();
    } catch {
      active instanceof HTMLElement && active.focus();
    }
  });
  control.addEventListener("input", () => show(""));
  const element = el("div", { class: "control" }, set, control, after, message);
  return { element, read, isLabelled: true, focus: () => control.focus() };
}

export const focusFirst = () => byId("editor")?.querySelector("input, select, textarea, button")?.focus();
