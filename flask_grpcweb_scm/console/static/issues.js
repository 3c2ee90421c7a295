// From a suspect commit to an issue at a tracker: created with the fields that the tracker requires, or found there, and
// linked to the error group.

import { el, linkTo, newId } from "./dom.js";
import { statusName } from "./response.js";
import { callUnary } from "./session.js";

const SERVICE = "sentry.integrations.scm.v1.ScmService";
const MOST_TRACE = 20_000; // characters of a stack trace in a description
const PAUSE = 400; // milliseconds without another key, before the fields are read again
const [INVALID_ARGUMENT, ALREADY_EXISTS] = [3, 6];
const METADATA = "metadata.";

/** @param {string} method @param {any} request @param {any} [options] */
const ask = (method, request, options) => callUnary(`${SERVICE}/${method}`, request, options);

/** A part of a suspect that is closed at first, and calls nothing until it is opened.
 * @param {{organizationId: string, projectId: string}} ids @param {any} suspect @param {string} stacktrace */
export function issueView(ids, suspect, stacktrace) {
  const view = el("details", { class: "issue", ontoggle: () => view.open && !view.querySelector("form") && open(view, ids, suspect, stacktrace) },
    el("summary", {}, "Create or link an issue"));
  return view;
}

/** @param {any} view @param {any} ids @param {any} suspect @param {string} stacktrace */
async function open(view, ids, suspect, stacktrace) {
  const place = el("div", { role: "status" }, el("p", { class: "quiet" }, "Looking for integrations …"));
  view.querySelector("[role=status]")?.remove();
  view.append(place);
  const integrations = [];
  for (let pageToken = ""; ; ) {
    const found = await ask("ListIntegrations", { organizationId: ids.organizationId, pageToken });
    if (found.code) return place.replaceChildren(problem(found));
    integrations.push(...(found.response.integrations ?? []));
    pageToken = found.response.nextPageToken ?? "";
    if (!pageToken) break;
  }
  if (!integrations.length) return place.replaceChildren(el("p", { class: "quiet" }, "The organization has no integration: flask scm add-integration adds one."));
  place.remove();
  view.append(formOf(ids, suspect, stacktrace, integrations));
}

