// Points of a collection, page by page, all or those that pass a filter.

import { at, call } from "./api.js";
import { attempt, errors, field, h, json, some } from "./dom.js";

const PAGE = 20;

/** The value of a form as the payload would have it: a number or a word of JSON where it looks like one. */
export function valueOf(text) {
  const trimmed = text.trim();
  if (/^".*"$/.test(trimmed)) {
    try { return JSON.parse(trimmed); } catch { return trimmed; }
  }
  if (/^-?\d+(\.\d+)?$/.test(trimmed) && Number.isSafeInteger(Math.trunc(Number(trimmed)))) return Number(trimmed);
  return { true: true, false: false }[trimmed] ?? trimmed;
}

/** The filter that the fields of the form say. */
export function filterOf(key, how, value) {
  if (!key) return undefined;
  const v = how === "empty" ? null : valueOf(value);
  const range = (op) => {
    if (typeof v !== "number" && !/^\d{4}-/.test(value)) throw new Error(`${how} wants a number or a date, not ${value || "nothing"}`);
    return { key, range: { [op]: v } };
  };
  if (how === "empty") return { must: [{ is_empty: { key } }] };
  if (how === "not") return { must_not: [{ key, match: condition(v) }] };
  const made = { is: () => ({ key, match: condition(v) }), text: () => ({ key, match: { text: value } }), ">=": () => range("gte"), "<=": () => range("lte") };
  return { must: [made[how]()] };
}

const condition = (v) => {
  if (typeof v === "number" && !Number.isInteger(v)) throw new Error("only whole numbers, words and true or false can be matched; use ≥ and ≤");
  return { value: v };
};

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** A point: its payload as a list, its vectors when they are asked for. */
function item(name, point) {
  const vectors = h("details", { toggle: async () => {
    if (!vectors.open || vectors.dataset.there) return;
    vectors.dataset.there = "yes";
    const trouble = errors();
    vectors.append(trouble);
    const found = await attempt(trouble, () => call("POST", at(name, "/points"), { ids: [point.id], with_vector: true }));
    if (found) vectors.append(json(found[0]?.vector ?? null, "short"));
  } }, h("summary", {}, "Vectors"));
  const pairs = Object.entries(point.payload ?? {}).flatMap(([k, v]) => [h("dt", {}, k), h("dd", {}, shown(v))]);
  return h("article", { class: "point", "aria-label": `Point ${point.id}` },
    h("strong", { class: "mono" }, String(point.id)),
    h("div", {}, pairs.length ? h("dl", {}, pairs) : h("span", { class: "quiet" }, "no payload"), vectors));
}

export async function show(place, signal, name) {
  const info = await call("GET", at(name), undefined, signal);
  const known = h("datalist", { id: "known-fields" }, Object.keys(info.payload_schema ?? {}).map((f) => h("option", { value: f })));
  const key = h("input", { list: "known-fields", placeholder: "any field", autocomplete: "off" });
  const how = h("select", {}, [["is", "is"], ["not", "is not"], ["text", "contains the words"], [">=", "≥"], ["<=", "≤"], ["empty", "is empty"]].map(([v, t]) => h("option", { value: v }, t)));
  const value = h("input", { autocomplete: "off" });
  const own = h("textarea", { rows: 4, spellcheck: "false", placeholder: '{"must": [{"key": "city", "match": {"value": "Rome"}}]}' });
  const trouble = errors();
  const count = h("p", { class: "quiet", role: "status" });
  const list = h("div");
  const more = h("button", { type: "button", click: () => page() }, "Next page");
  const back = h("button", { type: "button", click: () => { starts.pop(); starts.pop(); page(); } }, "Previous page");
  // Ids that pages start with; the last one is of the page that would come next.
  let starts = [undefined];
  let filter;
  const page = () => attempt(trouble, async () => {
    const offset = starts.at(-1);
    const { points, next_page_offset: next } = await call("POST", at(name, "/points/scroll"), { limit: PAGE, filter, offset, with_payload: true }, signal);
    list.replaceChildren(...points.map((p) => item(name, p)), points.length ? "" : h("p", { class: "empty" }, "No point passes."));
    starts.push(next);
    back.disabled = starts.length <= 2;
    more.disabled = next === null || next === undefined;
  });
  const apply = () => attempt(trouble, async () => {
    filter = own.value.trim() ? JSON.parse(own.value) : filterOf(key.value.trim(), how.value, value.value);
    starts = [undefined];
    await page();
    if (trouble.textContent) return;
    const total = await call("POST", at(name, "/points/count"), { filter, exact: true }, signal);
    count.textContent = `${some(total.count, "point")} ${filter ? "with this filter" : "in all"}`;
  });
  const clear = () => { key.value = value.value = own.value = ""; return apply(); };
  const form = h("form", { class: "card", submit: (event) => { event.preventDefault(); apply(); } },
    h("div", { class: "row" }, field("Field", key, "grow"), field("Condition", how), field("Value", value, "grow"),
      h("button", { class: "primary" }, "Filter"), h("button", { type: "button", click: clear }, "All points")),
    h("details", {}, h("summary", {}, "Filter as JSON"), field("A filter of the protocol; it takes the place of the fields above", own)), known);
  place.append(form, trouble, count, h("section", { class: "card", "aria-label": "Points" }, list), h("div", { class: "row" }, back, more));
  await apply();
}
