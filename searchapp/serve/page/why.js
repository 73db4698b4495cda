// Why a document has the rank it has: its place in every step, the query's terms, and what its words do.

import { ask } from "./api.js";
import { button, make, number, problem, score, soft } from "./dom.js";
import { state } from "./state.js";
import { stageName } from "./text.js";

const SPANS = 32;

function asked(query, id, more = {}) {
  const body = { query, id, mode: state.mode, ...more };
  if (state.filter.trim()) body.filter = state.filter;
  if (state.index) body.index = state.index;
  if (state.rerank) body.rerank = state.rerank;
  return ask("POST", "/api/explain", body);
}

/** What the server says of a query and a document, as an element. Throws Problem. */
export async function why(query, id) {
  const { data } = await asked(query, id);
  const place = make("div", { class: "why" });
  place.append(make("p", {}, ...sentence(data)), steps(data.stages));
  if (data.terms.length) place.append(terms(data.terms));
  const effects = make("div", {});
  const control = button(`What its words do`, async () => {
    control.disabled = true;
    control.textContent = "Taking words out, one after the other …";
    try {
      effects.replaceChildren(words((await asked(query, id, { spans: SPANS })).data));
      control.remove();
    } catch (error) {
      effects.replaceChildren(problem(error.message));
      control.disabled = false;
      control.textContent = "Try again";
    }
  });
  place.append(effects, make("p", { class: "actions" }, control));
  return place;
}

function sentence({ metrics, setting, stages }) {
  const rank = make("b", {}, number(metrics.rank.value));
  const parts = [`Its cosine with the query is ${score(metrics.score.value)}: rank `, rank, ` of ${number(setting.documents)} by meaning alone.`];
  const last = stages.at(-1);
  if (last && last.rank == null) {
    const lost = stages.find((stage) => stage.rank == null);
    parts.push(` It is not among the first ${number(lost.width)} of ${stageName(lost.stage)}.`);
  } else if (last && last.rank > state.k) {
    parts.push(` It ends at rank ${number(last.rank)}; ${number(state.k)} are shown.`);
  }
  return parts;
}

function steps(stages) {
  const rows = stages.map(({ stage, rank, score: points, width }) => make("tr", {},
    make("th", { scope: "row" }, stageName(stage)),
    make("td", {}, rank ? number(rank) : points == null ? `not in ${number(width)}` : "–"),
    make("td", {}, points == null ? "–" : score(points))));
  const head = make("tr", {}, ...["step", "rank", "score"].map((name) => make("th", { scope: "col" }, name)));
  return make("table", { class: "steps" }, make("thead", {}, head), make("tbody", {}, rows));
}

/** The query's terms with what each adds to the BM25 score, as bars. */
function terms(found) {
  const most = Math.max(...found.map((term) => term.score), 1e-9);
  const rows = found.map(({ term, score: points }) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${Math.max(0, (100 * points) / most)}%`;
    return make("tr", { class: points ? "" : "none" },
      make("th", { scope: "row", dir: "auto" }, term), make("td", {}, score(points)), make("td", { class: "wide" }, bar));
  });
  return make("table", { class: "terms" }, make("caption", {}, "BM25, term by term"), make("tbody", {}, rows));
}

/** The text with each stretch shaded by how much the cosine falls without it. */
function words({ words: found }) {
  const most = Math.max(...found.map((word) => Math.abs(word.effect)), 1e-9);
  const text = make("p", { class: "effects", dir: "auto" });
  for (const { text: words, effect } of found) {
    const share = effect / most;
    const strength = share > 0.5 ? "strong" : share > 0.2 ? "some" : share < -0.2 ? "against" : "";
    text.append(make("span", { class: strength, title: `${effect < 0 ? "−" : "+"}${Math.abs(effect).toFixed(3)}` }, words), " ");
  }
  const note = "Shaded: without it the cosine falls. Underlined: without it the cosine rises.";
  return make("div", {}, text, soft(note));
}

/** "Why not that one?": a field for an id, and the answer below it. */
export function whyNot(query) {
  const input = make("input", { id: "whynot-id", type: "text", dir: "auto", spellcheck: "false", autocapitalize: "off" });
  const place = make("div", { "aria-live": "polite" });
  const form = make("form", { class: "whynot", onsubmit: explain },
    make("label", { for: "whynot-id" }, "Why not another one? Its id"), input, make("button", {}, "Explain"));
  async function explain(event) {
    event.preventDefault();
    if (!input.value.trim()) return;
    place.replaceChildren(soft("…"));
    try {
      place.replaceChildren(await why(query, input.value));
    } catch (error) {
      place.replaceChildren(problem(error.message));
    }
  }
  return make("div", {}, form, place);
}
