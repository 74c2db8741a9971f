// Layout: where the children of one box lie. Parts that no edge joins are laid out apart and packed in rows.

import { layout as dagreLayout, Graph } from "@dagrejs/dagre";
import { layered } from "./layered";

/** The children of one box as sizes, and edges between them by number. */
export interface Level {
  id: string;
  sizes: [number, number][];
  edges: [number, number][];
}

export interface Laid {
  id: string;
  width: number;
  height: number;
  at: [number, number][]; // top left corners, from the corner of the box's inside
  routes: number[][]; // of each edge: x0, y0, x1, y1, ...; empty where a plain curve does
}

const GAP = 26;
const CAREFUL = 100; // children: above, the linear layout is used

/** Lays out one level; pure, and the same for the same level. */
export function layOut(level: Level): Laid {
  const count = level.sizes.length;
  const at = new Array<[number, number]>(count);
  const routes: number[][] = level.edges.map(() => []);
  const parts = components(count, level.edges);
  const placed = parts.map((part) => {
    if (part.nodes.length === 1) {
      const [width, height] = level.sizes[part.nodes[0]];
      return { part, width, height, at: [[0, 0]] as [number, number][], routes: part.edges.map(() => [] as number[]) };
    }
    const index = new Map(part.nodes.map((node, i) => [node, i]));
    const sizes = part.nodes.map((node) => level.sizes[node]);
    const edges = part.edges.map((e) => level.edges[e].map((n) => index.get(n)!) as [number, number]);
    const careful = sizes.length <= CAREFUL && edges.length <= 3 * CAREFUL;
    return { part, ...(careful ? dagre(sizes, edges) : layered(sizes, edges)) };
  });
  const single = (entry: (typeof placed)[number]) => entry.part.nodes.length === 1;
  placed.sort((a, b) => Number(single(a)) - Number(single(b)) || a.part.nodes[0] - b.part.nodes[0]);
  const area = placed.reduce((sum, p) => sum + (p.width + GAP) * (p.height + GAP), 0);
  const widest = Math.max(...placed.map((p) => p.width), Math.sqrt(area * 1.7));
  let x = 0;
  let y = 0;
  let row = 0;
  let width = 0;
  for (const p of placed) {
    if (x > 0 && x + p.width > widest) {
      x = 0;
      y += row + GAP;
      row = 0;
    }
    p.part.nodes.forEach((node, i) => (at[node] = [x + p.at[i][0], y + p.at[i][1]]));
    p.part.edges.forEach((e, i) => {
      routes[e] = p.routes[i].map((value, axis) => value + (axis % 2 ? y : x));
    });
    x += p.width + GAP;
    row = Math.max(row, p.height);
    width = Math.max(width, x - GAP);
  }
  return { id: level.id, width: Math.max(width, 0), height: y + row, at, routes };
}

function components(count: number, edges: [number, number][]): { nodes: number[]; edges: number[] }[] {
  const up = Array.from({ length: count }, (_, i) => i);
  const find = (i: number) => {
    while (up[i] !== i) i = up[i] = up[up[i]];
    return i;
  };
  for (const [a, b] of edges) {
    const x = find(a);
    const y = find(b);
    if (x !== y) up[Math.max(x, y)] = Math.min(x, y);
  }
  const parts = new Map<number, { nodes: number[]; edges: number[] }>();
  for (let i = 0; i < count; i++) {
    const root = find(i);
    if (!parts.has(root)) parts.set(root, { nodes: [], edges: [] });
    parts.get(root)!.nodes.push(i);
  }
  edges.forEach(([a], e) => parts.get(find(a))!.edges.push(e));
  return [...parts.values()];
}

function dagre(sizes: [number, number][], edges: [number, number][]): Omit<Laid, "id"> {
  const graph = new Graph({ multigraph: true });
  graph.setGraph({ rankdir: "TB", nodesep: 18, ranksep: 34, edgesep: 8, marginx: 0, marginy: 0 });
  graph.setDefaultEdgeLabel(() => ({}));
  sizes.forEach(([width, height], i) => graph.setNode(String(i), { width, height }));
  // Children come in the order of their ranks: an edge against it is turned, so that nothing is a ring.
  const ends = ([a, b]: [number, number]): [string, string] => [String(Math.min(a, b)), String(Math.max(a, b))];
  edges.forEach((edge, e) => graph.setEdge(...ends(edge), {}, String(e)));
  dagreLayout(graph);
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  const at = sizes.map(([width, height], i): [number, number] => {
    const { x, y } = graph.node(String(i)) as { x: number; y: number };
    left = Math.min(left, x - width / 2);
    right = Math.max(right, x + width / 2);
    top = Math.min(top, y - height / 2);
    bottom = Math.max(bottom, y + height / 2);
    return [x - width / 2, y - height / 2];
  });
  const points = edges.map((edge, e) => {
    const { points: found = [] } = graph.edge(...ends(edge), String(e)) as { points?: { x: number; y: number }[] };
    if (edge[0] > edge[1]) found.reverse();
    return found.flatMap((p) => [p.x, p.y]);
  });
  for (const route of points) {
    for (let i = 0; i < route.length; i += 2) {
      left = Math.min(left, route[i]);
      right = Math.max(right, route[i]);
    }
  }
  return {
    width: right - left,
    height: bottom - top,
    at: at.map(([x, y]) => [x - left, y - top]),
    routes: points.map((route) => route.map((value, i) => value - (i % 2 ? top : left))),
  };
}
