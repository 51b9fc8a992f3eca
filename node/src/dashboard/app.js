// Which view is shown for which address.

import { ask, call } from "./api.js";
import { h } from "./dom.js";
import * as advice from "./advice.js";
import * as collections from "./collections.js";
import * as console_ from "./console.js";
import * as indexing from "./indexing.js";
import * as map from "./map.js";
import * as points from "./points.js";
import * as snapshots from "./snapshots.js";

const TABS = [["", "Overview", collections.one], ["points", "Points", points.show], ["map", "Map", map.show],
  ["indexing", "Indexing", indexing.show], ["snapshots", "Snapshots", snapshots.show]];
const main = document.getElementById("main");
let leaving = new AbortController();
let shown = false;

function tabs(name, current) {
  const tab = ([part, text]) => {
    const href = `#/collections/${encodeURIComponent(name)}${part && "/" + part}`;
    return h("a", { href, "aria-current": part === current && "page" }, text);
  };
  return h("nav", { class: "tabs", "aria-label": "Collection" }, TABS.map(tab));
}

/** Draws the view of the address. A view gets its place, and a signal that it is left. */
async function route() {
  leaving.abort();
  leaving = new AbortController();
  const parts = location.hash.replace(/^#\/?/, "").split("?")[0].split("/").map(decodeURIComponent);
  const [first, name, tab = ""] = parts;
  const place = h("div");
  let view, title;
  if (first === "collections" && name) {
    view = TABS.find(([part]) => part === tab)?.[2] ?? collections.one;
    title = name;
    main.replaceChildren(h("h1", {}, name), tabs(name, tab), place);
  } else {
    [view, title] = { console: [console_.show, "Console"], advice: [advice.show, "Advice"] }[first] ?? [collections.all, "Collections"];
    main.replaceChildren(h("h1", {}, title), place);
  }
  document.title = `${title} · Quiver`;
  for (const link of document.querySelectorAll("header nav a")) {
    const here = link.textContent === (first === "collections" ? "Collections" : title);
    here ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  // Where the reader's keyboard goes on; the first view comes before anything was pressed.
  if (shown) main.focus({ preventScroll: true });
  shown = true;
  place.setAttribute("aria-busy", "true");
  try {
    await view(place, leaving.signal, name);
  } catch (error) {
    if (error.name !== "AbortError") place.append(h("p", { class: "error", role: "alert" }, error.message));
  }
  place.removeAttribute("aria-busy");
}

document.getElementById("key").addEventListener("click", async () => {
  if (await ask("Another key takes the place of the present one; an empty one removes it.")) route();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", route);
route();
call("GET", "/").then(({ title, version }) => {
  document.getElementById("node").textContent = `${location.host} · protocol ${version}`;
  document.getElementById("node").title = title;
}).catch(() => {});
