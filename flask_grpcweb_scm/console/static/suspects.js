// The page of ScmService: from a stack trace to files, suspect commits, and code mappings; by its RPCs alone.

import { byId, copy, el, linkTo } from "./dom.js";
import { issueView } from "./issues.js";
import { statusName } from "./response.js";
import { callUnary, openSession } from "./session.js";

const SERVICE = "sentry.integrations.scm.v1.ScmService";
const SNIPPET_LINES = 3; // before and after the line of a frame
const SHORT = 10; // digits of a SHA
const [MOST_CHARACTERS, MOST_LINES] = [262_144, 5000]; // of a stack trace
const OUTCOMES = {
  OUTCOME_COVERED: ["mapped", "good"],
  OUTCOME_DERIVED: ["found", "good"],
  OUTCOME_AMBIGUOUS: ["ambiguous", "bad"],
  OUTCOME_NO_MATCH: ["not found", "bad"],
  OUTCOME_UNSUPPORTED: ["skipped", ""],
};
/** Names of repositories by id. @type {Map<string, string>} */
const names = new Map();
let asked = 0;

async function start() {
  try {
    await openSession();
  } catch (error) {
    byId("findings").replaceChildren(el("p", { class: "wrong", role: "alert" }, /** @type {Error} */ (error).message));
    return;
  }
  document.title = `Suspect commits · ${byId("title").textContent}`;
  const form = byId("question");
  const link = new URLSearchParams(location.hash.slice(1));
  for (const id of ["organization", "project"]) byId(id).value = (link.get(id) ?? "").replace(/[^0-9]/g, "");
  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    find();
  });
  form.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  byId("organization").addEventListener("change", showRepositories);
  form.hidden = false;
  showRepositories();
  byId(byId("organization").value ? "stacktrace" : "organization").focus({ preventScroll: true });
}

/** @param {string} method @param {any} request */
const ask = (method, request) => callUnary(`${SERVICE}/${method}`, request);

// What is chosen

const chosen = () => ({ organizationId: byId("organization").value.trim(), projectId: byId("project").value.trim() });

/** Say what the organization has: numbers are easily mistaken. */
async function showRepositories() {
  const { organizationId } = chosen();
  const place = byId("repositories");
  place.textContent = "";
  if (!/^[0-9]+$/.test(organizationId)) return;
  const found = await ask("ListRepositories", { organizationId, pageSize: 4 });
  if (organizationId !== chosen().organizationId) return;
  if (found.code) {
    place.textContent = `${statusName(found.code)}: ${found.message}`;
    return;
  }
  const all = found.response.repositories ?? [];
  for (const { id, name } of all) names.set(id, name);
  const listed = all.slice(0, 3).map((/** @type {any} */ each) => each.name).join(", ");
  place.textContent = all.length ? `Its repositories: ${listed}${all.length > 3 ? " …" : ""}` : "It has no repositories that you may see.";
}

// What is found

async function find() {
  const turn = ++asked;
  const stacktrace = endOf(byId("stacktrace").value);
  const ids = chosen();
  history.replaceState(null, "", `#${new URLSearchParams({ organization: ids.organizationId, project: ids.projectId })}`);
  byId("findings").replaceChildren();
  if (!stacktrace.trim()) {
    showProblem("Paste a stack trace first.");
    byId("stacktrace").focus();
    return;
  }
  working("Looking for suspects …");
  const firstSeen = byId("first-seen").value;
  const question = { ...ids, stacktrace, dryRun: true, ...(firstSeen && { firstSeen: new Date(firstSeen).toISOString() }) };
  const found = await ask("FindSuspectCommits", question);
  if (turn !== asked) return;
  if (found.code) {
    working("");
    showProblem(`${statusName(found.code)}: ${found.message}`);
    return;
  }
  const { suspects = [], frames = [] } = found.response;
  const derived = await ask("DeriveCodeMappings", derivation(ids, frames, true));
  const mappings = derived.response?.mappings ?? [];
  await learnNames([...suspects, ...mappings, ...frames.map((/** @type {any} */ each) => each.path ?? {})]);
  if (turn !== asked) return;
  working("");
  byId("findings").replaceChildren(
    suspectsView(ids, stacktrace, suspects, frames),
    framesView(frames),
    mappingsView(ids, frames, mappings, derived),
  );
  byId("suspects-title").focus();
}

/** As much of the end of a log as may be sent: the last stack trace counts.
 * @param {string} text */
const endOf = (text) => text.slice(-MOST_CHARACTERS).split("\n").slice(-MOST_LINES).join("\n");

