// Snapshots of a collection: made, fetched, removed.

import { at, call, key, send } from "./api.js";
import { attempt, errors, h, size } from "./dom.js";

/** With a key a download goes by way of memory: a link can't send the header. */
const IN_MEMORY_MAX = 1 << 30;

async function download(path, name, bytes) {
  if (bytes > IN_MEMORY_MAX) throw new Error(`${name} is too large to be fetched with a key by a browser: curl -H 'api-key: …' -O ${location.origin}${path}`);
  const answer = await send("GET", path);
  if (!answer.ok) throw new Error(await answer.text());
  const url = URL.createObjectURL(await answer.blob());
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export async function show(place, signal, name) {
  const trouble = errors();
  const told = h("p", { class: "quiet", role: "status" });
  const rows = h("tbody");
  const make = h("button", { class: "primary", type: "button", click: async () => {
    make.disabled = true;
    told.textContent = "Being made…";
    const made = await attempt(trouble, () => call("POST", at(name, "/snapshots?wait=true"), undefined, signal));
    told.textContent = made ? `${made.name} is there.` : "";
    make.disabled = false;
    if (made) await list();
  } }, "Create a snapshot");
  const row = (snapshot) => {
    const path = at(name, `/snapshots/${encodeURIComponent(snapshot.name)}`);
    // The first press asks, the second does it.
    const remove = h("button", { class: "danger", type: "button", "aria-label": `Delete ${snapshot.name}`, blur: () => { remove.textContent = "Delete"; }, click: async () => {
      if (remove.textContent === "Delete") { remove.textContent = "Really delete"; return; }
      const gone = await attempt(trouble, () => call("DELETE", `${path}?wait=true`, undefined, signal));
      if (gone !== undefined) { told.textContent = `${snapshot.name} is deleted.`; await list(); }
    } }, "Delete");
    const fetching = key()
      ? h("button", { type: "button", click: () => attempt(trouble, () => download(path, snapshot.name, snapshot.size)) }, "Download")
      : h("a", { class: "button", href: path, download: snapshot.name }, "Download");
    const checksum = snapshot.checksum ? snapshot.checksum.slice(0, 16) + "…" : "being made";
    return h("tr", {}, h("td", { class: "wide mono" }, snapshot.name), h("td", {}, snapshot.creation_time?.replace("T", " ") ?? "–"), h("td", { class: "n" }, size(snapshot.size)),
      h("td", { class: "mono", title: snapshot.checksum ?? "" }, checksum), h("td", {}, h("div", { class: "row" }, fetching, remove)));
  };
  const list = () => attempt(trouble, async () => {
    const all = await call("GET", at(name, "/snapshots"), undefined, signal);
    all.sort((a, b) => (b.creation_time ?? "").localeCompare(a.creation_time ?? ""));
    rows.replaceChildren(...(all.length ? all.map(row) : [h("tr", {}, h("td", { colspan: 5, class: "empty" }, "No snapshots yet."))]));
  });
  place.append(h("div", { class: "row" }, make), told, trouble, h("section", { class: "card scroll" }, h("h2", {}, "Snapshots"),
    h("table", {}, h("thead", {}, h("tr", {}, ["Name", "Made", "Size", "SHA-256", "Actions"].map((t) => h("th", { scope: "col", class: t === "Size" ? "n" : "" }, t)))), rows)));
  await list();
}
