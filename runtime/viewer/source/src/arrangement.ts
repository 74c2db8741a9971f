// Arrangement: which items of a tree are seen, given the boxes that are open, and where they lie.

import type { Level } from "./layout";
import type { Layouts } from "./layouts";
import type { Item, Tree } from "./lens";
import type { Node } from "./record";
import { CONSTANTS } from "./scopes";

export interface Rect {
  item: Item;
  x: number;
  y: number;
  w: number;
  h: number;
  depth: number;
  open: boolean;
}

export interface Arrangement {
  tree: Tree;
  rects: Map<Item, Rect>; // of all items that are seen, outer ones first
  shows: Map<Item, Item>; // for every item: what is seen in its place
  routes: Map<string, number[]>;
  width: number;
  height: number;
}

export type Edge = [Item, Item];

const SIDE = 14;
const HEAD = 34;

/** How large an item is drawn when it is not open. */
export function sizeOf(item: Item): [number, number] {
  const letters = Math.max(item.label.length * 7.3, Math.min(item.note.length, 26) * 5.6);
  const extra = item.children.length ? 96 : 34;
  return [Math.round(Math.min(240, Math.max(86, letters + extra))), item.children.length ? 46 : 40];
}

/** The edges between the items of nodes, each once. */
export function edgesOf(tree: Tree, nodes: Iterable<Node>): Edge[] {
  const edges: Edge[] = [];
  for (const node of nodes) {
    const user = tree.items.get(tree.place(node));
    if (!user) continue;
    const outer = node.place.slice(0, node.place.lastIndexOf(">") + 1);
    for (const uid of node.operands) {
      const operand = tree.items.get(outer + uid) ?? tree.items.get(uid);
      if (operand && operand !== user) edges.push([operand, user]);
    }
  }
  return edges;
}

/**
 * Lays out what is seen. `present` are the items that count (and those around them); null is all of them.
 */
export async function arrange(
  tree: Tree,
  open: ReadonlySet<string>,
  present: ReadonlySet<Item> | null,
  edges: Edge[],
  layouts: Layouts,
): Promise<Arrangement> {
  const shows = new Map<Item, Item>();
  const depth = new Map<Item, number>([[tree.root, 0]]);
  const opened: Item[] = [];
  const inside = new Map<Item, Item[]>();
  const walk: Item[] = [tree.root];
  for (let i = 0; i < walk.length; i++) {
    const item = walk[i];
    opened.push(item);
    const children = (present ? item.children.filter((child) => present.has(child)) : item.children)
      .slice()
      .sort((a, b) => a.rank - b.rank || a.order - b.order);
    inside.set(item, children);
    for (const child of children) {
      depth.set(child, depth.get(item)! + 1);
      if (child.children.length && open.has(child.id)) walk.push(child);
      else stand(child, shows);
    }
    shows.set(item, item);
  }
  const between = new Map<Item, Map<string, [Item, Item]>>();
  for (const [from, to] of edges) {
    let a = shows.get(from);
    let b = shows.get(to);
    if (!a || !b || a === b) continue;
    if (b.node?.op === "fused" && open.has(b.id)) continue;
    while (depth.get(a)! > depth.get(b)!) a = a.parent!;
    while (depth.get(b)! > depth.get(a)!) b = b.parent!;
    if (a === b) continue;
    while (a.parent !== b.parent) {
      a = a.parent!;
      b = b.parent!;
    }
    const key = pairKey(a, b);
    const level = between.get(a.parent!) ?? new Map<string, [Item, Item]>();
    between.set(a.parent!, level.set(key, [a, b]));
  }
  const sizes = new Map<Item, [number, number]>();
  const laid = new Map<Item, { at: [number, number][]; routes: number[][]; pairs: [Item, Item][] }>();
  const deepest = Math.max(...opened.map((item) => depth.get(item)!));
  for (let level = deepest; level >= 0; level--) {
    await Promise.all(
      opened
        .filter((item) => depth.get(item) === level)
        .map(async (item) => {
          const children = inside.get(item)!;
          const number = new Map(children.map((child, i) => [child, i]));
          const pairs = [...(between.get(item)?.values() ?? [])];
          const request: Level = {
            id: item.id,
            sizes: children.map((child) => sizes.get(child) ?? sizeOf(child)),
            edges: pairs.map(([a, b]) => [number.get(a)!, number.get(b)!]),
          };
          const answer = await layouts.ask(request);
          const least = sizeOf(item)[0];
          sizes.set(item, [Math.max(answer.width + 2 * SIDE, least), answer.height + HEAD + SIDE]);
          laid.set(item, { at: answer.at, routes: answer.routes, pairs });
        }),
    );
  }
  const rects = new Map<Item, Rect>();
  const routes = new Map<string, number[]>();
  const corner = new Map<Item, [number, number]>([[tree.root, [0, 0]]]);
  for (const item of opened) {
    const [left, top] = corner.get(item)!;
    const { at, routes: found, pairs } = laid.get(item)!;
    inside.get(item)!.forEach((child, i) => {
      const [w, h] = sizes.get(child) ?? sizeOf(child);
      const rect = { item: child, x: left + at[i][0], y: top + at[i][1], w, h, depth: depth.get(child)!, open: sizes.has(child) };
      rects.set(child, rect);
      if (rect.open) corner.set(child, [rect.x + SIDE, rect.y + HEAD]);
    });
    pairs.forEach(([a, b], i) => {
      if (found[i].length) routes.set(pairKey(a, b), found[i].map((value, axis) => value + (axis % 2 ? top : left)));
    });
  }
  const [width, height] = sizes.get(tree.root)!;
  return { tree, rects, shows, routes, width: width - 2 * SIDE, height: height - HEAD - SIDE };
}

/** Everything in `item` is seen as `item`. */
function stand(item: Item, shows: Map<Item, Item>): void {
  const waiting = [item];
  while (waiting.length) {
    const next = waiting.pop()!;
    shows.set(next, item);
    for (const child of next.children) waiting.push(child);
  }
}

export function pairKey(a: Item, b: Item): string {
  return `${a.id}\u0000${b.id}`;
}

const READABLE = 60; // items

/** The boxes that are open at first: those of a level, where the picture stays readable with all of them. */
export function openAtFirst(tree: Tree): Set<string> {
  const open = new Set<string>();
  let seen = tree.root.children.length;
  for (let level = tree.root.children; level.length; ) {
    const boxes = level.filter(({ kind, label }) => (kind === "scope" || kind === "line") && label !== CONSTANTS);
    const inside = boxes.flatMap((item) => item.children);
    seen += inside.length;
    if (seen > READABLE) break;
    for (const item of boxes) open.add(item.id);
    level = inside;
  }
  return open;
}
