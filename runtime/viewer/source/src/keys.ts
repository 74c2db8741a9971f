// Keys: everything by keyboard, and the help that lists it.

import type { App } from "./app";
import type { Board } from "./board";
import { COLOURS } from "./colour";
import { byId, fill, h } from "./dom";
import { savePng, saveSvg } from "./exporting";
import { LENSES } from "./lens";
import type { Slider } from "./slider";

interface Key {
  keys: string[];
  shown: string;
  does: string;
  run: (event: KeyboardEvent) => void;
}

export class Keys {
  private groups: [string, Key[]][];

  constructor(
    app: App,
    board: Board,
    slider: Slider,
  ) {
    const set = (patch: Parameters<App["set"]>[0]) => void app.set(patch);
    const now = () => app.settings;
    const pan = (dx: number, dy: number) => app.camera.pan(dx, dy);
    const key = (keys: string | string[], does: string, run: Key["run"], shown?: string): Key => {
      const list = typeof keys === "string" ? [keys] : keys;
      return { keys: list, shown: shown ?? list[0], does, run };
    };
    this.groups = [
      ["Passes", [
        key("ArrowLeft", "the pass before", () => slider.step(-1), "\u2190"),
        key("ArrowRight", "the next pass", () => slider.step(1), "\u2192"),
        key("n", "the next pass that changed something", () => slider.change(1)),
        key("p", "the one before that changed something", () => slider.change(-1)),
        key(".", "the next rewrite", () => slider.rewrite(1)),
        key(",", "the rewrite before", () => slider.rewrite(-1)),
        key("Home", "the first pass", () => set({ pass: 0, rewrite: null })),
        key("End", "the last pass", () => set({ pass: app.trace.last, rewrite: null })),
        key("d", "compare with this pass from now on, or no longer", () => compare(app)),
        key("r", "the other record", () => set({ record: (now().record + 1) % app.traces.length, rewrite: null })),
      ]],
      ["Graph", [
        key("1", "boxes of name scopes", () => set({ lens: LENSES[0] })),
        key("2", "boxes of fusion groups", () => set({ lens: LENSES[1] })),
        key("3", "boxes of source lines", () => set({ lens: LENSES[2] })),
        key("c", "another colour", () => set({ colour: COLOURS[(COLOURS.indexOf(now().colour) + 1) % COLOURS.length] })),
        key("Enter", "open or close the box", () => void toggleSelected(app)),
        key("e", "open all boxes", () => void app.openAll(true)),
        key("w", "close all boxes", () => void app.openAll(false)),
        key("k", "keep places, or pack what is there", () => set({ places: now().places === "kept" ? "packed" : "kept" })),
      ]],
      ["Nodes", [
        key("ArrowUp", "an operand", () => void neighbour(app, "operands"), "\u2191"),
        key("ArrowDown", "a user", () => void neighbour(app, "users"), "\u2193"),
        key("u", "the box around", () => outward(app)),
        key("]", "the next node found, or in order", () => void app.next(1)),
        key("[", "the one before", () => void app.next(-1)),
        key("i", "all that it depends on (fan-in)", () => set({ cone: now().cone === "in" ? "" : "in", path: null })),
        key("o", "all that depends on it (fan-out)", () => set({ cone: now().cone === "out" ? "" : "out", path: null })),
        key("b", "both", () => set({ cone: now().cone === "both" ? "" : "both", path: null })),
        key("x", "begin a path here; then choose its end", () => set({ path: now().path === null ? now().node : null, cone: "" })),
        key("Escape", "choose nothing; leave the search", () => void escape(app), "Esc"),
      ]],
      ["View", [
        key("/", "search", (event) => { event.preventDefault(); byId("search").focus(); }),
        key(["+", "="], "closer", () => app.camera.zoom(1.25)),
        key("-", "farther", () => app.camera.zoom(0.8)),
        key(["W", "A", "S", "D"], "move", ({ key: k }) => pan(k === "A" ? 80 : k === "D" ? -80 : 0, k === "W" ? 80 : k === "S" ? -80 : 0), "Shift+W A S D"),
        key(["f", "0"], "show all", () => app.fit()),
        key("z", "show what is chosen", () => void app.select(now().node)),
        key("v", "the table", () => set({ view: now().view === "graph" ? "table" : "graph" })),
        key("m", "memory", () => set({ drawer: now().drawer === "memory" ? "" : "memory" })),
        key("s", "schedule", () => set({ drawer: now().drawer === "schedule" ? "" : "schedule" })),
        key("t", "light or dark", () => set({ theme: app.theme.dark ? "light" : "dark" })),
        key("g", "save an SVG", () => saveSvg(app, board)),
        key("G", "save a PNG", () => savePng(app, board), "Shift+G"),
        key("?", "this help", () => this.help()),
      ]],
    ];
    const all = new Map(this.groups.flatMap(([, keys]) => keys.flatMap((k) => k.keys.map((name) => [name, k] as const))));
    window.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const target = event.target as HTMLElement;
      const dialog = byId<HTMLDialogElement>("help");
      if (dialog.open) {
        if (event.key === "?") dialog.close();
        return;
      }
      if (target.matches("input, select, textarea")) {
        if (event.key === "Escape") target.blur();
        return;
      }
      if (event.key === "Enter" && target.matches("button, summary, a")) return;
      if (target.closest(".code, .scrolls, #panel") && /^(Arrow|Home|End)/.test(event.key) && target.matches("pre, summary, [tabindex]")) return;
      const found = all.get(event.key);
      if (!found) return;
      if (event.key.startsWith("Arrow")) event.preventDefault();
      found.run(event);
    });
  }

  help(): void {
    const dialog = byId<HTMLDialogElement>("help");
    fill(
      dialog,
      h("h1", {}, "Keys"),
      h("div", { class: "keys" }, this.groups.map(([title, keys]) =>
        h("section", {}, h("h2", {}, title), h("dl", {}, keys.flatMap(({ shown, does }) => [h("dt", {}, h("kbd", {}, shown)), h("dd", {}, does)]))),
      )),
      h("h2", {}, "Search"),
      h("p", {}, "Plain text finds names, ops, types and source lines. Or a test of fields: ",
        h("code", {}, 'bytes > 1e6 and op == "matmul"'), ", ", h("code", {}, "not backward and (flops >= 1e5 or name ~ w)"), ", ", h("code", {}, "status != same"), "."),
      h("form", { method: "dialog" }, h("button", { class: "action" }, "Close")),
    );
    dialog.showModal();
    dialog.scrollTop = 0; // the button that has the focus is the last of it
  }
}

