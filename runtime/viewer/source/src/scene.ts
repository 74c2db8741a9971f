// Scene: what one picture draws: the seen items with what they stand for, the edges between them, and an index of both.

import { edgesOf, pairKey, type Arrangement, type Rect } from "./arrangement";
import type { Picture, Shown, Status } from "./difference";
import type { Item, Tree } from "./lens";
import { Grid } from "./grid";
import type { Node } from "./record";
import { CONSTANTS } from "./scopes";

export interface Sprite extends Rect {
  shown: Shown | null; // of a node
  status: Status;
  tally: Record<Status, number>; // of what is inside
  nodes: Node[];
  uids: string[]; // the nodes that it stands for, where it is not open
}

export interface Line {
  from: Sprite;
  to: Sprite;
  status: Status;
  count: number;
  faint: boolean; // from a constant
  points: number[]; // a polyline through which a curve is drawn; from the bottom of one to the top of the other
}

export interface Scene {
  arrangement: Arrangement;
  sprites: Sprite[];
  of: Map<string, Sprite>; // by uid: what is seen of a node
  lines: Line[];
  grid: Grid<Sprite>;
  lineGrid: Grid<Line>;
}

export function sceneOf(arrangement: Arrangement, picture: Picture): Scene {
  const { tree, shows, rects, routes } = arrangement;
  const sprites = new Map<Item, Sprite>();
  const of = new Map<string, Sprite>();
  const spriteOf = (item: Item): Sprite | null => {
    const rect = rects.get(item);
    if (!rect) return null;
    let sprite = sprites.get(item);
    if (!sprite) {
      const tally = { same: 0, added: 0, removed: 0, changed: 0 };
      sprite = { ...rect, shown: null, status: "same", tally, uids: [], nodes: [] };
      sprites.set(item, sprite);
    }
    return sprite;
  };
  const ghosts = ghostsOf(picture, tree);
  for (const shown of [...picture.values(), ...ghosts]) {
    const item = tree.items.get(tree.place(shown.node));
    const seen = item && shows.get(item);
    if (!item || !seen) continue;
    for (let outer: Item | null = seen; outer && outer !== tree.root; outer = outer.parent) {
      const sprite = spriteOf(outer);
      if (sprite && !(outer === seen && item === seen)) sprite.tally[shown.status]++;
    }
    const sprite = spriteOf(seen);
    if (!sprite) continue;
    if (seen === item) sprite.shown = shown;
    if (shown.status !== "removed") sprite.nodes.push(shown.node);
    if (picture.get(shown.node.uid) !== shown) continue;
    sprite.uids.push(shown.node.uid);
    of.set(shown.node.uid, sprite);
  }
  for (const sprite of sprites.values()) sprite.status = statusOf(sprite);
  const lines = new Map<string, Line>();
  const draw = (part: Iterable<Shown>, old: boolean) => {
    const nodes = [...part].map((shown) => (old ? shown.before! : shown.node));
    for (const [a, b] of edgesOf(tree, nodes)) {
      const seenA = shows.get(a);
      const seenB = shows.get(b);
      if (!seenA || !seenB || seenA === seenB || holds(seenB, seenA)) continue;
      const from = sprites.get(seenA);
      const to = sprites.get(seenB);
      if (!from || !to || (to.open && to.item.node?.op === "fused")) continue;
      const key = pairKey(seenA, seenB);
      const known = lines.get(key);
      if (known) {
        known.count++;
        if (!old) known.status = known.status === "removed" ? "same" : known.status;
        continue;
      }
      const status = old ? "removed" : from.status === "added" || to.status === "added" ? "added" : "same";
      const faint = from.item.node?.op === "constant" || from.item.label === CONSTANTS;
      lines.set(key, { from, to, status, count: 1, faint, points: pathOf(from, to, routes.get(key)) });
    }
  };
  draw([...picture.values()].filter((shown) => shown.status !== "removed"), false);
  draw([...picture.values(), ...ghosts].filter((shown) => shown.status === "removed"), true);
  const all = [...sprites.values()].sort((a, b) => a.depth - b.depth);
  const grid = new Grid<Sprite>();
  for (const sprite of all) grid.add(sprite, sprite.x, sprite.y, sprite.x + sprite.w, sprite.y + sprite.h);
  const lineGrid = new Grid<Line>();
  for (const line of lines.values()) lineGrid.add(line, ...bounds(line.points));
  return { arrangement, sprites: all, of, lines: [...lines.values()], grid, lineGrid };
}

/** Left, top, right and bottom of what is drawn; null where that is nothing. */
export function extentOf(sprites: readonly Sprite[]): [number, number, number, number] | null {
  if (!sprites.length) return null;
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { x, y, w, h } of sprites) {
    [left, top] = [Math.min(left, x), Math.min(top, y)];
    [right, bottom] = [Math.max(right, x + w), Math.max(bottom, y + h)];
  }
  return [left, top, right, bottom];
}

/** What went on in another box, such as a group that it was fused into: it is gone from where it was. */
function ghostsOf(picture: Picture, tree: Tree): Shown[] {
  const ghosts: Shown[] = [];
  for (const { node, before, status } of picture.values()) {
    if (!before || status === "removed" || tree.place(before) === tree.place(node)) continue;
    ghosts.push({ node: before, before, status: "removed" });
  }
  return ghosts;
}

function holds(outer: Item, inner: Item): boolean {
  for (let item: Item | null = inner; item; item = item.parent) if (item === outer) return true;
  return false;
}

function statusOf({ shown, tally, open }: Sprite): Status {
  if (shown && (open || shown.status !== "same")) return shown.status;
  const { same, added, removed, changed } = tally;
  if (added + removed + changed === 0) return "same";
  if (!same && !removed && !changed) return "added";
  if (!same && !added && !changed) return "removed";
  return "changed";
}

function pathOf(from: Sprite, to: Sprite, route: number[] | undefined): number[] {
  if (route && route.length >= 4) return route;
  const x0 = from.x + from.w / 2;
  const x1 = to.x + to.w / 2;
  if (from.y + from.h <= to.y) return [x0, from.y + from.h, x1, to.y];
  if (to.y + to.h <= from.y) return [x0, from.y, x1, to.y + to.h];
  return from.x < to.x
    ? [from.x + from.w, from.y + from.h / 2, to.x, to.y + to.h / 2]
    : [from.x, from.y + from.h / 2, to.x + to.w, to.y + to.h / 2];
}

function bounds(points: number[]): [number, number, number, number] {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < points.length; i += 2) {
    left = Math.min(left, points[i]);
    right = Math.max(right, points[i]);
    top = Math.min(top, points[i + 1]);
    bottom = Math.max(bottom, points[i + 1]);
  }
  return [left, top, right, bottom];
}
