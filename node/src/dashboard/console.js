// A request as one types it, and the answer as it comes.

import { call, send } from "./api.js";
import { attempt, errors, field, h, json } from "./dom.js";

const KEPT = "quiver-console";
const SHOWN_MAX = 2_000_000;

const EXAMPLES = [
  ["List collections", "GET", "/collections", ""],
  ["Create a collection", "PUT", "/collections/NAME", { vectors: { size: 4, distance: "Cosine" } }],
  ["Upsert a point", "PUT", "/collections/NAME/points?wait=true", { points: [{ id: 1, vector: [0.1, 0.2, 0.3, 0.4], payload: { city: "Rome" } }] }],
  ["Points like a point", "POST", "/collections/NAME/points/query", { query: 1, limit: 5, with_payload: true }],
  ["Scroll with a filter", "POST", "/collections/NAME/points/scroll", { filter: { must: [{ key: "city", match: { value: "Rome" } }] }, limit: 10 }],
  ["Count the values of a field", "POST", "/collections/NAME/facet", { key: "city", limit: 10 }],
  ["Index a field", "PUT", "/collections/NAME/index?wait=true", { field_name: "city", field_schema: "keyword" }],
];

export async function show(place, signal) {
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
  const names = await call("GET", "/collections", undefined, signal).then((r) => r.collections.map((c) => c.name), () => []);
  const method = h("select", {}, ["GET", "POST", "PUT", "PATCH", "DELETE"].map((m) => h("option", {}, m)));
  const path = h("input", { required: true, spellcheck: "false", autocomplete: "off", class: "mono" });
  const body = h("textarea", { rows: 16, spellcheck: "false" });
  const fill = (m, p, b) => { method.value = m; path.value = p; body.value = b; };
  fill(kept.method ?? "GET", kept.path ?? "/collections", kept.body ?? "");
  const example = h("select", { change: () => {
    const [, m, p, b] = EXAMPLES[example.value];
    fill(m, p.replace("NAME", encodeURIComponent(names[0] ?? "NAME")), b && JSON.stringify(b, null, 2));
  } }, h("option", { value: "", disabled: true, selected: true }, "Choose…"), EXAMPLES.map(([text], i) => h("option", { value: i }, text)));
  const trouble = errors();
  const told = h("p", { class: "quiet", role: "status" }, "The answer appears here.");
  const answerBox = h("div");
  const button = h("button", { class: "primary" }, "Send");
  const run = () => attempt(trouble, async () => {
    if (!path.value.startsWith("/")) throw new Error("the path starts with a slash");
    if (path.value.startsWith("//")) throw new Error("the path is one of this node: it starts with a single slash");
    const text = body.value.trim();
    if (text) {
      try { JSON.parse(text); } catch (error) { throw new Error(`the body is no JSON: ${error.message}`); }
    }
    if (text && method.value === "GET") throw new Error("a GET takes no body");
    sessionStorage.setItem(KEPT, JSON.stringify({ method: method.value, path: path.value, body: body.value }));
    button.disabled = true;
    try {
      const begun = performance.now();
      const answer = await send(method.value, path.value, text || undefined, signal);
      const raw = await answer.text();
      told.textContent = `${answer.status} in ${(performance.now() - begun).toFixed(1)} ms, ${raw.length.toLocaleString("en")} characters`;
      let parsed;
      try { parsed = JSON.parse(raw); } catch { parsed = undefined; }
      const box = parsed !== undefined && raw.length <= SHOWN_MAX ? json(parsed) : h("pre", { tabindex: 0 }, raw.slice(0, SHOWN_MAX));
      answerBox.replaceChildren(box);
    } finally {
      button.disabled = false;
    }
  });
  const keys = (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); } };
  const form = h("form", { class: "card", submit: (event) => { event.preventDefault(); run(); }, keydown: keys },
    h("h2", {}, "Request"),
    h("div", { class: "row" }, field("Method", method), field("Path", path, "grow")),
    field("Body (JSON)", body),
    h("div", { class: "row" }, field("Example", example, "grow"), button), trouble,
    h("p", { class: "quiet" }, "Ctrl+Enter sends."));
  place.append(h("div", { class: "split" }, form, h("section", { class: "card", "aria-label": "Answer" }, h("h2", {}, "Answer"), told, answerBox)));
}
