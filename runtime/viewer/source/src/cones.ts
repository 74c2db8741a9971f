// Cones: what a node depends on, what depends on it, and the shortest way between two nodes.

import type { Picture } from "./difference";

export interface Links {
  operands: Map<string, string[]>;
  users: Map<string, string[]>;
}

export function linksOf(picture: Picture): Links {
  const operands = new Map<string, string[]>();
  const users = new Map<string, string[]>();
  const link = (from: string, to: string) => {
    (operands.get(to) ?? operands.set(to, []).get(to)!).push(from);
    (users.get(from) ?? users.set(from, []).get(from)!).push(to);
  };
  for (const { node } of picture.values()) {
    for (const uid of node.operands) if (picture.has(uid)) link(uid, node.uid);
    if (node.parent !== null && picture.has(node.parent)) link(node.uid, node.parent); // a body makes what its node gives
  }
  return { operands, users };
}

/** All that is reached from `start`, itself included. */
export function cone(start: string, links: Map<string, string[]>): Set<string> {
  const reached = new Set([start]);
  const waiting = [start];
  while (waiting.length) {
    for (const next of links.get(waiting.pop()!) ?? []) {
      if (reached.has(next)) continue;
      reached.add(next);
      waiting.push(next);
    }
  }
  return reached;
}

/** A shortest way from one node to the other, along the data or else against it; empty where there is none. */
export function pathBetween(from: string, to: string, links: Links): string[] {
  return search(from, to, links.users) ?? search(to, from, links.users) ?? [];
}

function search(from: string, to: string, links: Map<string, string[]>): string[] | null {
  const came = new Map<string, string | null>([[from, null]]);
  const queue = [from];
  for (let i = 0; i < queue.length; i++) {
    if (queue[i] === to) {
      const path: string[] = [];
      for (let at: string | null = to; at !== null; at = came.get(at)!) path.push(at);
      return path.reverse();
    }
    for (const next of links.get(queue[i]) ?? []) {
      if (came.has(next)) continue;
      came.set(next, queue[i]);
      queue.push(next);
    }
  }
  return null;
}
