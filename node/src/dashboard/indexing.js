// How far indexing has come, as it goes on.

import { at, call, vectorsOf } from "./api.js";
import { h, number, some } from "./dom.js";

const EVERY_MS = 1000;
const KEPT = 600;
/** Distances of marks on the axis of time. */
const SECONDS = [1, 2, 5, 10, 30, 60, 120, 300, 600];

/** A colour of the stylesheet. */
export const colour = (name, of = document.documentElement) => {
  const probe = h("span");
  probe.style.color = `var(${name})`;
  of.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
};

export async function show(place, signal, name) {
  const bar = h("progress", { max: 1, id: "indexed" });
  const told = h("p", { role: "status" });
  const chart = h("div", { class: "chart" });
  place.append(
    h("section", { class: "card" }, h("h2", {}, "Vectors with an index"), h("label", { for: "indexed" }, "Share of all vectors"), bar, told,
      h("p", { class: "quiet" }, "Points below the indexing threshold stay without a graph and are searched by a scan, so a small collection may stay at 0 and be green.")),
    h("section", { class: "card" }, h("h2", {}, "Since this page was opened"), chart));
  const data = [[], [], []];
  const line = (label, name) => ({ label, stroke: colour(name), width: 2, points: { show: false }, value: (_, v) => (v === null || v === undefined ? "–" : number(v)) });
  const lines = { stroke: colour("--line"), width: 1 };
  const axis = { stroke: colour("--quiet"), grid: lines, ticks: lines };
  const plot = new uPlot({
    width: chart.clientWidth, height: 240, scales: { y: { range: (_, __, max) => [0, Math.max(max, 1) * 1.05] } },
    series: [{ label: "Time" }, line("Vectors", "--busy"), line("Indexed", "--accent")],
    axes: [{ ...axis, incrs: SECONDS }, { ...axis, size: 80, values: (_, all) => all.map((v) => (Number.isInteger(v) ? number(v) : "")) }],
  }, data, chart);
  const fit = new ResizeObserver(() => plot.setSize({ width: chart.clientWidth, height: 240 }));
  fit.observe(chart);
  signal.addEventListener("abort", () => { fit.disconnect(); plot.destroy(); });
  const look = async () => {
    const info = await call("GET", at(name), undefined, signal);
    const kinds = Object.keys(vectorsOf(info)).length + Object.keys(info.config.params.sparse_vectors ?? {}).length;
    // An upper bound: points may lack some of their vectors.
    const all = Math.max((info.points_count ?? 0) * Math.max(kinds, 1), info.indexed_vectors_count ?? 0);
    const indexed = info.indexed_vectors_count ?? 0;
    bar.value = all ? indexed / all : 0;
    told.textContent = `${number(indexed)} of ${number(all)} vectors have an index; the collection is ${info.status}, ${some(info.segments_count, "segment")}.`;
    data[0].push(Date.now() / 1000); data[1].push(all); data[2].push(indexed);
    if (data[0].length > KEPT) data.forEach((column) => column.shift());
    plot.setData(data);
  };
  await look();
  const again = () => setTimeout(async () => {
    if (signal.aborted) return;
    try { await look(); } catch (error) { if (signal.aborted) return; told.textContent = error.message; }
    again();
  }, EVERY_MS);
  again();
}
