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
    if (node.op === "placeholder") fed.add(node.uid);
    for (const uid of node.operands) (users.get(uid) ?? users.set(uid, []).get(uid)!).push(node.uid);
  }
  for (const node of order) {
    let rank = fed.has(node.uid) || !fed.size ? 0 : -1; // -1: no input reaches it
    for (const operand of node.operands) {
      const above = ranks.get(operand) ?? -1;
      if (above >= 0) rank = Math.max(rank, above + 1);
    }
    ranks.set(node.uid, rank);
  }
  for (const node of order.reverse()) {
    if (ranks.get(node.uid)! >= 0) continue;
    let rank = Infinity;
    for (const user of users.get(node.uid) ?? []) if (ranks.get(user)! >= 0) rank = Math.min(rank, ranks.get(user)! - 0.5);
    ranks.set(node.uid, Math.max(0, rank === Infinity ? 0 : rank));
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