/** @param {any} ids @param {any} suspect @param {string} stacktrace @param {any[]} integrations */
function formOf(ids, suspect, stacktrace, integrations) {
  const group = el("input", { inputmode: "numeric", pattern: "[1-9][0-9]*", required: true, autocomplete: "off", placeholder: "its number in the project" });
  const integration = el("select", {}, integrations.map(({ id, name, provider }) => el("option", { value: id }, `${name || `integration ${id}`} (${provider})`)));
  const title = el("input", { required: true, autocomplete: "off" });
  const description = el("textarea", { rows: "6", spellcheck: "false" });
  [title.value, description.value] = [titleOf(stacktrace), descriptionOf(suspect, stacktrace)];
  const fields = el("div", { class: "issue-fields" });
  const state = el("div", { class: "issue-state", role: "status" });
  const query = el("input", { type: "search", autocomplete: "off", placeholder: "words of its title, its key, or the address of its page" });
  const results = el("ul", { class: "issue-results" });
  const existing = el("section", {}, el("h4", {}, "Or link one that exists"), field("Issue", query),
    el("div", { class: "actions" }, el("button", { type: "button", onclick: search }, "Search"), el("button", { type: "button", onclick: () => linkKey(query.value) }, "Link by key or address")), results);
  const create = el("button", { class: "primary" }, "Create and link");
  let [turn, sent, key] = [0, "", ""];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const chosen = () => integrations.find(({ id }) => id === integration.value);
  const at = () => ({ organizationId: ids.organizationId, integrationId: integration.value });
  const inputs = () => /** @type {any[]} */ ([...fields.querySelectorAll("input")]);
  const metadata = () => Object.fromEntries(inputs().filter(({ value }) => value.trim()).map(({ name, value }) => [name, value.trim()]));

  /** Show the fields of the tracker, with what was typed into them. */
  async function describe() {
    const mine = ++turn;
    existing.hidden = !chosen().hasTracker;
    if (!chosen().hasTracker) return fields.replaceChildren(el("p", { class: "quiet" }, "Its issues exist in this database only."));
    const found = await ask("DescribeTrackerFields", { ...at(), metadata: metadata() });
    if (mine !== turn) return;
    const [given, active] = [metadata(), /** @type {any} */ (document.activeElement)?.name];
    const missing = violations(found).filter(({ field: name }) => name.startsWith(METADATA)).map(({ field: name, description: why }) => ({ name: name.slice(METADATA.length), required: true, decides: true, why }));
    const shown = found.code === INVALID_ARGUMENT && missing.length ? merged(missing, Object.keys(given)) : (found.response?.fields ?? []);
    const names = new Set(shown.map((/** @type {any} */ each) => each.name));
    // What says which project or type is meant is no field of an issue to some trackers, and stays.
    const rest = Object.keys(given).filter((name) => !names.has(name)).map((name) => ({ name, decides: true }));
    const [required, others] = [[...rest, ...shown.filter(isFirst)], shown.filter((/** @type {any} */ each) => !isFirst(each))];
    fields.replaceChildren(...required.map((each) => trackerField(each, given)),
      others.length ? el("details", {}, el("summary", {}, `Other fields (${others.length})`), others.map((/** @type {any} */ each) => trackerField(each, given))) : "",
      found.code && !missing.length ? problem(found) : "");
    if (active) inputs().find(({ name }) => name === active)?.focus();
  }

  async function send(/** @type {Event} */ event) {
    event.preventDefault();
    const request = { ...at(), title: title.value, description: description.value, metadata: metadata() };
    // The same request again, after whatever went wrong, makes no second issue.
    if (JSON.stringify(request) !== sent) [sent, key] = [JSON.stringify(request), randomKey()];
    await working("Creating the issue …", async () => {
      const groupId = await groupOf(title.value);
      const made = groupId && (await ask("CreateExternalIssue", request, { metadata: [["idempotency-key", key]] }));
      if (!made) return;
      if (made.code) return refused(made);
      await link({ groupId, externalIssueId: made.response.id }, made.response, "created");
    });
  }

  async function search() {
    if (!query.value.trim()) return query.focus();
    await working("Searching …", async () => {
      const found = await ask("SearchExternalIssues", { ...at(), query: query.value, metadata: metadata() });
      results.replaceChildren();
      if (found.code) return refused(found);
      const issues = found.response.issues ?? [];
      if (!issues.length) return state.replaceChildren(el("p", { class: "quiet" }, "No issue has these words."));
      results.replaceChildren(...issues.map((/** @type {any} */ each) => el("li", {},
        linkTo(each.webUrl, each.key), " ", each.title, " ", el("span", { class: "quiet" }, [each.status, each.assignee].filter(Boolean).join(", ")),
        el("button", { type: "button", class: "small", "aria-label": `Link ${each.key}`, onclick: () => linkKey(each.key) }, "Link"))));
    });
  }

  /** @param {string} text */
  async function linkKey(text) {
    if (!text.trim()) return query.focus();
    if (!group.reportValidity()) return;
    await working("Linking the issue …", async () => {
      const groupId = await groupOf("");
      if (groupId) await link({ groupId, integrationId: integration.value, externalKey: text.trim() }, undefined, "linked");
    });
  }

  /** @param {any} request @param {any} issue @param {string} done */
  async function link(request, issue, done) {
    const linked = await ask("LinkExternalIssue", request);
    if (linked.code && !(issue && linked.code === ALREADY_EXISTS)) return refused(linked);
    const { key: name, webUrl, title: text } = linked.response ?? issue;
    state.replaceChildren(el("p", { class: "good done", tabindex: "-1" }, linkTo(webUrl, name), ` ${text} is ${done === "created" ? "created, and linked" : "linked"} to error group ${group.value}.`));
    state.querySelector(".done").focus();
  }

  /** The id of the error group, which is made where it is not known; empty when that fails.
   * @param {string} name of a new one */
  async function groupOf(name) {
    const upsert = { ...ids, shortId: group.value };
    let found = await ask("UpsertGroup", upsert);
    if (!found.code && !found.response.title && name) found = await ask("UpsertGroup", { ...upsert, title: name });
    if (found.code) refused(found);
    return found.code ? "" : found.response.id;
  }

  /** Show what is wrong, at the fields that it is about.
   * @param {any} end */
  function refused(end) {
    const wrong = new Map(violations(end).map(({ field: name, description: why }) => [name.replace(METADATA, ""), why]));
    /** @type {Map<string, any>} */
    const all = new Map([["title", title], ["description", description]]);
    for (const input of inputs()) all.set(input.name, input);
    for (const [name, input] of all) {
      input.setAttribute("aria-invalid", String(wrong.has(name)));
      if (wrong.has(name)) input.closest("details:not(.issue)")?.setAttribute("open", "");
    }
    const known = new Set(inputs().map(({ name }) => name));
    const missing = [...wrong.keys()].filter((name) => !all.has(name) && violations(end).some((each) => each.field === METADATA + name));
    fields.append(...missing.filter((name) => !known.has(name)).map((name) => trackerField({ name, required: true }, {})));
    state.replaceChildren(problem(end));
  }

  /** @param {string} text @param {() => Promise<any>} work */
  async function working(text, work) {
    const buttons = /** @type {any[]} */ ([...form.querySelectorAll("button")]);
    state.replaceChildren(el("p", { class: "quiet" }, text));
    for (const button of buttons) button.disabled = true;
    await work();
    for (const button of [...form.querySelectorAll("button")]) button.disabled = false;
    if (state.textContent === text) state.replaceChildren();
  }

  integration.addEventListener("change", () => {
    fields.replaceChildren();
    results.replaceChildren();
    describe();
  });
  fields.addEventListener("input", (/** @type {any} */ event) => {
    // The fields of an issue follow from some of them alone, such as the project.
    if (!("decides" in event.target.dataset)) return;
    clearTimeout(timer);
    timer = setTimeout(describe, PAUSE);
  });
  const form = el("form", { class: "issue-form", onsubmit: send },
    el("div", { class: "choices" }, field("Error group", group), field("Integration", integration)),
    el("h4", {}, "Create one"), field("Title", title), field("Description", description), fields,
    el("div", { class: "actions" }, create), existing, state);
  describe();
  return form;
}

