// Documents: those found, as a list, and one by itself in a dialog.

import { ask, get } from "./api.js";
import { button, make, one, opener, problem, score, soft } from "./dom.js";
import { judgeButtons } from "./judged.js";
import { state } from "./state.js";
import { linkOf, passageOf, pathOf, shown, stageName } from "./text.js";
import { why } from "./why.js";

const LONG = 20_000; // characters of a text that are shown at once
let numbered = 0;

/** The hits of a result as an ordered list. */
export function listOf(result) {
  return make("ol", { class: "hits" }, result.hits.map((hit) => make("li", {}, articleOf(hit, result.query))));
}

/** One document. `query` is what it was found by, "" for none; without a rank it has no place among hits. */
export function articleOf(hit, query) {
  const heading = `document-${(numbered += 1)}`;
  const path = pathOf(hit.metadata ?? {});
  const article = make("article", { tabindex: "-1", "aria-labelledby": heading, class: "hit" });
  article.hit = hit;
  const where = path.link
    ? make("a", { href: path.link, rel: "noreferrer noopener", target: "_blank" }, path.text)
    : path.text || hit.id;
  const body = make("div", { class: "body" });
  const controls = make("p", { class: "actions" });
  article.append(
    hit.rank ? make("span", { class: "rank", "aria-hidden": "true" }, String(hit.rank)) : "",
    make("p", { class: "where", dir: "auto" }, make("bdi", {}, where)),
    make("h3", { id: heading, dir: "auto" }, hit.title || hit.id),
    body, factsOf(hit, path.keys), controls,
  );
  let whole = !hit.passage && !hit.rank;
  const expand = button("Expand", () => show(!whole), { "aria-expanded": String(whole) });
  function show(all) {
    whole = all;
    expand.textContent = whole ? "Collapse" : "Expand";
    expand.setAttribute("aria-expanded", String(whole));
    article.classList.toggle("whole", whole);
    body.replaceChildren(whole ? wholeText(hit) : make("p", { class: "passage", dir: "auto" }, ...passageOf(hit)));
  }
  show(whole);
  const openers = [];
  if (query) openers.push(opener("Why", () => why(query, hit.id)));
  openers.push(opener("More like this", () => similar(hit.id)));
  if (hit.rank) controls.append(expand);
  controls.append(...openers.map(({ control }) => control));
  if (query) controls.append(judgeButtons(hit.id, query));
  article.append(...openers.map(({ place }) => place));
  article.actions = { expand: () => show(!whole), why: () => query && openers[0].toggle(), like: () => openers.at(-1).toggle() };
  return article;
}

function wholeText(hit) {
  const text = hit.text ?? "";
  const shownPart = make("div", { class: "text", dir: "auto" }, text.slice(0, LONG));
  if (text.length <= LONG) return shownPart;
  const more = button("Show the rest", () => {
    shownPart.textContent = text;
    more.remove();
  });
  return make("div", {}, shownPart, more);
}

/** Ranks and metadata, in small. */
function factsOf(hit, without) {
  const facts = make("dl", { class: "facts" });
  const add = (name, value, attributes = {}) =>
    facts.append(make("div", attributes, make("dt", { dir: "auto" }, name), make("dd", { dir: "auto" }, value)));
  for (const [name, { rank, score: points }] of ranksOf(hit)) {
    const value = rank ? `${rank}` : "–";
    add(name, value, { class: "place", title: `${name}: ${rank ? `rank ${rank}, ` : ""}score ${score(points)}` });
  }
  if (pathOf(hit.metadata ?? {}).text && hit.id !== hit.title) add("id", hit.id);
  for (const [key, value] of Object.entries(hit.metadata ?? {})) {
    if (without.includes(key)) continue;
    const link = linkOf(value);
    add(key, link ? make("a", { href: link, rel: "noreferrer noopener", target: "_blank" }, shown(value)) : shown(value));
  }
  return facts.childElementCount ? facts : "";
}

/** The stages that saw a hit with its place in each; of two of one name the later one. */
function ranksOf(hit) {
  return new Map(Object.entries(hit.places ?? {}).map(([stage, place]) => [stageName(stage), place]));
}

/** The documents closest to one, as a list of titles that open. */
export async function similar(identifier) {
  const path = `/api/documents/${encodeURIComponent(identifier)}`;
  const { data } = await get(path, { similar: 8, index: state.index, filter: state.filter });
  if (!data.similar.length) return soft("Nothing else is like it.");
  return titlesOf(data.similar.map((hit) => ({ ...hit, note: score(hit.score) })));
}

/** Titles that open their documents: of {id, title, note}. */
export function titlesOf(documents) {
  return make("ol", { class: "titles" }, documents.map(({ id, title, note }) =>
    make("li", {}, note ? make("span", { class: "note" }, note) : "", button(title || id, () => openDocument(id), { dir: "auto" }))));
}

/** Show a document by itself; `extra` goes below it. */
export async function openDocument(identifier, query = state.q, extra = null) {
  const dialog = one("document");
  const close = button("Close", () => dialog.close(), { class: "close" });
  const place = make("div", {}, soft("…"));
  dialog.replaceChildren(close, place);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  try {
    const { data } = await ask("POST", "/api/documents", { ids: [identifier], ...(state.index && { index: state.index }) });
    if (!data.documents.length) throw new Error(`no document has the id ${identifier}`);
    place.replaceChildren(articleOf(data.documents[0], query), extra ?? "");
  } catch (error) {
    place.replaceChildren(problem(error.message));
  }
}
