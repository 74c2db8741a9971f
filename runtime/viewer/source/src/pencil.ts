// Pencil: draws a scene. The same strokes go to the canvas of the page, to a PNG, and to an SVG.

import type { Scheme } from "./colour";
import { isDark, mix } from "./colour";
import type { Status } from "./difference";
import type { Line, Scene, Sprite } from "./scene";
import type { Theme } from "./theme";

/** What can be drawn on: a canvas, or a text of SVG. */
export interface Paper {
  rect(x: number, y: number, w: number, h: number, r: number, fill: string | null, stroke: string | null, width: number, dash?: boolean): void;
  curve(points: number[], stroke: string, width: number, dash: boolean, arrow: boolean): void;
  text(text: string, x: number, y: number, size: number, fill: string, weight: number, room: number): void;
  alpha(value: number): void;
}

export interface Look {
  theme: Theme;
  scheme: Scheme;
  selected: Sprite | null;
  hovered: Sprite | null;
  bright: ReadonlySet<Sprite> | null; // where some are meant, the others are dimmed
  marks: ReadonlyMap<Sprite, string>; // outlines of what a rewrite touched
}

export interface Extent {
  left: number;
  top: number;
  right: number;
  bottom: number;
  scale: number;
}

const LINES = 0.03; // the scale below which lines would be no more than grey
const MOST_LINES = 12_000;

export const SIGNS: Record<Status, string> = { same: "", added: "+", removed: "\u2212", changed: "~" };

/** Draws what of `scene` lies within `extent`; gives how many items and lines that were. */
export function drawScene(paper: Paper, scene: Scene, look: Look, extent: Extent): { items: number; lines: number } {
  const { left, top, right, bottom, scale } = extent;
  const sprites = scene.grid.within(left, top, right, bottom).filter((s) => s.x <= right && s.y <= bottom && s.x + s.w >= left && s.y + s.h >= top);
  const lines = scale > LINES ? scene.lineGrid.within(left, top, right, bottom) : [];
  for (const sprite of sprites) if (sprite.open) drawBox(paper, sprite, look, scale);
  if (lines.length < MOST_LINES) for (const line of lines) drawLine(paper, line, look, scale);
  for (const sprite of sprites) if (!sprite.open) drawCard(paper, sprite, look, scale);
  return { items: sprites.length, lines: lines.length };
}

function isBright(sprite: Sprite, look: Look): boolean {
  return !look.bright || look.bright.has(sprite) || sprite === look.selected;
}

function outline(sprite: Sprite, look: Look): [string, number] | null {
  if (sprite === look.selected) return [look.theme.accent, 3];
  const mark = look.marks.get(sprite);
  if (mark) return [mark, 3];
  if (look.bright?.has(sprite)) return [look.theme.found, 2.5];
  return sprite === look.hovered ? [look.theme.accent, 1.5] : null;
}

function drawBox(paper: Paper, sprite: Sprite, look: Look, scale: number): void {
  const { theme } = look;
  const { x, y, w, h, item } = sprite;
  const tinted = item.kind === "group" || item.kind === "region";
  const ground = theme.box[Math.min(sprite.depth - 1, theme.box.length - 1)];
  const { status } = sprite;
  const edge = sprite.shown && status !== "same" ? theme[status] : tinted ? theme.muted : theme.boxLine;
  const ring = outline(sprite, look);
  paper.rect(x, y, w, h, 10, ground, ring?.[0] ?? edge, ring?.[1] ?? 1.2);
  if (scale < 0.28) return;
  paper.text(`\u25be ${item.label}`, x + 12, y + 21, 13, theme.text, 600, w - 24);
  const used = 12 + 14 + item.label.length * 7.6;
  if (item.note && w - used > 60) paper.text(item.note, x + used + 8, y + 21, 11, theme.muted, 400, w - used - 20);
}