export function compare(app: App): void {
  const { base, record, pass } = app.settings;
  void app.set({ base: base.includes(".") ? "previous" : `${record}.${pass}` });
}

async function toggleSelected(app: App): Promise<void> {
  const shown = app.selected;
  const item = app.box ?? (shown ? (app.tree.items.get(app.tree.place(shown.node)) ?? null) : null);
  if (item) await app.toggle(item);
}

/** Chooses the box that holds what is chosen. */
function outward(app: App): void {
  const shown = app.selected;
  const item = app.box ?? (shown ? app.tree.items.get(app.tree.place(shown.node)) : undefined);
  const outer = item?.parent;
  if (!outer || outer === app.tree.root) return;
  if (outer.node && app.picture.has(outer.node.uid)) void app.select(outer.node.uid);
  else void app.set({ box: outer.id, node: null });
}

async function neighbour(app: App, which: "operands" | "users"): Promise<void> {
  const { node } = app.settings;
  if (node === null) return app.next(1);
  const next = app.links[which].get(node)?.[0];
  if (next !== undefined) await app.select(next);
}

async function escape(app: App): Promise<void> {
  const { settings } = app;
  if (settings.path !== null || settings.cone) return app.set({ path: null, cone: "" });
  if (settings.node !== null || settings.box !== null) return app.select(null);
  if (settings.rewrite !== null) return app.set({ rewrite: null });
  if (settings.q) return app.set({ q: "" });
  return app.set({ drawer: "", base: "previous" });
}
