// A picture of a sample of the vectors: the two main directions, coloured by a field of the payload.

import { at, call, vectorsOf } from "./api.js";
import { attempt, errors, field, h, number, some } from "./dom.js";
import { colour } from "./indexing.js";
import { pca } from "./pca.js";

const SAMPLE = 1000;
const PAGE = 250;
const HEIGHT = 420;
const COLOURS = ["#0d9488", "#e07a1f", "#6366f1", "#db2777", "#65a30d", "#0ea5e9", "#a16207", "#9333ea"];
const OTHER = "#8a969c";

/** Points with this vector; a random draw if the node has it, the first ones if not. */
async function sample(name, vector, signal) {
  const found = [];
  const take = (points) => {
    for (const p of points) {
      const one = Array.isArray(p.vector) ? (vector ? null : p.vector) : p.vector?.[vector];
      if (Array.isArray(one) && typeof one[0] === "number") found.push({ id: p.id, payload: p.payload ?? {}, vector: one });
    }
  };
  const wanted = { with_payload: true, with_vector: vector ? [vector] : true };
  let offset;
  do {
    const page = await call("POST", at(name, "/points/scroll"), { ...wanted, limit: PAGE, offset }, signal);
    take(page.points);
    offset = page.next_page_offset;
  } while (offset !== null && offset !== undefined && found.length < SAMPLE);
  return found.slice(0, SAMPLE);
}

/** A whole sample that is spread over the collection where the node can draw one. */
async function drawn(name, vector, signal) {
  try {
    const body = { query: { sample: "random" }, limit: SAMPLE, with_payload: true, with_vector: vector ? [vector] : true };
    const { points } = await call("POST", at(name, "/points/query"), body, signal);
    const found = points.map((p) => ({ id: p.id, payload: p.payload ?? {}, vector: Array.isArray(p.vector) ? (vector ? null : p.vector) : p.vector?.[vector] }));
    const good = found.filter((p) => Array.isArray(p.vector) && typeof p.vector[0] === "number");
    if (good.length) return good;
  } catch (error) {
    if (signal.aborted) throw error;
  }
  return sample(name, vector, signal);
}

/** Which group each point belongs to: the most frequent values of a field, and all others. */
function groups(points, key) {
  if (!key) return [["all points", points.map((_, i) => i)]];
  const values = new Map();
  points.forEach((p, i) => {
    const value = p.payload[key];
    const text = value === undefined || value === null ? "(none)" : typeof value === "string" ? value : JSON.stringify(value);
    values.set(text, [...(values.get(text) ?? []), i]);
  });
  const sorted = [...values].sort((a, b) => b[1].length - a[1].length);
  const rest = sorted.slice(COLOURS.length).flatMap(([, members]) => members);
  return [...sorted.slice(0, COLOURS.length), ...(rest.length ? [["others", rest]] : [])];
}

const tint = (i) => COLOURS[i] ?? OTHER;

function dotOf(i) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  svg.setAttribute("viewBox", "0 0 10 10");
  svg.setAttribute("aria-hidden", "true");
  for (const [k, v] of [["cx", 5], ["cy", 5], ["r", 5], ["fill", tint(i)]]) circle.setAttribute(k, v);
  svg.append(circle);
  return svg;
}

