// The page: what its URL says is shown, and what a person does goes into the URL.

import { get, patiently, setToken, takeToken } from "./api.js";
import { button, make, one } from "./dom.js";
import { bindFilters, showFields, showFilter, takeFilter } from "./filters.js";
import { judge, showJudged } from "./judged.js";
import { JUDGE_KEYS, setCollections, showJudge } from "./judge.js";
import { bindKeys } from "./keys.js";
import { showMap } from "./map.js";
import { bindHistory, currentHits, search, setAbout } from "./search.js";
import { readState, state, urlOf, writeState } from "./state.js";

const form = one("form");
const query = one("q");
let describedIndex = null;
let describing = 0; // counts, so that only the last answer is shown
let described = Promise.resolve(); // done when it is known what the index is

/** Put the state into the controls. */
function showControls() {
  query.value = state.q;
  form.elements.mode.value = state.mode;
  one("columns").checked = state.view === "columns";
  one("set").value = state.set;
  const count = one("k");
  if (![...count.options].some((option) => option.value === String(state.k))) count.append(make("option", {}, String(state.k)));
  count.value = String(state.k);
  one("rerank").value = state.rerank;
  showFilter();
  for (const link of document.querySelectorAll("[data-view]")) {
    const isList = link.dataset.view === "list";
    const isCurrent = link.dataset.view === state.view || (isList && state.view === "columns");
    link.href = urlOf({ view: link.dataset.view });
    if (isCurrent) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  one("search").hidden = !["list", "columns"].includes(state.view);
  one("map").hidden = state.view !== "map";
  one("judge").hidden = state.view !== "judge";
  form.hidden = state.view === "judge";
}

/** Show what the state says; `step` writes it into the browser's history. */
async function show(step = true) {
  if (step) writeState();
  else document.title = state.q ? `${state.q.slice(0, 80)} · searchapp` : "searchapp";
  showControls();
  if (state.view === "judge") return described.then(showJudge);
  await search();
  if (state.view === "map") await showMap(currentHits());
}

function change(changes) {
  Object.assign(state, changes);
  return show();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  takeFilter();
  change({ q: query.value });
});
form.addEventListener("change", ({ target }) => {
  if (target.name === "mode") change({ mode: target.value });
  if (target.id === "columns") change({ view: target.checked ? "columns" : "list" });
  if (target.id === "k") change({ k: Number(target.value) });
  if (target.id === "rerank") change({ rerank: target.value });
  if (target.id === "set") {
    state.set = target.value;
    history.replaceState(null, "", urlOf());
    showJudged(state.q);
  }
});
one("index").addEventListener("change", async ({ target }) => {
  Object.assign(state, { index: target.value, filter: "", rerank: "" });
  described = describe();
  await show();
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-view], a[data-query]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (link.dataset.view) change({ view: link.dataset.view });
  else change({ q: link.dataset.query });
});
addEventListener("popstate", () => {
  readState();
  if (describedIndex !== state.index) described = describe();
  show(false);
});
document.addEventListener("token-needed", askForToken);

function askForToken() {
  if (one("token")) return;
  const input = make("input", { id: "token", type: "password", autocomplete: "off", required: true });
  const asking = make("form", { class: "token" }, make("label", { for: "token" }, "Token"), input, make("button", {}, "Go on"));
  asking.addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(input.value.trim());
    asking.remove();
    start();
  });
  one("notice").append(asking);
  input.focus();
}

/** Ask what the index is: its fields, models and folders to judge into. */
async function describe() {
  describedIndex = state.index;
  const turn = (describing += 1);
  try {
    const waiting = (text) => (one("status").textContent = `${text} …`);
    const { data } = await patiently(() => get("/api/index", { index: state.index }), waiting);
    if (turn !== describing) return;
    if (one("status").textContent.endsWith("…")) one("status").textContent = "";
    setAbout(data);
    options(one("index"), data.indexes.map((name) => [name, name]), data.name);
    one("index").closest("label").hidden = data.indexes.length < 2;
    for (const choice of form.elements.mode) choice.disabled = !data.modes.includes(choice.value);
    options(one("rerank"), [["", "no"], ...data.rerankers.map((name) => [name, name])], state.rerank);
    one("rerank-label").hidden = !data.rerankers.length;
    showFields(data.fields);
    describeJudgements(data.collections);
  } catch (problem) {
    if (turn !== describing) return;
    one("notice").replaceChildren(make("p", { class: "problem" }, problem.message));
    if (problem.status === 401) askForToken();
    else if (problem.status === 0) one("notice").append(make("p", { class: "actions" }, button("Try again", start)));
  }
}

function describeJudgements(names) {
  document.querySelector("[data-view=judge]").hidden = one("set-label").hidden = !names.length;
  options(one("set"), [["", "nothing"], ...names.map((name) => [name, name])], state.set);
  setCollections(names);
}

function options(select, pairs, value) {
  select.replaceChildren(...pairs.map(([key, text]) => make("option", { value: key }, text)));
  select.value = value;
}

/** To another hit; from outside the first one. */
function move(step) {
  const hits = [...document.querySelectorAll("#results article")];
  const now = hits.indexOf(document.activeElement?.closest("article"));
  const next = hits[now < 0 ? 0 : Math.min(hits.length - 1, Math.max(0, now + step))];
  if (next) {
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  } else {
    document.querySelector(".beside section:not([hidden]) button")?.focus();
  }
}

const current = () => document.activeElement?.closest("article");
const KEYS = {
  "/": () => { query.focus(); query.select(); },
  j: () => move(1), k: () => move(-1),
  x: () => current()?.actions.expand(), y: () => current()?.actions.why(), l: () => current()?.actions.like(),
  ...Object.fromEntries([0, 1, 2].map((level) => [level, () => current()?.hit && judge(current().hit.id, state.q, level)])),
};
bindKeys((key) => (state.view === "judge" ? JUDGE_KEYS[key] : KEYS[key]));
bindHistory(query, () => move(1));
bindFilters(() => change({}));

function start() {
  readState();
  if (state.view !== "judge") query.focus();
  const isSearch = state.q.trim() && ["list", "columns"].includes(state.view);
  described = isSearch ? show(false).then(describe) : describe(); // what was asked for comes first
  if (!isSearch) show(false);
}

takeToken();
start();
