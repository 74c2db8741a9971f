// Board: the canvas that shows the scene, and what the pointer does on it.

import type { App } from "./app";
import { visible } from "./dom";
import { CanvasPaper } from "./paper";
import { drawScene, type Look } from "./pencil";
import type { Scene, Sprite } from "./scene";

export class Board {
  readonly counters = { paints: 0, items: 0, lines: 0 };
  private hovered: Sprite | null = null;
  private asked = false;
  private bright: Set<Sprite> | null = null;
  private brightOf: Set<string> | null = null;
  private brightIn: Scene | null = null;
  private paper: CanvasPaper;
  private context: CanvasRenderingContext2D;

  constructor(
    private app: App,
    private canvas: HTMLCanvasElement,
    private hint: HTMLElement,
  ) {
    this.context = canvas.getContext("2d", { alpha: false })!;
    this.paper = new CanvasPaper(this.context);
    app.onDraw(() => this.ask());
    new ResizeObserver(() => this.ask()).observe(canvas);
    app.camera.listen(
      (px, py, twice) => this.click(px, py, twice),
      (px, py) => this.hover(px, py),
    );
    canvas.addEventListener("pointerleave", () => this.hover(-1e9, -1e9));
  }

  /** What is drawn at a point of the canvas: the innermost. */
  at(px: number, py: number): Sprite | null {
    const [x, y] = this.app.camera.point(px, py);
    const near = this.app.scene?.grid.within(x, y, x, y) ?? [];
    const inside = near.filter((s) => x >= s.x && x <= s.x + s.w && y >= s.y && y <= s.y + s.h);
    return inside.at(-1) ?? null;
  }

  look(): Look {
    const { app } = this;
    const uids = app.bright;
    if (uids !== this.brightOf || app.scene !== this.brightIn) {
      const sprites = app.scene?.sprites ?? [];
      this.bright = uids && new Set(sprites.filter((s) => !s.open && s.uids.some((uid) => uids.has(uid))));
      [this.brightOf, this.brightIn] = [uids, app.scene];
    }
    const { bright } = this;
    const marks = new Map<Sprite, string>();
    const { rewrite } = app.settings;
    const done = rewrite ? app.rewrites[rewrite - 1] : undefined;
    if (done) {
      const mark = (id: string | null, colour: string) => {
        const sprite = id && app.spriteOf(app.trace.uidOf(id));
        if (sprite) marks.set(sprite, colour);
      };
      mark(done.before, app.theme.removed);
      mark(done.after, app.theme.added);
    }
    return { theme: app.theme, scheme: app.scheme, selected: this.selected, hovered: this.hovered, bright, marks };
  }

  private get selected(): Sprite | null {
    const { app } = this;
    if (app.settings.node !== null) return app.spriteOf(app.settings.node);
    const box = app.box;
    return (box && app.scene?.sprites.find((sprite) => sprite.item === box)) ?? null;
  }

  private ask(): void {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.paint();
    });
  }

  private paint(): void {
    const { app, canvas, context } = this;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const { x, y, scale } = app.camera;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalAlpha = 1;
    context.fillStyle = app.theme.ground;
    context.fillRect(0, 0, width, height);
    context.setTransform(ratio * scale, 0, 0, ratio * scale, -x * scale * ratio, -y * scale * ratio);
    if (app.scene) {
      const drawn = drawScene(this.paper, app.scene, this.look(), app.camera.extent);
      Object.assign(this.counters, drawn);
      this.counters.paints++;
    }
  }

  private click(px: number, py: number, twice: boolean): void {
    const { app } = this;
    const sprite = this.at(px, py);
    this.canvas.focus();
    if (!sprite) {
      if (app.settings.node !== null || app.settings.box !== null) void app.select(null);
      return;
    }
    const { item } = sprite;
    const [x, y] = app.camera.point(px, py);
    const caret = item.children.length > 0 && x - sprite.x < 26 && y - sprite.y < 46;
    if (item.children.length && (twice || caret)) void app.toggle(item);
    else if (sprite.shown) void app.select(sprite.shown.node.uid, false);
    else void app.set({ box: item.id, node: null });
  }

  private hover(px: number, py: number): void {
    const sprite = this.at(px, py);
    if (sprite === this.hovered) return;
    this.hovered = sprite;
    this.canvas.style.cursor = sprite ? "pointer" : "grab";
    const node = sprite?.shown?.node;
    this.hint.hidden = !sprite || sprite.open;
    if (sprite) {
      const place = node?.line ? `${node.file}:${node.line}  ${node.source ?? ""}` : sprite.item.note;
      this.hint.textContent = visible([sprite.item.label, node ? `${node.op} : ${node.type}` : `${sprite.item.count} nodes`, place].filter(Boolean).join("\n"));
      const { offsetLeft, offsetTop, clientWidth } = this.canvas;
      this.hint.style.left = `${offsetLeft + Math.max(8, Math.min(px + 14, clientWidth - 380))}px`;
      this.hint.style.top = `${offsetTop + py + 18}px`;
    }
    this.ask();
  }
}
