// Judging a pool pair by pair, by keys, without a rank or a score to sway who judges.

import { get } from "./api.js";
import { button, make, number, one, plural, problem, say } from "./dom.js";
import { articleOf } from "./hits.js";
import { NAMES, at, put } from "./judged.js";
import { state, urlOf } from "./state.js";

let collections = [];
let now = null; // the pair that is shown
let said = []; // what was judged in this tab, the last one last
let busy = false;
let figures = ""; // what is said of the judgements so far
const MODES = { dense: "dense", bm25: "BM25", hybrid: "hybrid" };

/** Say which folders there are. */
export function setCollections(found) {
  collections = found;
}

/** Show the view, with the pair that waits. */
export async function showJudge() {
  const set = collections.includes(state.set) ? state.set : collections[0];
  const place = one("judge");
  if (!set) {
    place.replaceChildren(heading(), make("p", {}, "There is nothing to judge into. Start the server with ",
      make("code", {}, "--judgements FOLDER"), ", where ", make("code", {}, "searchapp evaluate init"), " has made the folder."));
    return;
  }
  await next(set);
}

const heading = () => make("h2", { id: "judge-heading", class: "unseen" }, "Judging");

async function next(set, after = {}) {
  try {
    const { data } = await get(at(set, "/next"), { ...after, index: state.index });
    const before = now?.query_id;
    render(set, data);
    if (after.query === undefined || before !== now?.query_id) showFigures(set); // a query is done, or the view is new
  } catch (error) {
    now = null;
    one("judge").replaceChildren(heading(), make("p", { class: "problem", role: "alert" }, error.message));
  }
}

/** Say how each mode does by the judgements so far. */
async function showFigures(set) {
  try {
    const { data } = await get(at(set, "/figures"), { index: state.index });
    if (now && now.set !== set) return;
    const said = data.figures.map((one) => `${MODES[one.mode]} ${one["nDCG@10"].toFixed(2)} (${one.low.toFixed(2)} to ` +
      `${one.high.toFixed(2)}, ${Math.round(100 * one.judged)} % of its hits judged)`);
    figures = said.length ? `nDCG@10 over ${plural(data.queries, "judged query", "judged queries")}: ${said.join(" · ")}` : "";
  } catch (error) {
    figures = error.message;
  }
  one("judge-figures")?.replaceChildren(figures);
}

function render(set, data) {
  now = data.document ? { set, ...data } : null;
  const counts = make("p", { class: "soft", id: "judge-counts" }, `${number(data.left)} left · ${number(data.judged)} judged · into `, setsOf(set));
  const controls = make("div", { class: "verdicts", role: "group", "aria-label": "Judgement" },
    now ? Object.entries(NAMES).map(([level, name]) =>
      button(make("span", {}, make("kbd", {}, level), name), () => verdict(Number(level)), { class: "verdict" })) : "",
    now ? button(make("span", {}, make("kbd", {}, "s"), "skip"), skip) : "",
    button(make("span", {}, make("kbd", {}, "u"), "undo"), undo, { disabled: !said.length }));
  const sofar = make("p", { class: "soft", id: "judge-figures" }, figures);
  const place = one("judge");
  if (!now) {
    place.replaceChildren(heading(), counts, make("p", { class: "done" }, "Everything in the pool is judged."), controls, sofar);
    return;
  }
  const article = articleOf({ ...data.document, places: {} }, "");
  article.classList.add("clamped");
  place.replaceChildren(heading(), counts,
    make("p", { class: "asked", dir: "auto" }, data.query), controls,
    data.problem ? problem(data.problem) : "", article, sofar);
  article.focus({ preventScroll: true });
  scrollTo(0, 0);
}

/** The folder that is judged into; a choice where there are several. */
function setsOf(set) {
  if (collections.length < 2) return set;
  const choice = make("select", { "aria-label": "Judge into", onchange: () => {
    state.set = choice.value;
    said = [];
    history.replaceState(null, "", urlOf());
    next(choice.value);
  } }, collections.map((name) => make("option", { value: name }, name)));
  choice.value = set;
  return choice;
}

async function verdict(level) {
  if (!now || busy) return;
  busy = true;
  const pair = now;
  try {
    await put(pair.set, { query: pair.query_id, document: pair.document.id, level });
    said.push(pair);
    say(`${level}, ${NAMES[level]}`);
    await next(pair.set, { query: pair.query_id, document: pair.document.id });
  } catch (error) {
    say(error.message);
  } finally {
    busy = false;
  }
}

async function skip() {
  if (now && !busy) await next(now.set, { query: now.query_id, document: now.document.id });
}

async function undo() {
  if (busy || !said.length) return;
  busy = true;
  const pair = said.at(-1);
  try {
    const { data } = await put(pair.set, { query: pair.query_id, document: pair.document.id, level: null });
    said.pop();
    render(pair.set, { ...pair, left: data.left, judged: data.judged });
    showFigures(pair.set);
    say("Taken back");
  } catch (error) {
    say(error.message);
  } finally {
    busy = false;
  }
}

/** What the keys do while the view is shown. */
export const JUDGE_KEYS = {
  0: () => verdict(0), 1: () => verdict(1), 2: () => verdict(2), s: skip, u: undo,
  x: () => one("judge").querySelector("article")?.classList.toggle("clamped"),
};
