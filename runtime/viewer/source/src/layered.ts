// Layered: a layout in linear time for levels that are too large for a careful one.
//
// Ranks by longest paths, three sweeps of barycentres, ranks that are too wide are broken into rows, and
// rows are drawn towards their neighbours
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
      const middle = new Map(row.map((node) => [node, mean(near[node], place) ?? place[node]]));
      row.sort((a, b) => middle.get(a)! - middle.get(b)!);
      row.forEach((node, i) => (place[node] = i - row.length / 2));
    }
  }
  const parts = rows.flatMap((row) => {
    const pieces: number[][] = [];
    for (let from = 0; from < row.length; from += WIDEST) pieces.push(row.slice(from, from + WIDEST));
    return pieces.map((piece, i) => ({ piece, last: i === pieces.length - 1 }));
  });
  const centre = new Float64Array(count);
  for (const { piece } of parts) spread(piece, piece.map(() => 0), sizes, centre);
  for (let sweep = 0; sweep < 4; sweep++) {
    const forward = sweep % 2 === 0;
    for (const { piece } of forward ? parts : [...parts].reverse()) {
      spread(piece, piece.map((node) => mean((forward ? up : down)[node], centre) ?? centre[node]), sizes, centre);
    }
  }
  const at = new Array<[number, number]>(count);
  let y = 0;
  let [left, right] = [Infinity, -Infinity];
  for (const { piece, last } of parts) {
    let tallest = 0;
    for (const node of piece) {
      const [width, height] = sizes[node];
      at[node] = [centre[node] - width / 2, y];
      left = Math.min(left, at[node][0]);
      right = Math.max(right, at[node][0] + width);
      tallest = Math.max(tallest, height);
    }
    y += tallest + (last ? DOWN : ACROSS);
  }
  return {
    width: right - left,
    height: Math.max(0, y - DOWN),
    at: at.map(([x, top]) => [x - left, top]),
    routes: edges.map(() => []),
  };
}

/**
 * Puts the centres of a row as near to where they are wanted as their order and widths allow: least squares
 * under order, by pooling neighbours that meet (Barlow and others, 1972).
 */
function spread(row: number[], wanted: number[], sizes: [number, number][], centre: Float64Array): void {
  const pools: { sum: number; many: number }[] = [];
  const before: number[] = []; // how far each is from the first, when all touch
  let x = 0;
  row.forEach((node, i) => {
    const half = (sizes[node][0] + ACROSS) / 2;
    before.push(x + half);
    x += 2 * half;
    pools.push({ sum: wanted[i] - before[i], many: 1 });
    while (pools.length > 1) {
      const [a, b] = pools.slice(-2);
      if (a.sum / a.many <= b.sum / b.many) break;
      pools.splice(-2, 2, { sum: a.sum + b.sum, many: a.many + b.many });
    }
  });
  let i = 0;
  for (const { sum, many } of pools) {
    for (const end = i + many; i < end; i++) centre[row[i]] = sum / many + before[i];
  }
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
  const needed = needs.slice();
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
  for (let i = 0; i < count; i++) {
    if (needed[i] || !down[i].length) continue; // what reads nothing lies just above its first user
    let first = Infinity;
    for (const user of down[i]) first = Math.min(first, rank[user]);
    rank[i] = Math.max(0, first - 1);
  }
  return rank;
}

function mean(nodes: number[], place: Float64Array): number | null {
  if (!nodes.length) return null;
  let sum = 0;
  for (const node of nodes) sum += place[node];
  return sum / nodes.length;
}
