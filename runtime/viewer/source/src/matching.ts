// Matching: which nodes of a second record are those of the first, so that both can be compared in one picture.

import type { Node, State, Trace } from "./record";

/** Gives the nodes of `second` the uids of the nodes of `first` that they stand for. */
export function match(first: Trace, second: Trace): void {
  const uids = new Map<string, string>();
  const taken = new Set<string>();
  for (const at of [0, first.last]) {
    const to = at === 0 ? 0 : second.last;
    pair(topLevel(first.state(at)), topLevel(second.state(to)), uids, taken);
  }
  pair(topLevel(first.union()), topLevel(second.union()), uids, taken);
  second.renamed((id) => uids.get(id) ?? `b.${id}`);
}

function topLevel(state: State): Node[] {
  return [...state.values()].filter((node) => node.parent === null);
}

/**
 * Pairs nodes in rounds, the surest first: the same call of paired operands, the same name, the same
 * line of the source, the same op and type; always in order.
 */
function pair(ours: Node[], theirs: Node[], uids: Map<string, string>, taken: Set<string>): void {
  const rounds: ((node: Node, operand: (id: string) => string) => string | null)[] = [
    (n, operand) => `${n.op}|${n.type}|${plain(n)}|${n.operands.map(operand)}|${n.name}`,
    (n) => (nameOf(n) ? `${n.op}|${nameOf(n)}` : null),
    (n, operand) => (n.operands.length ? `${n.op}|${n.operands.map(operand)}` : null),
    (n) => (n.source ? `${n.op}|${n.type}|${n.source}|${n.backward}` : null),
    (n) => `${n.op}|${n.type}|${plain(n)}`,
    (n) => (n.source ? `${n.op}|${n.source}|${n.backward}` : null),
  ];
  for (const round of rounds) {
    const waiting = new Map<string, string[]>();
    for (const node of ours) {
      if (taken.has(node.uid)) continue;
      const key = round(node, (id) => id);
      if (key === null) continue;
      const queue = waiting.get(key);
      if (queue) queue.push(node.uid);
      else waiting.set(key, [node.uid]);
    }
    for (const queue of waiting.values()) queue.reverse();
    for (const node of theirs) {
      if (uids.has(node.id)) continue;
      const key = round(node, (id) => uids.get(id) ?? `?${id}`);
      const uid = key === null ? undefined : waiting.get(key)?.pop();
      if (uid === undefined) continue;
      uids.set(node.id, uid);
      taken.add(uid);
    }
  }
}

function plain(node: Node): string {
  return node.attrs.map(([name, value]) => `${name}=${value}`).join();
}

/** The name of a node, or of the variable or input that it reads. */
export function nameOf(node: Node): string | null {
  if (node.name) return node.name;
  const spelled = node.attrs.find(([name]) => name === "name" || name === "variable")?.[1];
  const match = spelled?.match(/^(['"])(.*)\1$/s);
  return match ? match[2].replace(/\\(x..|u.{4}|U.{8}|.)/gs, unescaped) : null;
}

/** What stands for a character that Python writes behind a backslash. */
function unescaped(_: string, code: string): string {
  if (code.length > 1) return String.fromCodePoint(parseInt(code.slice(1), 16));
  return { n: "\n", r: "\r", t: "\t" }[code] ?? code;
}