/** Draws the points; `near` is told which one is under the mouse. */
function draw(chart, pairs, parts, near) {
  const order = pairs.map((_, i) => i).sort((a, b) => pairs[a][0] - pairs[b][0]);
  const place = new Map(order.map((point, at) => [point, at]));
  const columns = parts.map(([, members]) => {
    const column = new Array(pairs.length).fill(null);
    for (const i of members) column[place.get(i)] = pairs[i][1];
    return column;
  });
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, values: () => [], size: 12 };
  const [low, high] = [pairs[order[0]][0], pairs[order.at(-1)][0]];
  const margin = (high - low || 1) * 0.03;
  const plot = new uPlot({
    width: chart.clientWidth, height: HEIGHT, legend: { show: false },
    cursor: { points: { show: false }, drag: { x: false, y: false } },
    scales: { x: { time: false, range: [low - margin, high + margin] } },
    series: [{}, ...parts.map(([label], i) => ({ label, paths: () => null, points: { show: true, size: 6, fill: tint(i), stroke: tint(i), width: 0 } }))],
    axes: [axis, axis],
  }, [order.map((i) => pairs[i][0]), ...columns], chart);
  plot.over.addEventListener("mousemove", () => {
    const { left, top } = plot.cursor;
    let best = -1, least = 18 ** 2;
    pairs.forEach(([x, y], i) => {
      const distance = (plot.valToPos(x, "x") - left) ** 2 + (plot.valToPos(y, "y") - top) ** 2;
      if (distance < least) [best, least] = [i, distance];
    });
    near(best);
  });
  return plot;
}

export async function show(place, signal, name) {
  const info = await call("GET", at(name), undefined, signal);
  const vector = h("select", {}, Object.entries(vectorsOf(info)).filter(([, v]) => !v.multivector_config).map(([n]) => h("option", { value: n }, n || "(unnamed)")));
  if (!vector.options.length) {
    place.append(h("p", { class: "card empty" }, "This collection has no dense vectors to show."));
    return;
  }
  const key = h("select");
  const trouble = errors();
  const told = h("p", { class: "quiet", role: "status" }, "Looking…");
  const chart = h("div", { class: "chart", role: "img", "aria-label": "Points in the two main directions of their vectors" });
  const legend = h("ul", { class: "legend", "aria-label": "Colours" });
  const near = h("div", { class: "near quiet" }, "Move over a point to see what it is.");
  let points = [], pairs = [], plot;
  const paint = () => {
    const parts = groups(points, key.value);
    plot?.destroy();
    plot = points.length > 1 ? draw(chart, pairs, parts, (i) => {
      if (i < 0) return;
      const pairsOf = Object.entries(points[i].payload).slice(0, 4).map(([k, v]) => `${k}: ${typeof v === "string" ? v : JSON.stringify(v)}`);
      near.textContent = `${points[i].id} — ${pairsOf.join(" · ").slice(0, 400)}`;
    }) : undefined;
    legend.replaceChildren(...parts.map(([label, members], i) => h("li", {}, dotOf(i), `${label.slice(0, 40)} (${number(members.length)})`)));
  };
  const load = () => attempt(trouble, async () => {
    points = await drawn(name, vector.value, signal);
    const { pairs: made, kept } = points.length ? pca(points.map((p) => p.vector)) : { pairs: [], kept: 0 };
    pairs = made;
    const fields = new Map();
    for (const p of points) for (const [k, v] of Object.entries(p.payload)) if (typeof v !== "object") fields.set(k, (fields.get(k) ?? new Set()).add(v));
    const before = key.value;
    key.replaceChildren(h("option", { value: "" }, "nothing"), ...[...fields.keys()].map((k) => h("option", { value: k }, k)));
    const telling = [...fields].filter(([, values]) => values.size > 1 && values.size <= points.length / 4).map(([k]) => k);
    key.value = fields.has(before) ? before : telling[0] ?? "";
    paint();
    told.textContent = points.length ? `${some(points.length, "point")}, of ${number(info.points_count)}. The picture keeps ${(kept * 100).toFixed(0)} % of how their vectors differ.` : "No point has this vector.";
  });
  vector.addEventListener("change", load);
  key.addEventListener("change", paint);
  const fit = new ResizeObserver(() => plot?.setSize({ width: chart.clientWidth, height: HEIGHT }));
  signal.addEventListener("abort", () => { fit.disconnect(); plot?.destroy(); });
  place.append(h("section", { class: "card" },
    h("div", { class: "row" }, field("Vector", vector), field("Colour by", key), h("button", { type: "button", click: load }, "Another sample")),
    trouble, told, chart, legend, near));
  fit.observe(chart);
  await load();
}
