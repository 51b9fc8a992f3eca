// The red lines that are crossed now, and what to do.

import { call } from "./api.js";
import { h } from "./dom.js";

/** The sentences of a solution: a text, a call, or a choice of calls. */
function sentences(solution) {
  if (!solution) return [];
  if (typeof solution === "string") return [solution];
  if (Array.isArray(solution)) return solution.flatMap(sentences);
  if (typeof solution.message === "string") return [solution.message];
  return Object.values(solution).flatMap(sentences);
}

export async function show(place, signal) {
  const { issues } = await call("GET", "/issues", undefined, signal);
  if (!issues.length) {
    place.append(h("p", { class: "card empty" }, "No red line is crossed."));
    return;
  }
  place.append(...issues.map((issue) => h("article", { class: "card" },
    h("h2", {}, issue.description),
    h("ul", {}, sentences(issue.solution).map((text) => h("li", {}, text))),
    h("p", { class: "quiet" }, issue.related_collection ? h("a", { href: `#/collections/${encodeURIComponent(issue.related_collection)}` }, issue.related_collection) : "the whole node",
      ` · since ${issue.timestamp?.replace("T", " ")} · `, h("code", {}, issue.id)))));
}
