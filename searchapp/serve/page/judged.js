// Judging straight in the results: a judgement makes the query and the document part of the folder's pool.

import { ask, get } from "./api.js";
import { button, make, say } from "./dom.js";
import { state } from "./state.js";

export const at = (set, rest = "") => `/api/judgements/${encodeURIComponent(set)}${rest}`;
export const NAMES = { 0: "not relevant", 1: "partly", 2: "relevant" };
let levels = {};
let asking = 0; // counts, so that only the last answer is shown
const changed = new Set(); // judged since the levels were asked for

/** Fetch what was judged of a query, and show it at the documents. */
export async function showJudged(query) {
  levels = {};
  changed.clear();
  const turn = (asking += 1);
  refresh();
  if (!state.set || !query) return;
  try {
    const { data } = await get(at(state.set), { text: query });
    if (turn !== asking) return;
    for (const [id, level] of Object.entries(data.levels)) if (!changed.has(id)) levels[id] = level;
    refresh();
  } catch (error) {
    say(error.message);
  }
}

/** The buttons of one document, there when a folder to judge into is chosen. */
export function judgeButtons(identifier, query) {
  const buttons = Object.entries(NAMES).map(([level, name]) =>
    button(level, () => judge(identifier, query, Number(level)), { "aria-label": `${level}: ${name}`, title: name, "aria-pressed": "false" }));
  const place = make("span", { class: "levels", role: "group", "aria-label": "Judgement", "data-judged": identifier }, buttons);
  showAt(place);
  return place;
}

function showAt(place) {
  place.hidden = !state.set;
  [...place.children].forEach((one, level) => one.setAttribute("aria-pressed", String(levels[place.dataset.judged] === level)));
}

function refresh() {
  document.querySelectorAll("[data-judged]").forEach(showAt);
}

/** Keep a judgement; the one that is there already is taken back. */
export async function judge(identifier, query, level) {
  if (!state.set) return;
  const wanted = levels[identifier] === level ? null : level;
  changed.add(identifier);
  try {
    await put(state.set, { query: "", document: identifier, level: wanted, text: query });
    if (wanted == null) delete levels[identifier];
    else levels[identifier] = wanted;
    refresh();
    say(wanted == null ? "Judgement taken back." : `Judged ${wanted}, ${NAMES[wanted]}.`);
  } catch (error) {
    say(error.message);
  }
}

/** One judgement: it is on the server's disk when this returns. */
export const put = (set, body) => ask("PUT", at(set), body);
