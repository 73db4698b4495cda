// The corpus as a map: each document a point, the hits of the query lit, an area's documents as a list.

import { get } from "./api.js";
import { button, make, number, one, plural } from "./dom.js";
import { openDocument, titlesOf } from "./hits.js";
import { state } from "./state.js";

const MARGIN = 24, NEAR = 12; // pixels
const LISTED = 100; // of an area; its export has all
const PAGE = 50; // rows of the table
let points = null;
let drawnFor = "";
let lit = new Map();

/** Show the map; fetched once for an index. `hits` are those of the query. */
export async function showMap(hits) {
  lit = new Map(hits.map((hit) => [hit.id, hit.rank]));
  if (drawnFor !== state.index || !points) {
    one("map").replaceChildren(heading(), make("p", { class: "soft", role: "status" }, "Drawing the map …"));
    try {
      points = (await get("/api/map", { index: state.index })).data;
      drawnFor = state.index;
    } catch (error) {
      points = null;
      one("map").replaceChildren(heading(), make("p", { class: "problem", role: "alert" }, error.message));
      return;
    }
  }
  render();
}

const heading = () => make("h2", { id: "map-heading", class: "unseen" }, "Map");

function render() {
  const canvas = make("canvas", { tabindex: "0", role: "img", "aria-label": `Map of ${plural(points.ids.length, "document")}; the same documents are in the table below` });
  const tip = make("p", { class: "tip", "aria-hidden": "true", hidden: true });
  const chosen = make("div", { class: "chosen", "aria-live": "polite" });
  const view = { zoom: 1, x: 0, y: 0 };
  const context = canvas.getContext("2d");
  let lasso = null, isLasso = false, drag = null, under = -1;

  const lassoButton = button("Lasso", () => {
    isLasso = !isLasso;
    lassoButton.setAttribute("aria-pressed", String(isLasso));
    canvas.classList.toggle("lasso", isLasso);
  }, { "aria-pressed": "false" });
  const tools = make("p", { class: "actions" }, lassoButton,
    button("Zoom in", () => zoom(1.6)), button("Zoom out", () => zoom(1 / 1.6)),
    button("Whole map", () => { Object.assign(view, { zoom: 1, x: 0, y: 0 }); paint(); }),
    make("span", { class: "soft" }, sampleNote()));
  one("map").replaceChildren(heading(), tools, make("div", { class: "canvas" }, canvas, tip), chosen, tableOf());

  const size = () => [canvas.clientWidth, canvas.clientHeight];
  function placeOf(number) {
    const [width, height] = size();
    return [
      (points.x[number] * (width - 2 * MARGIN) + MARGIN) * view.zoom + view.x,
      (points.y[number] * (height - 2 * MARGIN) + MARGIN) * view.zoom + view.y,
    ];
  }

  function paint() {
    const [width, height] = size();
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name).trim();
    const dot = Math.min(4, 1.1 * Math.sqrt(view.zoom) + (points.ids.length < 2000 ? 0.8 : 0));
    context.fillStyle = colour("--point");
    for (let number = 0; number < points.ids.length; number += 1) {
      const [x, y] = placeOf(number);
      if (x < -4 || y < -4 || x > width + 4 || y > height + 4) continue;
      context.beginPath();
      context.arc(x, y, dot, 0, 7);
      context.fill();
    }
    labels(width, height, style, colour);
    context.font = `600 12px ${style.fontFamily}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (let number = points.ids.length - 1; number >= 0; number -= 1) {
      if (!lit.has(points.ids[number])) continue;
      const [x, y] = placeOf(number);
      disc(x, y, 10, colour("--accent"));
      context.fillStyle = colour("--paper");
      context.fillText(String(lit.get(points.ids[number])), x, y + 0.5);
    }
    if (under >= 0 && !lit.has(points.ids[under])) disc(...placeOf(under), dot + 3, colour("--accent"));
    if (lasso?.length) {
      context.beginPath();
      lasso.forEach(([x, y], number) => (number ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath();
      context.strokeStyle = colour("--accent");
      context.lineWidth = 1.5;
      context.stroke();
    }
  }

  function disc(x, y, radius, fill) {
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.fillStyle = fill;
    context.fill();
  }

  function labels(width, height, style, colour) {
    context.font = `13px ${style.fontFamily}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineWidth = 4;
    context.lineJoin = "round";
    const taken = [];
    for (const { x, y, text } of points.labels) {
      const left = (x * (width - 2 * MARGIN) + MARGIN) * view.zoom + view.x;
      const top = (y * (height - 2 * MARGIN) + MARGIN) * view.zoom + view.y;
      const half = context.measureText(text).width / 2;
      const middle = Math.min(Math.max(left, half + 4), width - half - 4);
      if (left < 0 || left > width || top < 10 || top > height - 10) continue;
      if (taken.some((other) => Math.abs(other.y - top) < 20 && Math.abs(other.x - middle) < other.half + half + 8)) continue;
      taken.push({ x: middle, y: top, half });
      context.strokeStyle = colour("--paper");
      context.strokeText(text, middle, top);
      context.fillStyle = colour("--ink");
      context.fillText(text, middle, top);
    }
  }

  function nearest(x, y) {
    let found = -1, least = NEAR * NEAR;
    for (let number = 0; number < points.ids.length; number += 1) {
      const [left, top] = placeOf(number);
      const far = ((left - x) ** 2 + (top - y) ** 2) / (lit.has(points.ids[number]) ? 4 : 1);
      if (far < least) [found, least] = [number, far];
    }
    return found;
  }

  function zoom(factor, x = size()[0] / 2, y = size()[1] / 2) {
    const wanted = Math.min(40, Math.max(1, view.zoom * factor));
    view.x = x - ((x - view.x) * wanted) / view.zoom;
    view.y = y - ((y - view.y) * wanted) / view.zoom;
    view.zoom = wanted;
    if (wanted === 1) view.x = view.y = 0;
    paint();
  }

  const on = (name, handler, options) => canvas.addEventListener(name, handler, options);
  on("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, { passive: false });
  on("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    tip.hidden = true;
    drag = { x: event.offsetX, y: event.offsetY, moved: false };
    if (isLasso) lasso = [[event.offsetX, event.offsetY]];
  });
  on("pointermove", (event) => {
    const [x, y] = [event.offsetX, event.offsetY];
    if (drag) {
      drag.moved ||= Math.hypot(x - drag.x, y - drag.y) > 4;
      if (lasso) lasso.push([x, y]);
      else if (drag.moved) {
        view.x += event.movementX;
        view.y += event.movementY;
      }
      paint();
      return;
    }
    const found = nearest(x, y);
    if (found === under) return;
    under = found;
    tip.hidden = found < 0;
    if (found >= 0) {
      const [left, top] = placeOf(found);
      tip.textContent = points.titles[found] || points.ids[found];
      tip.style.left = `${Math.min(left, size()[0] - 220)}px`;
      tip.style.top = `${top + 14}px`;
    }
    paint();
  });
  on("pointerup", (event) => {
    if (lasso && drag?.moved) choose(inside(lasso));
    else if (drag && !drag.moved) {
      const found = nearest(event.offsetX, event.offsetY);
      if (found >= 0) openDocument(points.ids[found]);
    }
    drag = lasso = null;
    paint();
  });
  on("pointercancel", () => { drag = lasso = null; paint(); });
  on("pointerleave", () => { under = -1; tip.hidden = true; paint(); });
  on("keydown", (event) => {
    const step = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
    if (step) { view.x += step[0]; view.y += step[1]; paint(); }
    else if (event.key === "+") zoom(1.4);
    else if (event.key === "-") zoom(1 / 1.4);
    else return;
    event.preventDefault();
  });

  /** The documents inside a closed line (even-odd rule). */
  function inside(line) {
    const found = [];
    for (let number = 0; number < points.ids.length; number += 1) {
      const [x, y] = placeOf(number);
      let odd = false;
      for (let one = 0, two = line.length - 1; one < line.length; two = one, one += 1) {
        const [[ax, ay], [bx, by]] = [line[one], line[two]];
        if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
      }
      if (odd) found.push(number);
    }
    return found;
  }

  function choose(found) {
    const documents = found.map((number) => ({ id: points.ids[number], title: points.titles[number] }));
    chosen.replaceChildren(
      make("p", {}, `${plural(found.length, "document")} in the area`, found.length > LISTED ? `; the first ${LISTED} are listed.` : "."),
      make("p", { class: "actions" }, found.length ? button("Export as JSONL", () => download(documents)) : "", button("Clear", () => chosen.replaceChildren())),
      titlesOf(documents.slice(0, LISTED)));
  }

  new ResizeObserver(paint).observe(canvas);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => canvas.isConnected && paint());
  paint();
}

