// The page: reads the records it holds, and puts its parts together.

import { App } from "./app";
import { makeBar } from "./bar";
import { Board } from "./board";
import { byId, fill, h } from "./dom";
import { svgText } from "./exporting";
import { Keys } from "./keys";
import { showLegend } from "./legend";
import { memoryDrawer } from "./memory";
import { nodePanel } from "./nodepanel";
import { boxPanel, passPanel } from "./passpanel";
import { embedded } from "./record";
import { scheduleDrawer } from "./schedule";
import { Slider } from "./slider";
import { showTable } from "./table";

function start(): void {
  const traces = embedded().filter((trace) => trace.stages.length);
  if (!traces.length) {
    fill(byId("panel"), h("p", {}, "This page holds no record."));
    return;
  }
  const canvas = byId<HTMLCanvasElement>("canvas");
  const app = new App(traces, canvas);
  const board = new Board(app, canvas, byId("hint"));
  const slider = new Slider(app);
  const keys = new Keys(app, board, slider);
  makeBar(app, board, keys);
  let paneled: unknown[] = [];
  app.onChange(() => {
    const { settings } = app;
    document.title = `${app.trace.stages[settings.pass].name} \u00b7 graphc`;
    const panel = byId("panel");
    const shown = app.selected;
    const box = app.box;
    const now = [settings.record, settings.pass, settings.rewrite, settings.base, settings.lens, shown, box, box && app.open.has(box.id), settings.q];
    if (now.some((value, i) => value !== paneled[i])) {
      const moved = paneled[5] !== shown || paneled[6] !== box;
      paneled = now;
      fill(panel, shown ? nodePanel(app, shown) : box ? boxPanel(app, box) : missing().concat(passPanel(app)));
      if (moved) panel.scrollTop = 0;
    }
    showLegend(app);
    document.body.classList.toggle("has-drawer", settings.drawer !== "");
    const drawer = byId("drawer");
    drawer.hidden = settings.drawer === "";
    if (settings.drawer) fill(byId("drawer-title"), settings.drawer === "memory" ? "Memory plan" : "Schedule");
    if (settings.drawer) fill(byId("drawer-inside"), settings.drawer === "memory" ? memoryDrawer(app) : scheduleDrawer(app));
    const table = byId("table");
    table.hidden = settings.view !== "table";
    canvas.hidden = settings.view === "table";
    if (settings.view === "table") showTable(app, table);
    const { node, cone, path } = settings;
    const stage = app.trace.stages[settings.pass];
    const mode = path !== null ? (path === node ? "path: choose its end" : `path of ${app.bright?.size ?? 0} nodes`) : cone && app.bright ? `${cone === "both" ? "fan-in and fan-out" : `fan-${cone}`}: ${app.bright.size} nodes` : "";
    byId("mode").textContent = mode;
    byId("mode").hidden = !mode;
    byId("spoken").textContent = `Pass ${settings.pass}, ${stage.name}. ${shown ? `${shown.node.op} ${shown.node.type}, ${shown.status}.` : ""} ${mode}`;
  });
  /** What a link speaks of may not be there after this pass. */
  const missing = (): HTMLElement[] =>
    app.settings.node !== null ? [h("p", { class: "muted" }, `${app.settings.node} is not there after this pass.`)] : [];
  const begin = performance.now();
  void app.set({}, false).then(async () => {
    if (app.settings.node !== null && app.selected) await app.select(app.settings.node);
    requestAnimationFrame(() => {
      document.body.dataset.ready = "true";
      Object.assign(page, { painted: performance.now(), laid: performance.now() - begin });
    });
  });
  const page = { app, board, slider, svg: () => svgText(app, board), painted: 0, laid: 0 };
  Object.assign(globalThis, { viewer: page });
}

start();
