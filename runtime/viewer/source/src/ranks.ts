// Ranks: how many nodes lie at most between a node and the inputs. Layouts go down along them, so that boxes
// that read one another (a layer, and the update of its weights) still have a direction.

import type { Node, State } from "./record";

/** The ranks of all nodes that ever were: those of `reference`, a single state, and the others by their operands. */
export function ranksOf(reference: State, union: State): Map<string, number> {
  const ranks = new Map<string, number>();
  const users = new Map<string, string[]>();
  const order = inOrder(reference);
  const fed = new Set<string>();
  for (const node of reference.values()) {
    if (node.op === "placeholder" && node.parent === null) fed.add(node.uid);
    for (const uid of node.operands) (users.get(uid) ?? users.set(uid, []).get(uid)!).push(node.uid);
  }
  const depths = new Map<string, number>();
  const reached = new Set(fed); // by what is fed
  for (const node of order) {
    let depth = 0;
    let rank = 0;
    for (const operand of node.operands) {
      depth = Math.max(depth, (depths.get(operand) ?? -1) + 1);
      if (reached.has(operand)) rank = Math.max(rank, ranks.get(operand)! + 1);
    }
    depths.set(node.uid, depth);
    if (rank > 0) reached.add(node.uid);
    if (reached.has(node.uid)) ranks.set(node.uid, rank);
  }
  for (const node of order.reverse()) {
    if (reached.has(node.uid)) continue; // what no input reaches lies just above its first user
    let rank = Infinity;
    for (const user of users.get(node.uid) ?? []) rank = Math.min(rank, ranks.get(user)! - 0.5);
    ranks.set(node.uid, rank === Infinity ? depths.get(node.uid)! : rank);
  }
  for (const node of union.values()) {
    if (ranks.has(node.uid)) continue;
    let rank = -1;
    for (const operand of node.operands) rank = Math.max(rank, ranks.get(operand) ?? -1);
    ranks.set(node.uid, rank + 1);
  }
  return ranks;
}

/** Operands before users. */
function inOrder(state: State): Node[] {
  const order: Node[] = [];
  const done = new Set<string>();
  for (const root of state.values()) {
    const stack: [Node, number][] = done.has(root.uid) ? [] : [[root, 0]];
    done.add(root.uid);
    while (stack.length) {
      const top = stack[stack.length - 1];
      const next = state.get(top[0].operands[top[1]++] ?? "");
      if (next && !done.has(next.uid)) {
        done.add(next.uid);
        stack.push([next, 0]);
      } else if (top[1] > top[0].operands.length) {
        order.push(top[0]);
        stack.pop();
      }
    }
  }
  return order;
}
