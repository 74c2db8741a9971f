// Camera: which part of the plane the canvas shows; moving and zooming it by pointer, wheel and key.

import type { Extent } from "./pencil";

const LEAST = 0.002;
const MOST = 4;
const LEGIBLE = 0.4; // the scale at which names can still be read

export class Camera {
  x = 0; // the point of the plane at the canvas's top left corner
  y = 0;
  scale = 1;

  constructor(
    private canvas: HTMLCanvasElement,
    private moved: () => void,
  ) {}

  get extent(): Extent {
    const { clientWidth, clientHeight } = this.canvas;
    return {
      left: this.x,
      top: this.y,
      right: this.x + clientWidth / this.scale,
      bottom: this.y + clientHeight / this.scale,
      scale: this.scale,
    };
  }

  /** The point of the plane under a point of the canvas. */
  point(px: number, py: number): [number, number] {
    return [this.x + px / this.scale, this.y + py / this.scale];
  }

  pan(dx: number, dy: number): void {
    this.x -= dx / this.scale;
    this.y -= dy / this.scale;
    this.moved();
  }

  zoom(factor: number, px = this.canvas.clientWidth / 2, py = this.canvas.clientHeight / 2): void {
    const [x, y] = this.point(px, py);
    this.scale = Math.min(MOST, Math.max(LEAST, this.scale * factor));
    this.x = x - px / this.scale;
    this.y = y - py / this.scale;
    this.moved();
  }

  /** Shows a rectangle as large as it fits, but never larger than life. */
  fit(left: number, top: number, right: number, bottom: number): void {
    const { clientWidth, clientHeight } = this.canvas;
    const [w, h] = [Math.max(1, right - left), Math.max(1, bottom - top)];
    const room = 32;
    this.scale = Math.min(1.1, Math.max(LEAST, Math.min((clientWidth - 2 * room) / w, (clientHeight - 2 * room) / h)));
    this.x = (left + right) / 2 - clientWidth / 2 / this.scale;
    this.y = (top + bottom) / 2 - clientHeight / 2 / this.scale;
    this.moved();
  }

  /** Shows everything where that is legible, else the upper part around `middle`. */
  begin(left: number, top: number, right: number, bottom: number, middle: number): void {
    this.fit(left, top, right, bottom);
    if (this.scale >= LEGIBLE) return;
    const { clientWidth } = this.canvas;
    this.scale = Math.min(1, Math.max(LEGIBLE, (clientWidth - 64) / Math.max(1, right - left)));
    const [wide, edge] = [clientWidth / this.scale, 32 / this.scale];
    const widest = right - left + 2 * edge;
    if (widest <= wide) this.x = (left + right - wide) / 2;
    else this.x = Math.min(Math.max(middle - wide / 2, left - edge), right + edge - wide);
    this.y = top - 40 / this.scale;
    this.moved();
  }

  /** Whether the legend, or another thing that lies on the picture, hides a part of a rectangle. */
  private covered(x: number, y: number, w: number, h: number): boolean {
    const { left, top } = this.canvas.getBoundingClientRect();
    const [from, to] = [left + (x - this.x) * this.scale, top + (y - this.y) * this.scale];
    return [...this.canvas.parentElement!.querySelectorAll(".legend, .zoom, .mode")].some((element) => {
      const other = element.getBoundingClientRect(); // without an area where it is hidden
      return from < other.right && from + w * this.scale > other.left && to < other.bottom && to + h * this.scale > other.top;
    });
  }

  /** Brings a rectangle into view, if it is not there yet. */
  reveal(x: number, y: number, w: number, h: number): void {
    const { left, top, right, bottom } = this.extent;
    if (this.scale < 0.38) this.scale = 0.8;
    else if (x >= left && y >= top && x + w <= right && y + h <= bottom && !this.covered(x, y, w, h)) return;
    const { clientWidth, clientHeight } = this.canvas;
    this.x = x + w / 2 - clientWidth / 2 / this.scale;
    this.y = y + Math.min(h, clientHeight / 2 / this.scale) / 2 - clientHeight / 2 / this.scale;
    this.moved();
  }

  /** Listens to pointer and wheel; `clicked` and `hovered` get points of the canvas. */
  listen(clicked: (px: number, py: number, twice: boolean) => void, hovered: (px: number, py: number) => void): void {
    const pointers = new Map<number, [number, number]>();
    let travelled = 0;
    let spread = 0;
    const at = (event: PointerEvent | WheelEvent | MouseEvent): [number, number] => {
      const { left, top } = this.canvas.getBoundingClientRect();
      return [event.clientX - left, event.clientY - top];
    };
    const distance = () => {
      const [a, b] = [...pointers.values()];
      return Math.hypot(a[0] - b[0], a[1] - b[1]);
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      pointers.set(event.pointerId, at(event));
      this.canvas.setPointerCapture(event.pointerId);
      if (pointers.size === 1) travelled = 0;
      if (pointers.size === 2) spread = distance();
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const here = at(event);
      const before = pointers.get(event.pointerId);
      if (!before) return hovered(...here);
      pointers.set(event.pointerId, here);
      const [dx, dy] = [here[0] - before[0], here[1] - before[1]];
      travelled += Math.abs(dx) + Math.abs(dy);
      if (pointers.size === 2) {
        const now = distance();
        if (spread > 0) this.zoom(now / spread, ...here);
        spread = now;
      } else if (travelled > 4) this.pan(dx, dy);
    });
    const up = (event: PointerEvent) => {
      const known = pointers.delete(event.pointerId);
      if (known && event.type === "pointerup" && travelled <= 4) clicked(...at(event), event.detail > 1);
    };
    this.canvas.addEventListener("pointerup", up);
    this.canvas.addEventListener("pointercancel", up);
    this.canvas.addEventListener("dblclick", (event) => clicked(...at(event), true));
    this.canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        if (event.ctrlKey || event.metaKey || event.deltaMode || Math.abs(event.deltaY) >= 50) this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0018)), ...at(event));
        else this.pan(-event.deltaX, -event.deltaY);
      },
      { passive: false },
    );
  }
}