const isFirst = (/** @type {any} */ { required, defaultValue }) => required && !defaultValue;

/** @param {any[]} missing @param {string[]} given */
const merged = (missing, given) => [...given.filter((name) => !missing.some((each) => each.name === name)).map((name) => ({ name, required: true, decides: true })), ...missing];

/** @param {string} label @param {any} control */
function field(label, control, hint = "") {
  control.id = newId();
  return el("div", { class: "issue-field" }, el("label", { for: control.id }, label), control, hint && el("p", { class: "hint" }, hint));
}

/** @param {any} described @param {Record<string, string>} given */
function trackerField({ name, label, type, required, allowedValues = [], defaultValue = "", why = "", decides = false }, given) {
  const list = allowedValues.length ? el("datalist", { id: newId() }, allowedValues.map((/** @type {string} */ value) => el("option", { value }))) : null;
  const input = el("input", { name, autocomplete: "off", list: list?.id, required: required && !defaultValue, placeholder: defaultValue, "data-decides": decides });
  input.value = given[name] ?? "";
  return el("div", {}, field(label || name, input, [why || type, label && label !== name && name].filter(Boolean).join(" · ")), list);
}

/** @param {any} end how a call ended */
const problem = (end) => el("p", { class: "wrong", role: "alert" }, `${statusName(end.code)}: ${end.message}`);

/** @param {any} end @returns {{field: string, description: string}[]} */
const violations = (end) => (end.details ?? []).flatMap((/** @type {any} */ each) => each.fieldViolations ?? []);

/** The line that says what failed: the first one of Java and JavaScript, the last one of Python.
 * @param {string} stacktrace */
function titleOf(stacktrace) {
  const lines = stacktrace.split("\n").map((line) => line.trimEnd()).filter((line) => /^[^\s].*\S/.test(line) && !/^(Traceback|During handling|The above)/.test(line));
  return (lines.findLast((line) => /^[\w.$:]*(Error|Exception|Warning|panic|Fault)\b/.test(line)) ?? lines.at(-1) ?? "").slice(0, 250);
}

/** @param {any} suspect @param {string} stacktrace */
function descriptionOf({ commitId, subject, author = {}, url, reason }, stacktrace) {
  const suspected = `Suspected: ${commitId.slice(0, 10)} ${subject ?? ""}${author.name ? `, by ${author.name}` : ""}`;
  return [suspected, url, reason, `\n${stacktrace.slice(-MOST_TRACE).trim()}`].filter(Boolean).join("\n");
}

function randomKey() {
  // Unlike randomUUID it is there on pages of no secure origin, too.
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
