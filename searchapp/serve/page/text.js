// Texts with what the server marked in them. It counts characters, JavaScript UTF-16 units.

import { make } from "./dom.js";

const PAIRS = /[\ud800-\udbff][\udc00-\udfff]/;

/** A function from a place in characters to one in UTF-16 units. */
export function units(text) {
  if (!PAIRS.test(text)) return (place) => place;
  const starts = [];
  let unit = 0;
  for (const character of text) {
    starts.push(unit);
    unit += character.length;
  }
  return (place) => starts[place] ?? text.length;
}

/** The passage of a hit: its decisive sentence marked, the query's words bold, dots where text was left out. */
export function passageOf(hit) {
  const { text, passage } = hit;
  if (text == null) return [];
  if (!passage) return [text.slice(0, 280), text.length > 280 ? " …" : ""];
  const at = units(text);
  const [start, end] = [at(passage.start), at(passage.end)];
  const words = passage.words.map(([from, to]) => [at(from), at(to)]);
  const nodes = passage.continues ? ["… "] : [];
  if (passage.sentence) {
    const [from, to] = passage.sentence.map(at);
    nodes.push(...withWords(text, start, from, words));
    nodes.push(make("mark", {}, ...withWords(text, from, to, words)));
    nodes.push(...withWords(text, to, end, words));
  } else {
    nodes.push(...withWords(text, start, end, words));
  }
  if (text.slice(end).trim()) nodes.push(" …");
  return nodes;
}

function withWords(text, start, end, words) {
  const nodes = [];
  let place = start;
  for (const [from, to] of words) {
    if (from < place || to > end) continue;
    nodes.push(text.slice(place, from), make("b", {}, text.slice(from, to)));
    place = to;
  }
  nodes.push(text.slice(place, end));
  return nodes.filter((node) => node !== "");
}

/** A metadata value as one line. */
export function shown(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

/** A link that may be followed: of the web, and nothing that runs. Null for anything else. */
export function linkOf(value) {
  if (typeof value !== "string" || !/^https?:\/\//i.test(value)) return null;
  try {
    const url = new URL(value);
    return ["http:", "https:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

const PATHS = ["file", "path", "source", "url"];

/** Where a document is from: the key of the metadata that says so, and its text with the line. */
export function pathOf(metadata) {
  const key = PATHS.find((name) => typeof metadata[name] === "string" && metadata[name]);
  if (!key) return { keys: [], text: "", link: null };
  const hasLine = Number.isInteger(metadata.line);
  const text = metadata[key] + (hasLine ? `:${metadata.line}` : "");
  return { keys: hasLine ? [key, "line"] : [key], text, link: linkOf(metadata[key]) };
}

const NAMES = { exact: "dense", compressed: "compressed", rescored: "dense", bm25: "BM25", fused: "hybrid", reranked: "reranked" };

/** A stage of the search as people call it. */
export const stageName = (stage) => NAMES[stage] ?? stage;
