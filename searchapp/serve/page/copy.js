// The search that is shown, as JSON, for curl and for Python. The token is never among it.

import { hasToken } from "./api.js";
import { button, make, one, say } from "./dom.js";

/** Buttons that copy a search's answer, and the commands that repeat it. */
export function copyOf(body, answer) {
  const url = `${location.origin}/api/search`;
  const forms = {
    JSON: () => JSON.stringify(answer, null, 2),
    curl: () => curl(url, body),
    Python: () => python(url, body),
  };
  return [make("span", {}, "Copy as "), ...Object.entries(forms).map(([name, text]) => button(name, () => copy(name, text())))];
}

const inQuotes = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(url, body) {
  const token = hasToken() ? ` -H "authorization: Bearer $TOKEN"` : "";
  return `curl ${inQuotes(url)} -H 'content-type: application/json'${token} --data-binary ${inQuotes(JSON.stringify(body))}`;
}

function python(url, body) {
  const token = hasToken() ? `, "authorization": "Bearer " + os.environ["TOKEN"]` : "";
  return [
    `import json${hasToken() ? ", os" : ""}, urllib.request`, "",
    `body = ${literal(body)}`,
    `request = urllib.request.Request(`,
    `    ${JSON.stringify(url)}, json.dumps(body).encode(), {"content-type": "application/json"${token}}`,
    ")",
    `for hit in json.load(urllib.request.urlopen(request))["results"][0]["hits"]:`,
    `    print(f"{hit['score']:.3f}  {hit['title']}")`, "",
  ].join("\n");
}

function literal(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${literal(one)}`).join(", ")}}`;
}

async function copy(name, text) {
  try {
    await navigator.clipboard.writeText(text);
    say(`Copied as ${name}.`);
  } catch {
    show(name, text); // a browser gives the clipboard to pages on https and on this machine only
  }
}

function show(name, text) {
  const area = make("textarea", { rows: "12", readonly: true, "aria-label": name });
  area.value = text;
  const dialog = one("document");
  dialog.replaceChildren(button("Close", () => dialog.close(), { class: "close" }), area);
  dialog.showModal();
  area.select();
}
