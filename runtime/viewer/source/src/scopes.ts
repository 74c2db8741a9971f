// Scopes: the name scope in which each node is shown.
//
// That is the one it was made in, or the one of its name. Models often open scopes only around their
// variables; so a node made outside of every scope is shown with the variable that it reads, with the
// rest of its line of the source, with the node whose gradient it is a part of, or with its users, where
// all of them are in one scope. What differentiation made is apart, in scopes within "gradients", with what
// stands for it before, and constants that many read are apart too.

import { nameOf } from "./matching";
import type { Node, State } from "./record";
import type { Gradient } from "./schema";

export const GRADIENTS = "gradients";
export const CONSTANTS = "constants";
const REQUEST = "gradient_request"; // what stands for gradients until differentiation makes them

export function scopesOf(union: State): Map<string, string> {
  const scopes = new Map<string, string>();
  const nodes = new Map<string, Node>();
  for (const node of union.values()) if (!nodes.has(node.uid) || node.parent === null) nodes.set(node.uid, node);
  for (const node of nodes.values()) scopes.set(node.uid, own(node) || inherited(node, nodes, scopes));
  const users = new Map<string, Node[]>();
  for (const node of nodes.values()) {
    for (const uid of node.operands) (users.get(uid) ?? users.set(uid, []).get(uid)!).push(node);
  }
  for (const node of [...nodes.values()].reverse()) {
    const mine = users.get(node.uid);
    if (scopes.get(node.uid) || !mine || node.op === "placeholder") continue;
    const found = new Set(mine.map((user) => scopes.get(user.uid)!));
    const near = node.op === "constant" || mine.every((user) => user.line === node.line && user.file === node.file);
    if (found.size === 1 && near) scopes.set(node.uid, [...found][0]);
  }
  const inside = new Map<string, Map<string, number>>(); // how many members of a group are in which scope
  for (const node of union.values()) {
    if (node.parent === null) continue;
    const tally = inside.get(node.parent) ?? new Map<string, number>();
    const scope = scopes.get(node.uid) ?? "";
    inside.set(node.parent, tally.set(scope, (tally.get(scope) ?? 0) + 1));
  }
  for (const [uid, tally] of inside) {
    const [scope, many] = [...tally].sort((a, b) => b[1] - a[1])[0];
    const all = [...tally.values()].reduce((sum, value) => sum + value, 0);
    if (nodes.get(uid)?.op !== "fused" || 2 * many < all) continue;
    scopes.set(uid, scope);
    for (const user of users.get(uid) ?? []) if (user.op === "pick") scopes.set(user.uid, scope);
  }
  for (const node of nodes.values()) {
    const scope = scopes.get(node.uid)!;
    if (node.op === REQUEST || (node.op === "pick" && nodes.get(node.operands[0])?.op === REQUEST)) scopes.set(node.uid, GRADIENTS);
    else if (node.backward) scopes.set(node.uid, scope ? `${GRADIENTS}/${scope}` : GRADIENTS);
    else if (node.op === "constant" && !scope) scopes.set(node.uid, CONSTANTS);
  }
  return scopes;
}

function own(node: Node): string {
  const recorded = node.raw.scope;
  if (typeof recorded === "string" && recorded) return recorded.replace(/\/+$/, "");
  const name = nameOf(node);
  return name?.includes("/") ? name.slice(0, name.lastIndexOf("/")) : "";
}

function inherited(node: Node, nodes: Map<string, Node>, scopes: Map<string, string>): string {
  const read = node.operands.filter((uid) => nodes.get(uid)?.op === "variable").map((uid) => scopes.get(uid) ?? "");
  let found = read.reduce((inner, scope) => (scope.length > inner.length ? scope : inner), "");
  if (!read.every((scope) => !scope || found === scope || found.startsWith(`${scope}/`))) found = ""; // it is of none
  const of = (node.raw.gradient as Gradient | null | undefined)?.of;
  if (!found && of !== undefined) found = scopes.get(of) ?? "";
  for (const uid of found ? [] : node.operands) {
    const operand = nodes.get(uid);
    const same = operand && operand.line === node.line && operand.file === node.file && operand.backward === node.backward;
    if (same && operand.op !== "variable") found ||= scopes.get(uid) ?? "";
  }
  return found;
}