/** @param {string} text what is under way; empty at its end */
function working(text) {
  byId("progress").textContent = text;
  byId("progress").className = text ? "running" : "quiet";
  byId("find").disabled = Boolean(text);
}

/** @param {string} text */
function showProblem(text) {
  byId("findings").replaceChildren(el("p", { class: "wrong", role: "alert" }, text));
}

/** @param {any} ids @param {any[]} frames @param {boolean} dryRun */
const derivation = (ids, frames, dryRun) => ({ ...ids, frames: frames.map((each) => each.frame ?? {}), dryRun });

/** @param {any[]} rows with `repositoryId`s */
async function learnNames(rows) {
  const unknown = new Set(rows.map(({ repositoryId }) => repositoryId).filter((id) => id && id !== "0" && !names.has(id)));
  await Promise.all([...unknown].map(async (repositoryId) => {
    const { response } = await ask("GetRepository", { repositoryId });
    if (response) names.set(repositoryId, response.name);
  }));
}

const nameOf = (/** @type {string} */ id) => names.get(id) ?? `repository ${id}`;

// Suspects

/** @param {any} ids @param {string} stacktrace @param {any[]} suspects @param {any[]} frames */
function suspectsView(ids, stacktrace, suspects, frames) {
  const title = suspects.length ? `${suspects.length} suspect ${suspects.length === 1 ? "commit" : "commits"}` : "No commit is suspected";
  return el("section", { "aria-labelledby": "suspects-title" },
    el("h2", { id: "suspects-title", tabindex: "-1" }, title),
    !suspects.length && el("p", { class: "quiet" }, "The frames say why."),
    el("ol", { class: "suspects" }, suspects.map((each, index) => el("li", { class: index ? "panel" : "panel is-first" }, suspectView(each, frames, index), issueView(ids, each, stacktrace)))));
}

/** @param {any} suspect @param {any[]} frames @param {number} index */
function suspectView(suspect, frames, index) {
  const { commitId, author = {}, date, subject, url, repositoryId, reason } = suspect;
  const blamed = frames[suspect.frames?.[0] ?? 0];
  const head = el("div", { class: "suspect-head" },
    el("span", { class: "avatar", "aria-hidden": "true" }, initials(author.name)),
    el("div", {},
      el("h3", {}, linkTo(url, subject || commitId)),
      el("p", { class: "byline" },
        el("span", { class: "author" }, author.name || "unknown author"), author.email && el("span", { class: "quiet" }, author.email),
        date && el("time", { datetime: date, title: date }, new Date(date).toLocaleDateString(undefined, { dateStyle: "medium" })),
        el("span", {}, nameOf(repositoryId)),
        el("button", { type: "button", class: "sha", title: `Copy ${commitId}`, "aria-label": `Copy commit ${commitId.slice(0, SHORT)}`, onclick: () => copy(commitId) }, commitId.slice(0, SHORT)))));
  const snippet = blamed && snippetView(blamed);
  return [
    head,
    el("p", { class: "reason" }, reason && reason[0].toUpperCase() + reason.slice(1)),
    snippet && (index ? el("details", {}, el("summary", {}, `${blamed.path?.sourcePath}:${blamed.frame?.line}`), snippet) : snippet),
  ];
}

const initials = (/** @type {string | undefined} */ name) =>
  (name ?? "").split(/\s+/).filter(Boolean).map((word) => [...word][0]).filter((_, at, all) => at === 0 || at === all.length - 1).join("").toUpperCase() || "?";

/** The lines around the one of a frame, which is marked.
 * @param {any} outcome */
function snippetView({ blame, path = {}, frame = {}, sourceUrl }) {
  if (!blame?.codeSnippet) return null;
  const place = `${path.sourcePath}:${frame.line}`;
  const first = Math.max(1, (blame.lineNumber ?? frame.line) - SNIPPET_LINES);
  const lines = blame.codeSnippet.replace(/\n$/, "").split("\n");
  return el("figure", { class: "snippet" },
    el("figcaption", {}, linkTo(sourceUrl || path.sourceUrl, place), el("span", { class: "quiet" }, `in ${nameOf(path.repositoryId)}`)),
    el("pre", { class: "code", tabindex: "0", role: "group", "aria-label": `Code at ${place}` },
      lines.map((/** @type {string} */ line, /** @type {number} */ index) =>
        el("span", { class: first + index === frame.line ? "line is-blamed" : "line" }, el("span", { class: "number", "aria-hidden": "true" }, `${first + index}`), `${line}\n`))));
}

// Frames

