// What the page shows stands in its URL, so that a link shows the same.

const DEFAULTS = { q: "", mode: "auto", filter: "", index: "", k: 10, rerank: "", view: "list", set: "" };
const VIEWS = ["list", "columns", "map", "judge"];
const MODES = ["auto", "dense", "bm25", "hybrid"];

export const state = { ...DEFAULTS };

/** Read the URL into the state; what it does not understand is left at its default. */
export function readState() {
  const given = new URLSearchParams(location.search);
  for (const key of Object.keys(DEFAULTS)) state[key] = given.get(key) ?? DEFAULTS[key];
  const count = Number(state.k);
  state.k = Number.isInteger(count) && count >= 1 && count <= 1000 ? count : DEFAULTS.k;
  if (!VIEWS.includes(state.view)) state.view = DEFAULTS.view;
  if (!MODES.includes(state.mode)) state.mode = DEFAULTS.mode;
}

/** The URL of the state, with changes. */
export function urlOf(changes = {}) {
  const all = { ...state, ...changes };
  const given = Object.entries(all).filter(([key, value]) => String(value) !== String(DEFAULTS[key]));
  const query = new URLSearchParams(given).toString();
  return query ? `?${query}` : "/";
}

/** Write the state into the URL, as a new step of the browser's history where it is another one. */
export function writeState() {
  const url = urlOf();
  const now = location.search || "/";
  if (url === now) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
  document.title = state.q ? `${state.q.slice(0, 80)} · searchapp` : "searchapp";
}

/** The request of the search that the state describes. */
export function request() {
  const body = { query: state.q, k: state.k, mode: state.mode, passages: "words" };
  if (state.filter.trim()) body.filter = state.filter;
  if (state.index) body.index = state.index;
  if (state.rerank) body.rerank = state.rerank;
  if (state.view === "columns") body.columns = true;
  return body;
}
