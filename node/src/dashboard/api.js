// Calls of the node's own API, with the key that the user gave.

const KEY = "quiver-api-key";

export const key = () => sessionStorage.getItem(KEY);

let asking = null;

/** Asks for a key; true if one was given. Several callers at once share one question. */
export function ask(why) {
  asking ??= new Promise((answer) => {
    const dialog = document.getElementById("ask");
    const input = document.getElementById("ask-key");
    document.getElementById("ask-why").textContent = why;
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "ok";
      if (given && input.value) sessionStorage.setItem(KEY, input.value);
      if (given && !input.value) sessionStorage.removeItem(KEY);
      input.value = "";
      asking = null;
      answer(given);
    }, { once: true });
    dialog.showModal();
    input.focus();
  });
  return asking;
}

/** One request as it is; the key is added, and asked for when the node wants one. */
export async function send(method, path, body, signal) {
  const headers = {};
  if (key()) headers["api-key"] = key();
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method, headers, body, signal, cache: "no-store" });
  if (answer.status !== 401) return answer;
  const again = await ask(await answer.text());
  return again ? send(method, path, body, signal) : answer;
}

/** The `result` of a call. Throws what the node says if it refuses. */
export async function call(method, path, body, signal) {
  const answer = await send(method, path, body === undefined ? undefined : JSON.stringify(body), signal);
  const text = await answer.text();
  let parsed;
  try { parsed = JSON.parse(text); } catch { parsed = null; }
  if (answer.ok && parsed) return parsed.result ?? parsed;
  const status = parsed?.status;
  const hint = status?.hint ? ` (${status.hint})` : "";
  throw new Error((status?.error ?? text) + hint || `the node answered ${answer.status}`);
}

export const at = (collection, rest = "") => `/collections/${encodeURIComponent(collection)}${rest}`;

/** Vectors of a configuration by name, the unnamed one's being empty. */
export function vectorsOf(info) {
  const vectors = info.config.params.vectors ?? {};
  return typeof vectors.size === "number" ? { "": vectors } : vectors;
}
