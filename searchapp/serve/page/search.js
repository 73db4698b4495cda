// Searching: one request at a time, its hits as a list or side by side, and the queries of before.

import { Problem, ask, patiently } from "./api.js";
import { columnsOf } from "./columns.js";
import { copyOf } from "./copy.js";
import { keep, kept, make, number, one, plural } from "./dom.js";
import { isFilter } from "./filters.js";
import { listOf } from "./hits.js";
import { showJudged } from "./judged.js";
import { request, state } from "./state.js";
import { timingOf } from "./timing.js";
import { whyNot } from "./why.js";

const REMEMBERED = 100;
const SLOW = 200; // milliseconds after which waiting is shown
let controller = null;
let last = { key: "", hits: [] };

/** The hits that are shown. */
export const currentHits = () => last.hits;

/** Search for what the state says, and show it. What the server refuses is said on the page. */
export async function search() {
  controller?.abort();
  controller = new AbortController();
  const { signal } = controller;
  if (!state.q.trim()) return showNothing();
  const body = request();
  performance.mark("search-asked");
  const slow = setTimeout(() => !signal.aborted && busy(true), SLOW);
  try {
    const waiting = (text) => signal.aborted || status(`${text} …`);
    if (!(await patiently(isFilter, waiting, signal))) {
      if (!signal.aborted) showFailure({ param: "filter" });
      return;
    }
    if (body.rerank) {
      const { rerank, ...first } = body; // reranking takes its time: what it starts from is shown before
      const early = await patiently(() => ask("POST", "/api/search", first, signal), waiting, signal);
      show(first, early.data, early.milliseconds);
      clearTimeout(slow);
      status(`${one("status").textContent}; reranking by ${rerank} …`);
    }
    const { data, milliseconds } = await patiently(() => ask("POST", "/api/search", body, signal), waiting, signal);
    show(body, data, milliseconds);
    remember(state.q);
  } catch (problem) {
    if (problem.name === "AbortError") return;
    if (!(problem instanceof Problem)) throw problem; // a fault of this page
    showFailure(problem);
  } finally {
    clearTimeout(slow);
    if (!signal.aborted) busy(false);
  }
}

function show(body, answer, milliseconds) {
  const result = answer.results[0];
  last = { key: JSON.stringify(body), hits: result.hits };
  one("notice").replaceChildren();
  const count = result.hits.length;
  const among = body.filter ? ` among ${plural(answer.total, "document")} that pass the filter` : "";
  status(`${count ? plural(count, "hit") : "No hits"}${among} in ${Math.max(1, Math.round(milliseconds))} ms`);
  one("timing").replaceChildren(...timingOf(answer, milliseconds));
  one("copy").replaceChildren(...copyOf(body, answer));
  const notes = [...answer.notices, ...(result.notices ?? [])];
  if (result.truncated) notes.push("The query is longer than the model reads; its end was left out for the vectors.");
  const view = count === 0 ? nothingFound(body) : body.columns && result.columns ? columnsOf(result) : listOf(result);
  const meaning = count ? make("p", { class: "soft meaning" }, `Score: ${result.meaning}`) : "";
  one("results").replaceChildren(...notes.map((text) => make("p", { class: "note-line" }, text)), view, meaning);
  one("whynot").replaceChildren(whyNot(body.query));
  performance.mark("search-shown");
  showJudged(body.query);
}

function nothingFound(body) {
  const words = body.mode === "bm25" ? "No document has a word of the query. Dense search finds by meaning." : "No document was found.";
  return make("p", { class: "empty" }, body.filter ? `${words} The filter may leave too few.` : words);
}

function showFailure(problem) {
  last = { key: "", hits: [] };
  clear();
  if (problem.param === "filter") return status("The filter is not understood.");
  one("notice").replaceChildren(make("p", { class: "problem" }, problem.message));
  if (problem.status === 401) document.dispatchEvent(new Event("token-needed"));
}

let aboutIndex = null;

/** Say what is searched, before anything was asked. */
export function setAbout(index) {
  aboutIndex = index;
  if (!state.q.trim()) showNothing();
}

function showNothing() {
  last = { key: "", hits: [] };
  clear();
  one("notice").replaceChildren();
  if (!aboutIndex) return;
  const { name, documents, model, dimensions, max_tokens, notices, failure } = aboutIndex;
  const facts = [
    ["index", name], ["documents", number(documents)], ["model", model], ["dimensions", String(dimensions)],
    ["tokens read", max_tokens ? `first ${number(max_tokens)}` : "–"], ["generation", String(aboutIndex.generation)],
  ];
  const list = make("dl", { class: "about" }, facts.map(([key, value]) => make("div", {}, make("dt", {}, key), make("dd", { dir: "auto" }, value))));
  const notes = [...(failure ? [failure] : []), ...notices].map((text) => make("p", { class: "note-line" }, text));
  const past = kept("queries", []).slice(-5).reverse();
  const links = past.map((text) => make("li", {}, make("a", { href: `?${new URLSearchParams({ q: text })}`, dir: "auto", "data-query": text }, text)));
  one("results").replaceChildren(...notes, list, past.length ? make("div", { class: "past" }, make("h3", {}, "Asked before"), make("ul", {}, links)) : "");
}

function clear() {
  for (const id of ["results", "timing", "copy", "whynot"]) one(id).replaceChildren();
  status("");
}

function status(text) {
  one("status").textContent = text;
}

function busy(is) {
  one("search").setAttribute("aria-busy", String(is));
  if (is) status("Searching …");
}

/** Earlier queries in the field, by arrow up and down; down from the last one calls `toHits`. */
export function bindHistory(input, toHits) {
  let place = null, draft = "";
  input.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || event.isComposing) return;
    const queries = kept("queries", []);
    if (event.key === "ArrowUp" && queries.length) {
      if (place == null) {
        draft = input.value;
        place = queries.length;
        if (queries.at(-1) === input.value) place -= 1;
      }
      place = Math.max(0, place - 1);
      input.value = queries[place];
    } else if (event.key === "ArrowDown" && place != null) {
      place += 1;
      input.value = queries[place] ?? draft;
      if (place >= queries.length) place = null;
    } else if (event.key === "ArrowDown") {
      toHits();
    } else {
      if (event.key.length === 1 || event.key === "Enter") place = null;
      return;
    }
    event.preventDefault();
  });
}

function remember(query) {
  if (query.length > 500) return;
  const queries = kept("queries", []).filter((other) => other !== query);
  keep("queries", [...queries, query].slice(-REMEMBERED));
}
