// The memory plan as a timeline: the bytes that are alive while each step runs, and what lives at one of them.

import type { App } from "./app";
import { bar, facts, fill, h, some } from "./dom";
import { amount } from "./facts";
import { called } from "./schedule";
import { memoryOf, stepsOf, type Cell, type Memory } from "./schema";
import { titleOf } from "./lens";

type Peak = NonNullable<Memory["peak"]>;

const ARENA = 0.62; // of the height: where values lie in the arena; the curve of what is alive is above

export function memoryDrawer(app: App): HTMLElement {
  const memory = memoryOf(app.trace.data);
  if (!memory) return h("p", { class: "muted" }, "This record has no memory plan: it is of the passes alone.");
  const { peak } = memory;
  if (!peak) return h("p", { class: "muted" }, "There is no peak: the program has no steps.");
  const steps = stepsOf(app.trace.data);
  const canvas = h("canvas", { class: "chart", tabindex: 0, role: "img", "aria-label": "Bytes alive while each step runs" });
  const list = h("div", { class: "beside" });
  const at = app.settings.step ?? peak.step;
  const count = Math.max(1, memory.live.length);
  const show = (step: number) => void app.set({ step: Math.max(0, Math.min(count - 1, step)) });
  canvas.addEventListener("click", (event) => {
    const { left, width } = canvas.getBoundingClientRect();
    show(Math.floor(((event.clientX - left) / width) * count));
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    event.stopPropagation();
    show(at + (event.key === "ArrowLeft" ? -1 : 1));
  });
  const alive = memory.cells
    .map((cell, number) => ({ cell, number }))
    .filter(({ cell }) => cell.of === null && cell.first <= at && at <= cell.last)
    .sort((a, b) => b.cell.bytes - a.cell.bytes);
  const total = memory.live[at] ?? 0;
  const step = steps[at];
  fill(
    list,
    h("h2", {}, at === peak.step ? "At the peak" : `While step ${at} runs`, step ? `: ${called(app, step)}` : ""),
    facts([
      ["alive", amount(total, "B")],
      ["held all the time", amount(memory.held, "B")],
      ["arena", memory.arena_bytes ? amount(memory.arena_bytes, "B") : null],
      ["line", step?.at ?? null],
    ]),
    at !== peak.step && h("button", { class: "action", type: "button", onclick: () => show(peak.step) }, `Go to the peak (step ${peak.step}, ${amount(peak.bytes, "B")})`),
    h("table", { class: "alive" }, h("tbody", {}, some(alive, ({ cell }) => row(app, cell, total), 200))),
  );
  requestAnimationFrame(() => draw(app, canvas, memory, peak, at));
  new ResizeObserver(() => draw(app, canvas, memory, peak, at)).observe(canvas);
  return h("div", { class: "split" }, h("div", { class: "plot" }, canvas), list);
}

function row(app: App, cell: Cell, total: number): HTMLElement {
  const uid = cell.node === null ? null : app.trace.uidOf(cell.node);
  const node = uid === null ? null : app.trace.state(app.trace.last).get(uid);
  const go = async () => {
    await app.set({ pass: app.trace.last, rewrite: null });
    await app.select(uid);
  };
  const name = node ? titleOf(node) : cell.kind;
  return h(
    "tr",
    {},
    h("td", { class: "bytes" }, amount(cell.bytes, "B")),
    h("td", {}, bar(cell.bytes, total)),
    h("td", {}, uid ? h("button", { class: "link", type: "button", onclick: () => void go() }, name) : name, h("span", { class: "muted" }, ` ${cell.type}`)),
    h("td", { class: "muted" }, cell.kind),
    h("td", { class: "muted" }, node?.line ? `${node.file}:${node.line}` : ""),
  );
}

function draw(app: App, canvas: HTMLCanvasElement, memory: Memory, peak: Peak, at: number): void {
  const context = canvas.getContext("2d")!;
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width || !height) return;
  [canvas.width, canvas.height] = [width * ratio, height * ratio];
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const { theme } = app;
  const count = Math.max(1, memory.live.length);
  const wide = width / count;
  const arena = memory.cells.filter((cell) => cell.offset !== null && cell.of === null);
  const top = arena.length ? height * (1 - ARENA) - 10 : height - 4;
  const most = Math.max(1, peak.bytes);
  const y = (bytes: number) => 16 + (top - 16) * (1 - bytes / most);
  context.clearRect(0, 0, width, height);
  context.fillStyle = theme.accent;
  context.globalAlpha = 0.22;
  context.fillRect(0, y(memory.held), width, top - y(memory.held));
  context.globalAlpha = 0.6;
  memory.live.forEach((bytes, i) => context.fillRect(i * wide, y(bytes), Math.max(1, wide - (wide > 4 ? 1 : 0)), y(memory.held) - y(bytes)));
  context.globalAlpha = 1;
  context.fillStyle = theme.removed;
  context.fillRect(peak.step * wide, y(peak.bytes), Math.max(2, wide - 1), 3);
  context.font = "600 11px system-ui, sans-serif";
  const label = `peak ${amount(peak.bytes, "B")}`;
  const left = Math.min(peak.step * wide, width - context.measureText(label).width - 4);
  context.fillText(label, Math.max(2, left), 11);
  context.fillStyle = theme.muted;
  context.font = "11px system-ui, sans-serif";
  context.fillText(`held ${amount(memory.held, "B")}`, 4, Math.min(top - 4, y(memory.held) + 13));
  const from = top + 18;
  const scale = (height - from - 2) / Math.max(1, memory.arena_bytes, ...arena.map((cell) => cell.offset! + cell.bytes));
  if (arena.length) context.fillText("where values lie in the arena", 4, top + 12);
  const selected = app.settings.node;
  for (const cell of arena) {
    const node = cell.node === null ? null : app.trace.state(app.trace.last).get(app.trace.uidOf(cell.node));
    const [x, w] = [Math.max(0, cell.first) * wide, (cell.last - Math.max(0, cell.first) + 1) * wide];
    const [yy, hh] = [from + cell.offset! * scale, Math.max(1, cell.bytes * scale)];
    context.fillStyle = (node && app.scheme.of(node)) || theme.muted;
    context.globalAlpha = cell.first <= at && at <= cell.last ? 0.95 : 0.45;
    context.fillRect(x, yy, Math.max(1, w - 0.5), Math.max(1, hh - 0.5));
    if (node && node.uid === selected) {
      context.globalAlpha = 1;
      context.strokeStyle = theme.text;
      context.lineWidth = 2;
      context.strokeRect(x, yy, w, hh);
    }
  }
  context.globalAlpha = 1;
  context.strokeStyle = theme.text;
  context.lineWidth = 1;
  context.strokeRect(at * wide, 13, Math.max(1.5, wide), height - 14);
}