function sampleNote() {
  const more = points.total > points.ids.length ? ` of ${number(points.total)}` : "";
  return `${number(points.ids.length)}${more} documents${lit.size ? `, ${plural(lit.size, "hit")} lit` : ""}`;
}

function download(documents) {
  const lines = documents.map((document) => `${JSON.stringify(document)}\n`);
  const url = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
  make("a", { href: url, download: "selection.jsonl" }).click();
  URL.revokeObjectURL(url);
}

/** The same documents as a table, for those who cannot use the map; hits first. */
function tableOf() {
  const order = points.ids.map((_, number) => number);
  order.sort((one, two) => (lit.get(points.ids[one]) ?? 1e9) - (lit.get(points.ids[two]) ?? 1e9) || one - two);
  const body = make("tbody", {});
  let shown = 0;
  const more = button("More rows", grow);
  function grow() {
    for (const number of order.slice(shown, shown + PAGE)) {
      body.append(make("tr", {},
        make("td", {}, lit.has(points.ids[number]) ? String(lit.get(points.ids[number])) : "–"),
        make("td", { dir: "auto" }, button(points.titles[number] || points.ids[number], () => openDocument(points.ids[number]))),
        make("td", {}, labelOf(number))));
    }
    shown += PAGE;
    more.hidden = shown >= order.length;
  }
  const head = make("tr", {}, ["rank", "document", "nearest label"].map((name) => make("th", { scope: "col" }, name)));
  const details = make("details", { class: "table", ontoggle: () => shown || grow() },
    make("summary", {}, "The map as a table"), make("table", {}, make("thead", {}, head), body), more);
  return details;
}

function labelOf(number) {
  let found = "–", least = Infinity;
  for (const { x, y, text } of points.labels) {
    const far = (points.x[number] - x) ** 2 + (points.y[number] - y) ** 2;
    if (far < least) [found, least] = [text, far];
  }
  return found;
}
