// What each stage found, side by side: one document is joined across the columns when it is pointed at or has focus.

import { draw, make, plural, score, soft } from "./dom.js";
import { openDocument } from "./hits.js";
import { pathOf, stageName } from "./text.js";

const NARROW = matchMedia("(max-width: 44rem)");
const COMPARED = 10;

/** The columns of a result. */
export function columnsOf(result) {
  const columns = result.columns.filter(
    (column, place, all) => !all.slice(place + 1).some((other) => stageName(other.stage) === stageName(column.stage)),
  );
  const known = new Map([...Object.values(result.documents ?? {}), ...result.hits].map((hit) => [hit.id, hit]));
  const lines = draw("svg", { class: "joins", "aria-hidden": "true" });
  const grid = make("div", { class: "columns" });
  grid.style.setProperty("--columns", columns.length);
  const tabs = make("div", { class: "tabs", role: "tablist", "aria-label": "Stages" });
  const panels = columns.map((column, place) => panelOf(column, place, columns, known));
  columns.forEach((column, place) => tabs.append(tabOf(column, place)));
  grid.append(...panels, lines);
  const whole = make("div", { class: "beside" }, overlapOf(columns), tabs, grid);
  let current = columns.length - 1;

  function tabOf(column, place) {
    return make("button", {
      type: "button", role: "tab", id: `tab-${place}`, "aria-controls": `panel-${place}`, onclick: () => choose(place, true),
      onkeydown: (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (step) choose((current + step + columns.length) % columns.length, true);
      },
    }, stageName(column.stage));
  }

  /** On a narrow screen the columns are tabs. */
  function choose(place, focus) {
    current = place;
    panels.forEach((panel, number) => {
      const isTab = NARROW.matches;
      panel.hidden = isTab && number !== current;
      for (const [key, value] of [["role", "tabpanel"], ["aria-labelledby", `tab-${number}`]]) {
        if (isTab) panel.setAttribute(key, value);
        else panel.removeAttribute(key);
      }
      tabs.children[number].setAttribute("aria-selected", String(number === current));
      tabs.children[number].tabIndex = number === current ? 0 : -1;
    });
    if (focus) tabs.children[current].focus();
    join(null);
  }
  const entries = panels.map((panel) => [...panel.querySelectorAll("button")]);
  const narrowed = () => (whole.isConnected ? choose(current) : NARROW.removeEventListener("change", narrowed));
  NARROW.addEventListener("change", narrowed);
  choose(current);
  if (entries.flat().length) entries.find((column) => column.length)[0].tabIndex = 0;
  const joined = (target) => target.closest("button[data-document]")?.dataset.document ?? null;
  let focused = null;
  const on = (name, handler) => grid.addEventListener(name, handler);
  on("pointerover", (event) => join(joined(event.target) ?? focused));
  on("pointerleave", () => join(focused));
  on("focusin", (event) => {
    focused = joined(event.target);
    entries.flat().forEach((entry) => (entry.tabIndex = entry === event.target ? 0 : -1));
    join(focused);
  });
  on("focusout", () => join((focused = null)));
  on("keydown", (event) => {
    const [down, across] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [0, 0];
    const column = entries.findIndex((all) => all.includes(event.target));
    if (column < 0 || (!down && !across) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const place = entries[column].indexOf(event.target);
    if (down) entries[column][place + down]?.focus();
    else besides(column, place, across)?.focus();
  });

  /** To the same document in the next column; where it is not there, to the same rank. */
  function besides(column, place, across) {
    const next = entries[column + across];
    const id = entries[column][place].dataset.document;
    return next?.find((entry) => entry.dataset.document === id) ?? next?.[Math.min(place, next.length - 1)];
  }

  /** Mark a document in all columns, and draw a line from one to the next; null: none. */
  function join(id) {
    const frame = grid.getBoundingClientRect();
    lines.replaceChildren();
    let before = null;
    for (const all of entries) {
      const entry = all.find((button) => button.dataset.document === id);
      for (const button of all) button.classList.toggle("joined", button === entry);
      if (!entry || NARROW.matches) continue;
      const box = entry.getBoundingClientRect();
      const now = { left: box.left - frame.left, right: box.right - frame.left, y: box.top + box.height / 2 - frame.top };
      if (before) {
        const middle = (before.right + now.left) / 2;
        const d = `M${before.right} ${before.y}C${middle} ${before.y} ${middle} ${now.y} ${now.left} ${now.y}`;
        lines.append(draw("path", { d }));
      }
      before = now;
    }
  }
  return whole;
}

function panelOf(column, place, columns, known) {
  const items = column.ids.map((id, rank) => {
    const hit = known.get(id) ?? { id, title: id, metadata: {} };
    const ranks = columns.map((other) => other.ids.indexOf(id) + 1);
    const text = ranks.map((value) => value || "–").join(" · ");
    const label = columns.map((other, number) => `${stageName(other.stage)} ${ranks[number] || `not in ${other.ids.length}`}`).join(", ");
    const alone = ranks.filter(Boolean).length === 1 && columns.length > 1;
    return make("li", {}, make("button", {
      type: "button", tabindex: "-1", "data-document": id, class: alone ? "alone" : null,
      onclick: () => openDocument(id),
    },
    make("span", { class: "rank" }, String(rank + 1)),
    make("span", { class: "name", dir: "auto" }, hit.title || id),
    make("span", { class: "where", dir: "auto" }, make("bdi", {}, pathOf(hit.metadata ?? {}).text || id)),
    make("span", { class: "ranks", title: label }, make("span", { "aria-hidden": "true" }, text), make("span", { class: "unseen" }, label)),
    make("span", { class: "points" }, score(column.scores[rank]))));
  });
  const heading = `column-${place}`;
  return make("section", { id: `panel-${place}`, "aria-label": stageName(column.stage) },
    make("h3", { id: heading }, stageName(column.stage)),
    soft(column.meaning, make("span", {}, ` ${column.milliseconds.toFixed(1)} ms`)),
    items.length ? make("ol", {}, items) : soft("It found nothing."));
}

/** How many of the first ten each two stages share. */
function overlapOf(columns) {
  const parts = [];
  for (const [place, one] of columns.entries()) {
    for (const other of columns.slice(place + 1)) {
      const first = new Set(one.ids.slice(0, COMPARED));
      const most = Math.min(COMPARED, Math.max(one.ids.length, other.ids.length));
      const shared = other.ids.slice(0, COMPARED).filter((id) => first.has(id)).length;
      parts.push(make("span", {}, `${stageName(one.stage)} and ${stageName(other.stage)} `, make("b", {}, `${shared}`), ` of ${most}`));
    }
  }
  if (!parts.length) return soft(`One stage: ${plural(columns.length, "column")}.`);
  return make("p", { class: "overlap" }, make("span", { class: "soft" }, `overlap@${COMPARED}`), ...parts);
}
