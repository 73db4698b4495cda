// Single keys, which are off in fields and dialogs and can be switched off; and the help that lists them.

import { button, keep, kept, make, one } from "./dom.js";

const LISTED = [
  ["/", "to the search field"],
  ["↑ ↓", "in the field: earlier queries, and down to the hits"],
  ["j k", "next and previous hit"],
  ["x", "expand or collapse"],
  ["y", "why this hit"],
  ["l", "more like this"],
  ["0 1 2", "judge: not relevant, partly, relevant"],
  ["s u", "judging: skip, undo"],
  ["← → ↑ ↓", "side by side: to the same document in the next column, up and down"],
  ["?", "this help"],
];
let enabled = kept("keys", true);

/** Connect the keys; `handlerOf` gives the function for a key, or nothing. */
export function bindKeys(handlerOf) {
  document.addEventListener("keydown", (event) => {
    if (!enabled || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest("input, textarea, select, dialog")) return;
    const handler = event.key === "?" ? showHelp : handlerOf(event.key);
    if (!handler) return;
    event.preventDefault();
    handler();
  });
  one("help-open").addEventListener("click", showHelp);
}

export function showHelp() {
  const dialog = one("help");
  const box = make("input", { type: "checkbox", checked: enabled, onchange: () => keep("keys", (enabled = box.checked)) });
  dialog.replaceChildren(
    button("Close", () => dialog.close(), { class: "close" }),
    make("h2", { id: "help-heading" }, "Keys"),
    make("dl", { class: "keys" }, LISTED.map(([keys, text]) => make("div", {},
      make("dt", {}, keys.split(" ").map((key) => make("kbd", {}, key))), make("dd", {}, text)))),
    make("label", { class: "toggle" }, box, " Single keys"),
    make("h2", {}, "Filters"),
    make("p", {}, "Comparisons of metadata, joined by ", make("code", {}, "and"), ", ", make("code", {}, "or"), ", ", make("code", {}, "not"), ":"),
    make("p", {}, make("code", {}, 'lang == "en" and year >= 2020')),
    make("p", {}, make("code", {}, 'meta["First Name"] in ["Ada", "Grace"]')),
    make("h2", {}, "For programs"),
    make("p", {}, make("a", { href: "/openapi.json" }, "The API’s description"), " (OpenAPI)"),
  );
  dialog.showModal();
}
