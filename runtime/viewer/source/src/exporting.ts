// Exporting: the picture as a file, SVG or PNG.

import type { App } from "./app";
import type { Board } from "./board";
import { CanvasPaper, SvgPaper } from "./paper";
import { drawScene, type Extent } from "./pencil";
import { extentOf } from "./scene";

const ROOM = 24;
const LARGEST = 8192; // pixels of a side of a PNG

function whole(app: App): Extent {
  const [left, top, right, bottom] = extentOf(app.scene?.sprites ?? []) ?? [0, 0, 100, 100];
  return { left: left - ROOM, top: top - ROOM, right: right + ROOM, bottom: bottom + ROOM, scale: 1 };
}

export function svgText(app: App, board: Board): string {
  const extent = whole(app);
  const paper = new SvgPaper();
  drawScene(paper, app.scene!, board.look(), extent);
  return paper.document(extent.left, extent.top, extent.right - extent.left, extent.bottom - extent.top, app.theme.ground);
}

export function saveSvg(app: App, board: Board): void {
  save(new Blob([svgText(app, board)], { type: "image/svg+xml" }), `${fileName(app)}.svg`);
}

export function savePng(app: App, board: Board): void {
  const extent = whole(app);
  const [width, height] = [extent.right - extent.left, extent.bottom - extent.top];
  const scale = Math.min(2, LARGEST / width, LARGEST / height);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.ceil(width * scale), Math.ceil(height * scale)];
  const context = canvas.getContext("2d")!;
  context.fillStyle = app.theme.ground;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.setTransform(scale, 0, 0, scale, -extent.left * scale, -extent.top * scale);
  drawScene(new CanvasPaper(context), app.scene!, board.look(), { ...extent, scale: Math.max(scale, 0.5) });
  canvas.toBlob((blob) => blob && save(blob, `${fileName(app)}.png`), "image/png");
}

function fileName(app: App): string {
  const stage = app.trace.stages[app.settings.pass];
  return `graphc-${app.settings.pass}-${stage.name.replace(/\W+/g, "_")}`;
}

function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
