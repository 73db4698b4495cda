// Requests to the server this page came from, with the token that it may ask for.

const KEY = "searchapp.token";
let token = null;
let begun = 0, ended = 0;

/** Do something; the root says how much was begun and has ended. */
async function counted(work) {
  const { dataset } = document.documentElement;
  dataset.begun = begun += 1;
  try {
    return await work();
  } finally {
    dataset.ended = ended += 1;
  }
}

/** Take the token out of the URL's fragment, where no server and no log sees it, and keep it for this tab. */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  try {
    if (given) sessionStorage.setItem(KEY, given);
    token = given ?? sessionStorage.getItem(KEY);
  } catch {
    token = given;
  }
  if (given) history.replaceState(history.state, "", location.pathname + location.search);
}

export function setToken(value) {
  token = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {}
}

export const hasToken = () => token != null;

/** An answer other than success; `status` 0: the server was not reached. */
export class Problem extends Error {
  constructor(status, body, retry) {
    super(body?.message ?? `the server answered ${status}`);
    this.status = status;
    this.param = body?.param ?? null;
    this.retry = retry;
  }
}

/** Ask, and return {data, milliseconds}. Throws Problem; an abort through `signal` throws what fetch throws. */
export const ask = (method, path, body, signal) => counted(() => exchange(method, path, body, signal));

async function exchange(method, path, body, signal) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  if (body !== undefined) headers["content-type"] = "application/json";
  const began = performance.now();
  let response, data;
  try {
    response = await fetch(path, {
      method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), credentials: "omit",
    });
    data = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (response) throw new Problem(response.status, { message: `the server's answer (${response.status}) is no JSON` });
    throw new Problem(0, { message: "the server cannot be reached; is it running?" });
  }
  if (!response.ok) throw new Problem(response.status, data.error, Number(response.headers.get("retry-after")) || null);
  return { data, milliseconds: performance.now() - began };
}

export const get = (path, parameters = {}, signal) => {
  const given = Object.entries(parameters).filter(([, value]) => value != null && value !== "");
  const query = new URLSearchParams(given).toString();
  return ask("GET", query ? `${path}?${query}` : path, undefined, signal);
};

/** As `ask`, again and again while the server loads its models; `waiting` hears why. */
export const patiently = (request, waiting, signal) => counted(() => again(request, waiting, signal));

async function again(request, waiting, signal) {
  for (;;) {
    try {
      return await request();
    } catch (problem) {
      if (problem.status !== 503 || !problem.retry) throw problem;
      waiting(problem.message);
      await new Promise((done) => setTimeout(done, 1000 * problem.retry));
      if (signal?.aborted) throw new DOMException("another search began", "AbortError");
    }
  }
}
