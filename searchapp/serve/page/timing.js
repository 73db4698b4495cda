// Where the time of a search went, as one bar, and what is to be said beside the hits.

import { make } from "./dom.js";

const STEPS = ["queue", "encode", "search", "rerank", "render", "network"];

/** The bar: the server's steps, and what is left of the time until the answer was here. */
export function timingOf(answer, milliseconds) {
  const steps = { ...answer.timing_ms };
  const inside = Object.values(steps).reduce((sum, one) => sum + one, 0);
  steps.network = Math.max(0, milliseconds - inside);
  const bar = make("div", { class: "time", "aria-hidden": "true" });
  const legend = make("dl", { class: "legend" });
  for (const name of STEPS) {
    const spent = steps[name] ?? 0;
    if (spent < 0.05) continue;
    const part = make("span", { class: `step-${name}`, title: `${name} ${spent.toFixed(1)} ms` });
    part.style.flexGrow = spent;
    bar.append(part);
    legend.append(make("div", {}, make("dt", { class: `step-${name}` }, name), make("dd", {}, `${spent.toFixed(1)} ms`)));
  }
  const generation = make("div", {}, make("dt", {}, "generation"), make("dd", {}, String(answer.generation)));
  legend.append(generation);
  return [bar, make("details", {}, make("summary", {}, "Where the time went"), legend)];
}
