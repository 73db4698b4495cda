// Filters: chips of what is in use, fields with their values to choose from, and the language itself, checked as typed.

import { ask } from "./api.js";
import { button, make, number, one, plural, problem } from "./dom.js";
import { state } from "./state.js";

const PAUSE = 150; // milliseconds after the last key
const PLAIN = /^[A-Za-z_][A-Za-z0-9_]*$/;
const WORDS = new Set(["and", "or", "not", "in", "is", "if", "else", "for", "lambda", "true", "false", "True", "False", "None", "meta"]);
let changed = () => {};
let timer = 0;
let checking = 0;
let valid = ""; // the index and the filter that the server understood last

/** Connect the panel; `onchange` is called when the filter is another one and searching should follow. */
export function bindFilters(onchange) {
  changed = onchange;
  const input = one("filter-text");
  one("filter").hidden = !state.filter;
  one("filter-open").addEventListener("click", () => openPanel(one("filter").hidden));
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(check, PAUSE);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") openPanel(false);
  });
}

function openPanel(open) {
  one("filter").hidden = !open;
  one("filter-open").setAttribute("aria-expanded", String(open));
  if (open) {
    one("filter-text").focus();
    if (one("filter-text").value) check();
  } else {
    one("filter-open").focus();
  }
}

/** Show the state's filter in the field and as chips. */
export function showFilter() {
  if (one("filter-text").value.trim() !== state.filter.trim()) {
    one("filter-text").value = state.filter;
    sayState(true);
  }
  if (state.filter) one("filter").hidden = false;
  one("filter-open").setAttribute("aria-expanded", String(!one("filter").hidden));
  const clauses = clausesOf(state.filter);
  one("chips").hidden = !clauses.length;
  one("chips").replaceChildren(...clauses.map((clause) => make("li", {},
    button(make("span", {}, make("bdi", {}, clause), make("span", { "aria-hidden": "true" }, " ×")),
      () => apply(clausesOf(state.filter).filter((other) => other !== clause).join(" and ")),
      { "aria-label": `Remove the filter ${clause}` }))));
  pressChips();
}

/** Show which values are in the filter. */
function pressChips() {
  const clauses = clausesOf(state.filter);
  for (const chip of document.querySelectorAll("#fields button[data-clause]"))
    chip.setAttribute("aria-pressed", String(clauses.includes(chip.dataset.clause)));
}

function apply(filter) {
  state.filter = filter;
  showFilter();
  changed();
}

/** Take what stands in the field as the filter. */
export function takeFilter() {
  state.filter = one("filter-text").value.trim();
}

/** The parts of a filter that are joined by `and` at its top; all of it as one where there is an `or`. */
export function clausesOf(filter) {
  const parts = [];
  let depth = 0, quote = "", from = 0;
  for (let place = 0; place < filter.length; place += 1) {
    const letter = filter[place];
    if (quote) {
      if (letter === "\\") place += 1;
      else if (letter === quote) quote = "";
    } else if (letter === '"' || letter === "'") quote = letter;
    else if ("([{".includes(letter)) depth += 1;
    else if (")]}".includes(letter)) depth -= 1;
    else if (depth === 0 && /^\s+or\s/.test(filter.slice(place))) return [filter.trim()];
    else if (depth === 0) {
      const and = /^\s+and\s+/.exec(filter.slice(place));
      if (!and) continue;
      parts.push(filter.slice(from, place).trim());
      from = place + and[0].length;
      place = from - 1;
    }
  }
  return [...parts, filter.slice(from).trim()].filter(Boolean);
}

/** A filter with one more clause. */
function withClause(filter, clause) {
  const before = filter.trim();
  if (!before) return clause;
  const isChoice = clausesOf(before).length === 1 && /\sor\s/.test(before);
  return `${isChoice ? `(${before})` : before} and ${clause}`;
}

const keyOf = (name) => (PLAIN.test(name) && !WORDS.has(name) ? name : `meta[${quoted(name)}]`);
const quoted = (text) => JSON.stringify(text).replace(/[\u2028\u2029]/g, (one) => `\\u${one.charCodeAt(0).toString(16)}`);

/** Ask the server what the field's filter does, and say it below. */
async function check() {
  const text = one("filter-text").value;
  const turn = (checking += 1);
  if (!text.trim()) return sayState(true);
  let answer;
  try {
    answer = await asked(text);
  } catch (error) {
    answer = { valid: false, message: error.message };
  }
  if (turn !== checking) return;
  if (answer.valid) sayState(true, make("p", { class: "soft" }, `${number(answer.count)} of ${plural(answer.total, "document")} pass.`));
  else showProblem(text, answer);
}