function drawCard(paper: Paper, sprite: Sprite, look: Look, scale: number): void {
  const { theme, scheme } = look;
  const { x, y, w, h, item, status } = sprite;
  const colour = sprite.shown ? scheme.of(sprite.shown.node) : item.node ? scheme.of(item.node) : scheme.ofAll(sprite.nodes);
  const folded = item.children.length > 0;
  const strong = colour !== null && /^Colour: (flops|bytes|measured)/.test(scheme.legend.title);
  let fill = strong ? colour : colour ? mix(colour, theme.card, 0.16) : theme.card;
  if (status !== "same" && !strong) fill = mix(theme[status], theme.card, 0.2);
  const ring = outline(sprite, look);
  const edge = status !== "same" ? theme[status] : colour && !strong ? mix(colour, theme.card, 0.55) : theme.boxLine;
  paper.alpha(isBright(sprite, look) ? 1 : 0.22);
  if (scale < 0.1) {
    paper.rect(x, y, w, h, 0, status !== "same" ? theme[status] : (colour ?? theme.muted), null, 0);
    paper.alpha(1);
    return;
  }
  if (folded) {
    const behind = item.kind === "cells" ? 2 : 1;
    for (let i = behind; i > 0; i--) paper.rect(x + 4 * i, y + 4 * i, w, h, 7, theme.card, edge, 1);
  }
  paper.rect(x, y, w, h, 7, fill, ring?.[0] ?? edge, ring?.[1] ?? (status !== "same" ? 1.8 : 1), status === "removed");
  if (colour && !strong) paper.rect(x + 5, y + 7, 3, h - 14, 1.5, colour, null, 0);
  if (scale > 0.26) {
    const ink = strong ? (isDark(fill) ? "#ffffff" : "#1c2024") : theme.text;
    const faint = strong ? ink : theme.muted;
    const sign = status !== "same" ? 16 : 0;
    const title = folded ? `\u25b8 ${item.label}` : item.label;
    const room = w - 22 - sign;
    if (scale > 0.6) {
      paper.text(title, x + 14, y + (h > 42 ? 20 : 17), 12.5, ink, 600, room);
      const note = folded ? noteOf(sprite) : (sprite.shown?.node.type ?? item.note);
      paper.text(note, x + 14, y + (h > 42 ? 36 : 32), 10.5, faint, 400, w - 22);
    } else {
      const size = Math.min(10.5 / scale, 18, Math.max(11, room / (title.length * 0.7)));
      paper.text(title, x + 14, y + h / 2 + size * 0.36, size, ink, 600, room);
    }
    if (status !== "same") paper.text(SIGNS[status], x + w - 15, y + 16, 14, strong ? ink : theme[status], 700, 14);
  }
  paper.alpha(1);
}

function noteOf({ item, tally, shown }: Sprite): string {
  const inside = tally.same + tally.added + tally.changed;
  const changes = (["added", "removed", "changed"] as const).filter((s) => tally[s]).map((s) => `${SIGNS[s]}${tally[s]}`);
  const many = item.kind === "cells" ? item.note : `${inside} node${inside === 1 ? "" : "s"}`;
  return [shown && !inside && !tally.removed ? shown.node.type : many, ...changes].join("  ");
}

function drawLine(paper: Paper, line: Line, look: Look, scale: number): void {
  const { theme, selected, bright } = look;
  const near = selected !== null && (line.from === selected || line.to === selected);
  const dim = bright !== null && !(bright.has(line.from) && bright.has(line.to)) && !near;
  const colour = near ? theme.accent : line.status === "same" ? theme.line : theme[line.status];
  paper.alpha(dim ? 0.15 : near ? 1 : line.faint ? 0.35 : line.status !== "same" ? 1 : 0.8);
  const width = Math.min(4, (near ? 1.8 : 1) + Math.log2(line.count) * 0.35) / Math.max(scale, 0.35) ** 0.4;
  paper.curve(line.points, colour, width, line.status === "removed", scale > 0.25);
  paper.alpha(1);
}