/** @param {any[]} frames */
function framesView(frames) {
  const last = frames.length - 1;
  return el("section", { "aria-labelledby": "frames-title" },
    el("h2", { id: "frames-title" }, `${frames.length} ${frames.length === 1 ? "frame" : "frames"}`, el("span", { class: "quiet" }, last > 0 && ", the one that failed last")),
    el("ol", { class: "frames panel" }, frames.map((each, index) => frameView(each, index === last))));
}

/** @param {any} outcome @param {boolean} hasFailed */
function frameView(outcome, hasFailed) {
  const { frame = {}, path = {}, blame, noSuspectReason, sourceUrl, code, message } = outcome;
  const [text, kind] = OUTCOMES[/** @type {keyof typeof OUTCOMES} */ (path.outcome)] ?? ["skipped", ""];
  const isOurs = Boolean(path.sourcePath);
  const place = frame.path || frame.absPath || frame.module || "?";
  const why = [noSuspectReason, code && `${statusName(code)}: ${message}`, !isOurs && path.reason];
  return el("li", { class: isOurs ? "frame" : "frame is-foreign" },
    el("span", { class: `outcome ${kind}` }, text),
    el("div", {},
      el("p", { class: "place" }, `${place}${frame.line ? `:${frame.line}` : ""}`, frame.function && el("span", { class: "quiet" }, ` in ${frame.function}`), hasFailed && el("strong", { class: "failed" }, "failed here")),
      isOurs && el("p", { class: "where" }, linkTo(sourceUrl || path.sourceUrl, `${path.sourcePath}${frame.line ? `:${frame.line}` : ""}`), " in ", nameOf(path.repositoryId),
        blame?.blameCommitId && ` · last changed by ${blame.blameAuthor?.name || "an unknown author"} in ${blame.blameCommitId.slice(0, SHORT)}`),
      [...new Set(why.filter(Boolean))].map((each) => el("p", { class: "where" }, each)),
      blame?.approximate && el("p", { class: "where" }, `approximate: ${blame.approximateReason}`)));
}

// Code mappings

/** @param {any} ids @param {any[]} frames @param {any[]} mappings @param {any} derived how the call ended */
function mappingsView(ids, frames, mappings, derived) {
  const section = el("section", { "aria-labelledby": "mappings-title" }, el("h2", { id: "mappings-title" }, "Code mappings"));
  if (derived.code) {
    section.append(el("p", { class: "wrong" }, `${statusName(derived.code)}: ${derived.message}`));
    return section;
  }
  const isNew = (/** @type {any} */ { id }) => !id || id === "0";
  const count = mappings.filter(isNew).length;
  if (!mappings.length) {
    section.append(el("p", { class: "quiet" }, "No mapping leads from these paths to files of the organization."));
    return section;
  }
  const rows = mappings.map((each) => el("tr", {},
    el("td", {}, isNew(each) ? el("span", { class: "outcome" }, "would be stored") : el("span", { class: "outcome good" }, `stored, id ${each.id}`)),
    el("td", {}, el("code", {}, each.stackRoot || "(any path)")),
    el("td", {}, el("code", {}, each.sourceRoot || "(the top)")),
    el("td", {}, nameOf(each.repositoryId))));
  section.append(el("div", { class: "panel mappings" },
    el("div", { class: "scroll", tabindex: "0", role: "group", "aria-labelledby": "mappings-title" }, el("table", {},
      el("thead", {}, el("tr", {}, ["", "Paths that begin with", "are below", "in"].map((each) => el("th", { scope: "col" }, each || el("span", { class: "visually-hidden" }, "State"))))),
      el("tbody", {}, rows)))));
  if (!count) return section;
  const problem = el("p", { class: "wrong", role: "alert", hidden: true });
  const store = el("button", { type: "button", class: "primary", onclick: async () => {
    store.disabled = true;
    const stored = await ask("DeriveCodeMappings", derivation(ids, frames, false));
    if (stored.code) {
      store.disabled = false;
      problem.textContent = `${statusName(stored.code)}: ${stored.message}`;
      problem.hidden = false;
      return;
    }
    const now = mappingsView(ids, frames, stored.response?.mappings ?? [], stored);
    now.append(el("p", { class: "good done", role: "status", tabindex: "-1" }, count === 1 ? "The mapping is stored." : "The mappings are stored."));
    section.replaceWith(now);
    now.querySelector(".done").focus();
  } }, `Store ${count === 1 ? "the mapping" : `${count} mappings`}`);
  section.append(el("div", { class: "actions" }, store, el("span", { class: "quiet" }, "Nothing is stored before.")), problem);
  return section;
}

start();
