// Cells: what is built again and again in the same way is folded into one box, "cell x50".

import { attach, box, type Item } from "./lens";

const LEAST = 3; // of the same: fewer are shown
const SHORTEST = 4; // nodes of a cell in a row of nodes

/** Puts the repeated children of `outer` in boxes of their own. */
export function fold(outer: Item, items: Map<string, Item>): void {
  if (outer.kind === "cells") return;
  foldBoxes(outer, items);
  foldRows(outer, items);
}

/** Boxes with the same inside: the same ops with the same types on the same operands. */
function foldBoxes(outer: Item, items: Map<string, Item>): void {
  const alike = new Map<string, Item[]>();
  for (const child of outer.children) {
    if (child.kind !== "scope" && child.kind !== "group") continue;
    const shape = shapeOf(leaves(child));
    const group = alike.get(shape);
    if (group) group.push(child);
    else alike.set(shape, [child]);
  }
  for (const group of alike.values()) {
    if (group.length < LEAST) continue;
    const label = group[0].label.replace(/[_\d]+$/, "") || group[0].label;
    gather(outer, group, `${label} \u00d7${group.length}`, items);
  }
}

/** Nodes side by side that repeat with a period, as unrolled loops do. */
function foldRows(outer: Item, items: Map<string, Item>): void {
  const row = outer.children.filter((child) => child.kind === "node" && child.node?.op !== "constant");
  if (row.length < LEAST * SHORTEST) return;
  row.sort((a, b) => a.order - b.order);
  const at = new Map(row.map((item, i) => [item.node!.uid, i]));
  const labels = row.map(({ node }, i) => {
    const from = node!.operands.map((uid) => {
      const j = at.get(uid);
      return j === undefined ? "-" : j < i && i - j < 400 ? "i" : "o";
    });
    return `${node!.op}|${node!.type}|${node!.file}:${node!.line}|${from.join("")}|${node!.backward}`;
  });
  const next = new Array<number>(row.length).fill(-1);
  const last = new Map<string, number>();
  for (let i = row.length - 1; i >= 0; i--) {
    next[i] = last.get(labels[i]) ?? -1;
    last.set(labels[i], i);
  }
  const found: [number, number, number][] = [];
  for (let i = 0; i < row.length; ) {
    let best: [number, number] | null = null;
    for (let j = next[i], tries = 0; j >= 0 && tries < 6; j = next[j], tries++) {
      const period = j - i;
      if (period < SHORTEST) continue;
      let end = i;
      while (end + period < row.length && labels[end] === labels[end + period]) end++;
      const repeats = Math.floor((end - i) / period) + 1;
      if (repeats >= LEAST && (!best || repeats * period > best[0] * best[1])) best = [period, repeats];
    }
    if (best) {
      found.push([i, best[0], best[1]]);
      i += best[0] * best[1];
    } else i++;
  }
  for (const [begin, period, repeats] of found) {
    const cells: Item[] = [];
    for (let n = 0; n < repeats; n++) {
      const inside = row.slice(begin + n * period, begin + (n + 1) * period);
      const cell = box(`${outer.id} cell ${inside[0].id}`, "scope", `cell ${n + 1}`, summary(inside));
      items.set(cell.id, cell);
      const gone = new Set(inside);
      for (const item of inside) attach(item, cell);
      cell.order = inside[0].order;
      cells.push(cell);
      if (n === 0) outer.children = outer.children.filter((child) => !gone.has(child));
    }
    const moved = new Set(cells.flatMap((cell) => cell.children));
    outer.children = outer.children.filter((child) => !moved.has(child));
    gather(outer, cells, `cell \u00d7${repeats}`, items);
  }
}

function gather(outer: Item, group: Item[], label: string, items: Map<string, Item>): void {
  const gone = new Set(group);
  outer.children = outer.children.filter((child) => !gone.has(child));
  const folded = box(`${outer.id} cells ${group[0].id}`, "cells", label, `${leaves(group[0]).length} nodes each`);
  items.set(folded.id, folded);
  for (const child of group) attach(child, folded);
  attach(folded, outer);
}

function summary(inside: Item[]): string {
  const ops = [...new Set(inside.map((item) => item.node!.op))];
  return ops.slice(0, 3).join(", ") + (ops.length > 3 ? "\u2026" : "");
}

export function leaves(item: Item): Item[] {
  const result: Item[] = [];
  const waiting = [item];
  while (waiting.length) {
    const next = waiting.pop()!;
    if (next.node) result.push(next);
    waiting.push(...next.children);
  }
  return result.sort((a, b) => a.order - b.order);
}

function shapeOf(inside: Item[]): string {
  const at = new Map(inside.map((item, i) => [item.node!.uid, i]));
  return inside
    .map(({ node }) => `${node!.op}|${node!.type}|${node!.operands.map((uid) => at.get(uid) ?? "-").join()}`)
    .join(";");
}
