// Bar: search, lens, colour and the other choices at the top of the page.

import type { App } from "./app";
import type { Board } from "./board";
import { COLOURS } from "./colour";
import { byId, fill, h, visible } from "./dom";
import { savePng, saveSvg } from "./exporting";
import { compare, type Keys } from "./keys";
import { LENSES } from "./lens";
import { titleOf } from "./schema";

const LENS_WORDS = { scope: "Scopes", fusion: "Fusion", line: "Lines" };
const COLOUR_WORDS = { op: "op", dtype: "dtype", flops: "flops", bytes: "bytes", time: "measured time" };

export function makeBar(app: App, board: Board, keys: Keys): void {
  const search = byId<HTMLInputElement>("search");
  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => void app.set({ q: search.value }), 120) as unknown as number;
  });
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    clearTimeout(waiting);
    void app.set({ q: search.value }).then(() => app.next(event.shiftKey ? -1 : 1));
  });
  const lenses = LENSES.map((lens, i) =>
    h("button", { type: "button", "data-lens": lens, title: `Boxes: ${LENS_WORDS[lens].toLowerCase()} (${i + 1})`, onclick: () => void app.set({ lens }) }, LENS_WORDS[lens]),
  );
  fill(byId("lenses"), lenses);
  const colour = byId<HTMLSelectElement>("colour");
  fill(colour, COLOURS.map((name) => h("option", { value: name }, COLOUR_WORDS[name])));
  colour.addEventListener("change", () => void app.set({ colour: COLOURS[colour.selectedIndex] }));
  const record = byId<HTMLSelectElement>("record");
  fill(record, app.traces.map((trace, i) => h("option", { value: i }, titleOf(trace.data, i))));
  record.hidden = app.traces.length < 2;
  record.addEventListener("change", () => void app.set({ record: record.selectedIndex, rewrite: null }));
  byId("title").textContent = app.traces.length < 2 ? visible(titleOf(app.traces[0].data)) : "";
  const base = byId<HTMLSelectElement>("base");
  const option = (value: string, label: string) => h("option", { value }, label);
  fill(
    base,
    option("previous", "the pass before"),
    option("none", "nothing"),
    app.traces.map((trace, r) => {
      const group = h("optgroup", { label: titleOf(trace.data, r) });
      trace.stages.forEach((stage, p) => {
        group.append(option(`${r}.${p}`, `${p} ${stage.name.replaceAll("_", " ")}${trace.changes(p) ? "" : " (no change)"}`));
      });
      return group;
    }),
  );
  base.addEventListener("change", () => void app.set({ base: base.value }));
  const on = (id: string, run: () => void) => byId(id).addEventListener("click", run);
  const toggle = (drawer: "memory" | "schedule") => void app.set({ drawer: app.settings.drawer === drawer ? "" : drawer, step: null });
  on("memory", () => toggle("memory"));
  on("schedule", () => toggle("schedule"));
  on("table-view", () => void app.set({ view: app.settings.view === "table" ? "graph" : "table" }));
  on("theme", () => void app.set({ theme: app.theme.dark ? "light" : "dark" }));
  on("help-button", () => keys.help());
  on("svg", () => saveSvg(app, board));
  on("png", () => savePng(app, board));
  on("fit", () => app.fit());
  on("closer", () => app.camera.zoom(1.25));
  on("farther", () => app.camera.zoom(0.8));
  on("places", () => void app.set({ places: app.settings.places === "kept" ? "packed" : "kept" }));
  on("compare", () => compare(app));
  on("close-drawer", () => void app.set({ drawer: "" }));
  app.onChange(() => {
    const { settings } = app;
    for (const button of lenses) button.setAttribute("aria-pressed", String(button.dataset.lens === settings.lens));
    colour.value = settings.colour;
    record.value = String(settings.record);
    base.value = settings.base;
    if (document.activeElement !== search) search.value = settings.q;
    const press = (id: string, pressed: boolean) => byId(id).setAttribute("aria-pressed", String(pressed));
    press("memory", settings.drawer === "memory");
    press("schedule", settings.drawer === "schedule");
    press("table-view", settings.view === "table");
    press("places", settings.places === "packed");
    press("compare", settings.base.includes("."));
    const found = byId("found");
    search.setAttribute("aria-invalid", String(Boolean(app.trouble)));
    found.textContent = app.trouble || (settings.q ? `${app.matches.length} found` : "");
    found.classList.toggle("trouble", Boolean(app.trouble));
  });
}
