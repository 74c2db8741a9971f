// Paper: the two things that a pencil draws on.

import { visible } from "./dom";
import type { Paper } from "./pencil";

const FONT = 'system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif';

/** The points of a curve through `points`: each pair is joined by a cubic that leaves and arrives upright. */
function cubics(points: number[]): number[][] {
  if (points.length === 4) {
    const [x0, y0, x1, y1] = points;
    const bend = Math.max(12, Math.min(80, Math.abs(y1 - y0) / 2));
    const way = y1 >= y0 ? bend : -bend;
    return [[x0, y0 + way, x1, y1 - way, x1, y1]];
  }
  const result: number[][] = [];
  for (let i = 2; i < points.length; i += 2) {
    const [x0, y0, x1, y1] = points.slice(i - 2, i + 2);
    const middle = (y0 + y1) / 2;
    result.push([x0, middle, x1, middle, x1, y1]);
  }
  return result;
}

function arrowHead(points: number[], size: number): number[] {
  const [x, y] = points.slice(-2);
  const before = points[points.length - 3];
  const way = y >= before ? -1 : 1;
  return [x, y, x - size * 0.55, y + way * size, x + size * 0.55, y + way * size];
}

export class CanvasPaper implements Paper {
  private widths = new Map<string, string>();

  constructor(private context: CanvasRenderingContext2D) {}

  alpha(value: number): void {
    this.context.globalAlpha = value;
  }

  rect(x: number, y: number, w: number, h: number, r: number, fill: string | null, stroke: string | null, width: number, dash = false): void {
    const c = this.context;
    if (r === 0 && !stroke && fill) {
      c.fillStyle = fill;
      c.fillRect(x, y, w, h);
      return;
    }
    c.beginPath();
    c.roundRect(x, y, w, h, r);
    if (fill) {
      c.fillStyle = fill;
      c.fill();
    }
    if (!stroke) return;
    c.strokeStyle = stroke;
    c.lineWidth = width;
    c.setLineDash(dash ? [5, 4] : []);
    c.stroke();
  }

  curve(points: number[], stroke: string, width: number, dash: boolean, arrow: boolean): void {
    const c = this.context;
    c.strokeStyle = stroke;
    c.lineWidth = width;
    c.setLineDash(dash ? [5, 4] : []);
    c.beginPath();
    c.moveTo(points[0], points[1]);
    for (const [a, b, d, e, x, y] of cubics(points)) c.bezierCurveTo(a, b, d, e, x, y);
    c.stroke();
    if (!arrow) return;
    const [x, y, x1, y1, x2, y2] = arrowHead(points, 6);
    c.fillStyle = stroke;
    c.beginPath();
    c.moveTo(x, y);
    c.lineTo(x1, y1);
    c.lineTo(x2, y2);
    c.fill();
  }

  text(text: string, x: number, y: number, size: number, fill: string, weight: number, room: number): void {
    const c = this.context;
    c.font = `${weight} ${size}px ${FONT}`;
    c.fillStyle = fill;
    c.fillText(this.fitted(onOneLine(text), c.font, room), x, y);
  }

  private fitted(text: string, font: string, room: number): string {
    const key = `${font}|${Math.round(room)}|${text}`;
    let result = this.widths.get(key);
    if (result === undefined) {
      result = shorten(text, room, (part) => this.context.measureText(part).width);
      if (this.widths.size > 40000) this.widths.clear();
      this.widths.set(key, result);
    }
    return result;
  }
}

export class SvgPaper implements Paper {
  private parts: string[] = [];
  private opacity = 1;

  alpha(value: number): void {
    this.opacity = value;
  }

  private get faint(): string {
    return this.opacity < 1 ? ` opacity="${this.opacity}"` : "";
  }

  rect(x: number, y: number, w: number, h: number, r: number, fill: string | null, stroke: string | null, width: number, dash = false): void {
    const edge = stroke ? ` stroke="${stroke}" stroke-width="${width}"${dash ? ' stroke-dasharray="5 4"' : ""}` : "";
    this.parts.push(`<rect x="${n(x)}" y="${n(y)}" width="${n(w)}" height="${n(h)}" rx="${r}" fill="${fill ?? "none"}"${edge}${this.faint}/>`);
  }

  curve(points: number[], stroke: string, width: number, dash: boolean, arrow: boolean): void {
    const path = cubics(points).map((cubic) => `C${cubic.map(n).join(" ")}`).join("");
    const dashes = dash ? ' stroke-dasharray="5 4"' : "";
    this.parts.push(
      `<path d="M${n(points[0])} ${n(points[1])}${path}" fill="none" stroke="${stroke}" stroke-width="${n(width)}"${dashes}${this.faint}/>`,
    );
    if (arrow) this.parts.push(`<polygon points="${arrowHead(points, 6).map(n).join(" ")}" fill="${stroke}"${this.faint}/>`);
  }

  text(text: string, x: number, y: number, size: number, fill: string, weight: number, room: number): void {
    const short = shorten(onOneLine(text), room, (part) => part.length * size * 0.56);
    this.parts.push(
      `<text x="${n(x)}" y="${n(y)}" font-size="${size}" font-weight="${weight}" fill="${fill}"${this.faint}>${escaped(short)}</text>`,
    );
  }

  document(left: number, top: number, width: number, height: number, ground: string): string {
    const font = escaped(FONT);
    return (
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="${n(left)} ${n(top)} ${n(width)} ${n(height)}" width="${n(width)}" height="${n(height)}" font-family="${font}">` +
      `<rect x="${n(left)}" y="${n(top)}" width="${n(width)}" height="${n(height)}" fill="${ground}"/>${this.parts.join("")}</svg>`
    );
  }
}

function n(value: number): string {
  return String(Math.round(value * 10) / 10);
}

export function escaped(text: string): string {
  const signs: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, "\ufffd").replace(/[&<>"']/g, (sign) => signs[sign]);
}

function onOneLine(text: string): string {
  return visible(text.slice(0, 400).replace(/[\t\r\n]/g, " "));
}

function shorten(text: string, room: number, width: (text: string) => number): string {
  if (width(text) <= room) return text;
  const letters = [...text];
  let [low, high] = [0, letters.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (width(`${letters.slice(0, middle).join("")}\u2026`) <= room) low = middle;
    else high = middle - 1;
  }
  return low ? `${letters.slice(0, low).join("")}\u2026` : "";
}