async function asked(text) {
  const answer = (await ask("POST", "/api/filter", { filter: text, ...(state.index && { index: state.index }) })).data;
  if (answer.valid) valid = `${state.index}\n${text.trim()}`;
  return answer;
}

/** Whether the state's filter is one; where it is none, that is said. Throws Problem. */
export async function isFilter() {
  const text = state.filter.trim();
  if (!text || valid === `${state.index}\n${text}`) return true;
  const answer = await asked(text);
  if (!answer.valid) showProblem(text, answer);
  return answer.valid;
}

function sayState(isValid, ...nodes) {
  if (isValid) one("filter-text").removeAttribute("aria-invalid");
  else one("filter-text").setAttribute("aria-invalid", "true");
  one("filter-state").replaceChildren(...nodes);
}

/** A filter that is not understood: where, and why. */
function showProblem(text, { message, at }) {
  one("filter").hidden = false;
  one("filter-open").setAttribute("aria-expanded", "true");
  const [start, end] = placeOf(text, message, at);
  const nodes = [problem(shortened(message))];
  if (start != null) {
    const wrong = text.slice(start, end) || " ";
    nodes.unshift(make("p", { class: "wrong", dir: "ltr" }, text.slice(0, start), make("em", {}, wrong), text.slice(end)));
  }
  sayState(false, ...nodes);
}

/** The server repeats the filter in front; the person has just typed it. */
function shortened(message) {
  return message.replace(/^(--)?filter ('.*?'|".*?")(:)? /s, "").replace(/^is not/, "This is not");
}

function placeOf(text, message, at) {
  if (at) {
    const start = Math.min([...text].slice(0, at - 1 + (text.length - text.trimStart().length)).join("").length, text.length);
    const word = /^(\w+|\S?)/.exec(text.slice(start))[0];
    return [start, start + Math.max(word.length, 1)];
  }
  const part = /: (['"])(.+?)\1 cannot stand there/.exec(message)?.[2] ?? /names (['"])(.+?)\1,/.exec(message)?.[2];
  const start = part ? text.indexOf(part) : -1;
  return start < 0 ? [null, null] : [start, start + part.length];
}

/** The fields of an index: values to choose, ranges to fill in. */
export function showFields(fields) {
  const usable = fields.filter((field) => field.kinds.some((kind) => ["text", "number", "flag"].includes(kind)));
  one("fields").replaceChildren(...usable.map(fieldOf));
  pressChips(); // and not the field: somebody may be typing
}

function fieldOf(field) {
  const nodes = [];
  const key = keyOf(field.name);
  const note = field.distinct > field.values?.length ? `${number(field.distinct)} values` : plural(field.documents, "document");
  if (field.kinds.includes("text") && field.values?.length) {
    nodes.push(make("div", { class: "values" }, field.values.map(([value, count]) => valueChip(`${key} == ${quoted(value)}`, value || "(empty)", count))));
  }
  if (field.kinds.includes("flag")) {
    nodes.push(make("div", { class: "values" }, ["true", "false"].map((value) => valueChip(`${key} == ${value}`, value, null))));
  }
  if (field.kinds.includes("number") && field.low != null) nodes.push(rangeOf(field, key));
  return make("fieldset", {}, make("legend", { dir: "auto" }, field.name, make("span", { class: "note" }, note)), nodes);
}

function valueChip(clause, label, count) {
  const content = make("span", {}, make("bdi", {}, label.length > 60 ? `${label.slice(0, 60)}…` : label), count == null ? "" : make("span", { class: "note" }, number(count)));
  return button(content, () => {
    const clauses = clausesOf(state.filter);
    if (clauses.includes(clause)) apply(clauses.filter((other) => other !== clause).join(" and "));
    else apply(withClause(state.filter, clause));
  }, { "aria-pressed": "false", "data-clause": clause });
}

function rangeOf(field, key) {
  const bound = (name, value) => make("input", { type: "number", step: "any", placeholder: value, "aria-label": `${field.name}, ${name}` });
  const low = bound("at least", field.low), high = bound("at most", field.high);
  const take = () => {
    const clauses = clausesOf(state.filter).filter((clause) => !clause.startsWith(`${key} >= `) && !clause.startsWith(`${key} <= `));
    if (low.value !== "") clauses.push(`${key} >= ${low.value}`);
    if (high.value !== "") clauses.push(`${key} <= ${high.value}`);
    apply(clauses.join(" and "));
  };
  low.addEventListener("change", take);
  high.addEventListener("change", take);
  return make("div", { class: "range" }, low, make("span", { "aria-hidden": "true" }, "to"), high);
}
