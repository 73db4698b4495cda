// Elements are made of nodes and text alone: nothing that came from a document is ever read as markup.

let said = 0;

export const one = (id) => document.getElementById(id);

/** An element. Attributes that are null or false are left out; `onclick` and the like take functions. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  set(element, attributes);
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** Paragraphs: in the soft colour, and of what went wrong. */
export const soft = (...children) => make("p", { class: "soft" }, ...children);
export const problem = (...children) => make("p", { class: "problem" }, ...children);

/** An element of SVG. */
export function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  set(element, attributes);
  element.append(...children);
  return element;
}

function set(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
}

/** A button that looks like text; `pressed` true or false makes it a switch. */
export function button(label, onclick, attributes = {}) {
  return make("button", { type: "button", onclick, ...attributes }, label);
}

/** A button and what it opens below it: made when it is opened first. `build` gives an element, at once or later. */
export function opener(label, build) {
  const place = make("div", { class: "opened", hidden: true });
  const control = button(label, toggle, { "aria-expanded": "false" });
  let built = false;
  async function toggle() {
    place.hidden = !place.hidden;
    control.setAttribute("aria-expanded", String(!place.hidden));
    if (built || place.hidden) return;
    built = true;
    place.replaceChildren(make("p", { class: "soft" }, "…"));
    try {
      place.replaceChildren(await build());
    } catch (error) {
      built = false;
      place.replaceChildren(problem(error.message));
    }
  }
  return { control, place, toggle };
}

/** Say something to those who listen to the page. */
export function say(text) {
  clearTimeout(said);
  one("said").textContent = text;
  said = setTimeout(() => (one("said").textContent = ""), 4000);
}

export const number = (value) => value.toLocaleString("en");
export const score = (value) => (Math.abs(value) < 10 ? value.toFixed(3) : value.toFixed(1));
export const plural = (count, noun, many = `${noun}s`) => `${number(count)} ${count === 1 ? noun : many}`;

/** Keep a small thing in this browser; where that is forbidden, do without. */
export function keep(key, value) {
  try {
    localStorage.setItem(`searchapp.${key}`, JSON.stringify(value));
  } catch {}
}

export function kept(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(`searchapp.${key}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
}
