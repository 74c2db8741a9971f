// Rewriting: the states inside of a pass, one rewrite after the other (docs/record.md, "Decisions and rewrites").

import type { Node, Raw, Rewrite, State, Trace } from "./record";

/** The rewrites of a stage that can be seen in its states. */
export function rewritesOf(trace: Trace, at: number): Rewrite[] {
  return (trace.stages[at]?.rewrites ?? []).filter((rewrite) => !rewrite.inside);
}

/** The state after the first `count` rewrites of stage `at`. */
export function stateWithin(trace: Trace, at: number, count: number): State {
  const rewrites = rewritesOf(trace, at);
  if (count >= rewrites.length) return trace.state(at);
  const before = trace.state(at - 1);
  if (count <= 0) return before;
  const stage = trace.stages[at];
  const raws: Record<string, Raw>[] = [stage.passing ?? {}, stage.delta.added, stage.delta.changed];
  const known = new Map<string, Node[]>();
  for (const node of before.values()) if (node.parent === null) known.set(node.uid, [node]);
  for (const node of before.values()) if (node.parent !== null) known.get(holder(node, before))?.push(node);
  const now = new Map<string, string>();
  const read = (uid: string): string => {
    let next = uid;
    for (const seen = new Set<string>(); now.has(next) && !seen.has(next); next = now.get(next)!) seen.add(next);
    return next;
  };
  for (const rewrite of rewrites.slice(0, count)) {
    for (const id of [...rewrite.made, ...(rewrite.after ? [rewrite.after] : [])]) {
      const uid = trace.uidOf(id);
      const raw = raws.map((part) => part[id]).find(Boolean);
      if (raw && (!known.has(uid) || rewrite.made.includes(id))) known.set(uid, trace.nodesOf(id, raw));
    }
    if (rewrite.after) {
      const from = trace.uidOf(rewrite.before);
      const to = trace.uidOf(rewrite.after);
      if (from !== to) now.set(from, to);
      now.delete(to); // what stands for another is itself again
    }
  }
  const roots = (["inputs", "outputs", "effects"] as const).flatMap((which) => trace.ends(at - 1, which));
  const state: State = new Map();
  const waiting = roots.map(read);
  while (waiting.length) {
    const uid = waiting.pop()!;
    if (state.has(uid)) continue;
    for (const node of known.get(uid) ?? []) {
      const operands = node.operands.map(read);
      const same = operands.every((operand, i) => operand === node.operands[i]);
      const key = same ? node.key : node.key.replace(node.operands.join(), operands.join());
      state.set(node.uid, same ? node : { ...node, operands, key });
      if (node.parent === null) for (const operand of operands) if (!state.has(operand)) waiting.push(operand);
    }
    if (!known.has(uid)) continue;
  }
  return state;
}

function holder(node: Node, state: State): string {
  let top = node;
  while (top.parent !== null && state.has(top.parent)) top = state.get(top.parent)!;
  return top.uid;
}
