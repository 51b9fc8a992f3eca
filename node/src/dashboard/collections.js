// The list of collections and their health, and one of them.

import { at, call, vectorsOf } from "./api.js";
import { errors, h, json, number } from "./dom.js";

/** Collections whose state is asked for at the same time. */
const TOGETHER = 6;

const status = (info) => {
  const says = { green: "green: all is indexed", yellow: "yellow: being indexed", grey: "grey: waits to be indexed", red: "red: something failed" };
  const error = typeof info.optimizer_status === "object" ? info.optimizer_status.error : "";
  return h("span", { class: `status ${info.status}`, title: error || says[info.status] || "" }, info.status);
};

const vector = ([name, v]) => `${name ? name + ": " : ""}${number(v.size)} × ${v.distance}`;

/** All collections. */
export async function all(place, signal) {
  const { collections } = await call("GET", "/collections", undefined, signal);
  const names = collections.map((c) => c.name).sort();
  if (!names.length) {
    place.append(h("div", { class: "card empty" }, "There are no collections yet. Create one in the ", h("a", { href: "#/console" }, "console"), " or with a client."));
    return;
  }
  const rows = new Map(names.map((name) => [name, h("tr", {}, h("td", { class: "wide" }, h("a", { href: `#/collections/${encodeURIComponent(name)}` }, name)))]));
  const heads = [["Name"], ["Status"], ["Points", "n"], ["Indexed vectors", "n"], ["Segments", "n"], ["Shards", "n"], ["Vectors"], ["Payload indexes", "n"]];
  place.append(h("div", { class: "card scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, heads.map(([text, kind]) => h("th", { scope: "col", class: kind ?? "" }, text)))),
    h("tbody", {}, [...rows.values()]))));
  const waiting = [...names];
  const work = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const cell = (value, kind = "n") => h("td", { class: kind }, value);
      try {
        const info = await call("GET", at(name), undefined, signal);
        rows.get(name).append(h("td", {}, status(info)), cell(number(info.points_count)), cell(number(info.indexed_vectors_count)),
          cell(number(info.segments_count)), cell(number(info.config.params.shard_number)),
          cell(Object.entries(vectorsOf(info)).map(vector).join(", "), "wide"), cell(number(Object.keys(info.payload_schema ?? {}).length)));
      } catch (error) {
        if (signal.aborted) throw error;
        rows.get(name).append(h("td", { colspan: heads.length - 1 }, h("span", { class: "error" }, error.message)));
      }
    }
  };
  await Promise.all(Array.from({ length: TOGETHER }, work));
}

const tile = (label, value) => h("div", { class: "card" }, h("div", { class: "quiet" }, label), h("div", { class: "number" }, value));

/** One collection. */
export async function one(place, signal, name) {
  const info = await call("GET", at(name), undefined, signal);
  const aliases = await call("GET", at(name, "/aliases"), undefined, signal).catch(() => ({ aliases: [] }));
  const trouble = errors();
  if (typeof info.optimizer_status === "object") trouble.textContent = info.optimizer_status.error;
  place.append(trouble, h("div", { class: "cards" },
    tile("Status", status(info)), tile("Points", number(info.points_count)), tile("Indexed vectors", number(info.indexed_vectors_count)),
    tile("Segments", number(info.segments_count)), tile("Waiting updates", number(info.update_queue?.length))));
  const fields = Object.entries(info.payload_schema ?? {});
  const row = (cells) => h("tr", {}, cells.map((text, i) => h("td", { class: i && typeof text === "string" && /^[\d,]+$/.test(text) ? "n" : "wide" }, text)));
  const table = (heads, rows) => h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, heads.map((t) => h("th", { scope: "col", class: ["Dimensions", "Points"].includes(t) ? "n" : "" }, t)))), h("tbody", {}, rows.map(row))));
  const quantized = (v) => Object.keys(v.quantization_config ?? info.config.quantization_config ?? {})[0] ?? "none set";
  const vectors = Object.entries(vectorsOf(info)).map(([n, v]) => [n || "(unnamed)", number(v.size), v.distance, quantized(v), v.on_disk ? "on disk" : "in memory"]);
  place.append(
    h("div", { class: "split" },
      h("section", { class: "card" }, h("h2", {}, "Vectors"), table(["Name", "Dimensions", "Distance", "Quantization", "Codes"], vectors)),
      h("section", { class: "card" }, h("h2", {}, "Payload indexes"),
        fields.length ? table(["Field", "Type", "Points"], fields.map(([f, s]) => [f, s.data_type, number(s.points)]))
          : h("p", { class: "empty" }, "None. A filter on a field without an index reads all payloads."))),
    aliases.aliases.length ? h("section", { class: "card" }, h("h2", {}, "Aliases"), h("p", {}, aliases.aliases.map((a) => a.alias_name).join(", "))) : "",
    h("section", { class: "card" }, h("h2", {}, "Configuration"), json(info.config, "short")));
}
