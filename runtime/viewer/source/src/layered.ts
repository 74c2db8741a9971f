// Layered: a layout in linear time for levels that are too large for a careful one.
//
// Ranks by longest paths, three sweeps of barycentres, ranks that are too wide are broken into rows
// (Sugiyama, Tagawa, Toda, "Methods for visual understanding of hierarchical system structures", 1981).

const ACROSS = 18;
const DOWN = 34;
const WIDEST = 40; // items of a row

export interface Placed {
  width: number;
  height: number;
  at: [number, number][];
  routes: number[][];
}

export function layered(sizes: [number, number][], edges: [number, number][]): Placed {
  const count = sizes.length;
  const down = neighbours(count, edges, 0);
  const up = neighbours(count, edges, 1);
  const rank = ranks(count, edges, down);
  const rows: number[][] = [];
  for (let i = 0; i < count; i++) (rows[rank[i]] ??= []).push(i);
  for (let i = 0; i < rows.length; i++) rows[i] ??= [];
  const place = new Float64Array(count);
  for (const row of rows) row.forEach((node, i) => (place[node] = i));
  for (let sweep = 0; sweep < 3; sweep++) {
    const forward = sweep % 2 === 0;
    const near = forward ? up : down;
    for (const row of forward ? rows : [...rows].reverse()) {
      const centre = new Map(row.map((node) => [node, mean(near[node], place) ?? place[node]]));
      row.sort((a, b) => centre.get(a)! - centre.get(b)!);
      row.forEach((node, i) => (place[node] = i - row.length / 2));
    }
  }
  const at = new Array<[number, number]>(count);
  let y = 0;
  let [left, right] = [0, 0];
  for (const row of rows) {
    for (let from = 0; from < row.length; from += WIDEST) {
      const part = row.slice(from, from + WIDEST);
      const width = part.reduce((sum, node) => sum + sizes[node][0] + ACROSS, -ACROSS);
      let x = -width / 2;
      let tallest = 0;
      for (const node of part) {
        at[node] = [x, y];
        x += sizes[node][0] + ACROSS;
        tallest = Math.max(tallest, sizes[node][1]);
      }
      left = Math.min(left, -width / 2);
      right = Math.max(right, width / 2);
      y += tallest + (from + WIDEST < row.length ? ACROSS : DOWN);
    }
  }
  return {
    width: right - left,
    height: Math.max(0, y - DOWN),
    at: at.map(([x, top]) => [x - left, top]),
    routes: edges.map(() => []),
  };
}

function neighbours(count: number, edges: [number, number][], from: 0 | 1): number[][] {
  const result: number[][] = Array.from({ length: count }, () => []);
  for (const edge of edges) if (edge[0] !== edge[1]) result[edge[from]].push(edge[1 - from]);
  return result;
}

/** The longest way from a beginning; what closes a ring is taken as coming last. */
function ranks(count: number, edges: [number, number][], down: number[][]): Int32Array {
  const needs = new Int32Array(count);
  for (const [a, b] of edges) if (a !== b) needs[b]++;
  const rank = new Int32Array(count);
  const done = new Uint8Array(count);
  let ready: number[] = [];
  for (let i = 0; i < count; i++) if (!needs[i]) ready.push(i);
  let next = 0;
  for (let left = count; left > 0; ) {
    if (!ready.length) {
      while (done[next]) next++;
      ready = [next];
    }
    const node = ready.pop()!;
    if (done[node]) continue;
    done[node] = 1;
    left--;
    for (const user of down[node]) {
      if (done[user]) continue;
      rank[user] = Math.max(rank[user], rank[node] + 1);
      if (--needs[user] === 0) ready.push(user);
    }
  }
  return rank;
}

function mean(nodes: number[], place: Float64Array): number | null {
  if (!nodes.length) return null;
  let sum = 0;
  for (const node of nodes) sum += place[node];
  return sum / nodes.length;
}
