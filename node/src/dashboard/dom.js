// Elements, numbers and JSON as text. Nothing here ever reads markup, so what a payload says stays text.

/** An element: attributes, event handlers (functions), then children (elements or text). */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (key === "value" || key === "disabled") element[key] = value;
    else if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

let fields = 0;

/** A label and its field, side by side in a row. */
export function field(text, control, kind = "") {
  control.id ||= `field-${++fields}`;
  return h("div", { class: kind }, h("label", { for: control.id }, text), control);
}

export const number = (n) => (n ?? 0).toLocaleString("en");

/** A count and what is counted. */
export const some = (n, what) => `${number(n)} ${what}${n === 1 ? "" : "s"}`;

export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit++; }
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
}

const TOKENS = /("(?:\\.|[^"\\])*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|\b(true|false|null)\b/g;
const COLOURED_MAX = 200_000;

/** A value as indented JSON in colours. Long lists of numbers, which are vectors, take one line. */
export function json(value, kind = "") {
  let text = JSON.stringify(value, null, 2) ?? "";
  text = text.replace(/\[\s+(-?[\d.eE+-]+(?:,\s+-?[\d.eE+-]+)*)\s+\]/g, (_, list) => `[${list.replace(/\s+/g, " ")}]`);
  const box = h("pre", { class: kind, tabindex: 0 });
  if (text.length > COLOURED_MAX) {
    box.textContent = text;
    return box;
  }
  let from = 0;
  for (const found of text.matchAll(TOKENS)) {
    box.append(text.slice(from, found.index));
    const [, string, colon, digits] = found;
    const colour = string ? (colon ? "key" : "text") : digits ? "number" : "word";
    box.append(h("span", { class: `json-${colour}` }, string ?? found[0]), colon ?? "");
    from = found.index + found[0].length;
  }
  box.append(text.slice(from));
  return box;
}

/** Runs `work`, and shows in `place` why it failed. Gives what it gave, or nothing. */
export async function attempt(place, work) {
  place.textContent = "";
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") place.textContent = error.message;
    return undefined;
  }
}

/** Where errors of a view are said. */
export const errors = () => h("p", { class: "error", role: "alert" });
