// Lens: the tree of boxes in which a picture holds the nodes: by name scope, by fusion group, by source line.

import { fold, leaves } from "./cells";
import { nameOf } from "./matching";
import type { Node, State } from "./record";
import { ranksOf } from "./ranks";
import { CONSTANTS, GRADIENTS, scopesOf } from "./scopes";

export type LensName = "scope" | "fusion" | "line";
export const LENSES: LensName[] = ["scope", "fusion", "line"];

export type Kind = "root" | "scope" | "line" | "group" | "region" | "cells" | "part";

/** A box, or (without children, with a node) a node. */
export interface Item {
  id: string;
  kind: Kind | "node";
  label: string;
  note: string;
  node: Node | null;
  parent: Item | null;
  children: Item[];
  count: number; // nodes inside
  order: number; // in which it came
  rank: number; // how far it is from the inputs: pictures go down along it
}

const MOST = 600; // children of a box; more are held in parts

export interface Tree {
  root: Item;
  items: Map<string, Item>;
  place: (node: Node) => string;
}

export function box(id: string, kind: Item["kind"], label: string, note = "", node: Node | null = null): Item {
  return { id, kind, label, note, node, parent: null, children: [], count: 0, order: 0, rank: 0 };
}

/** The boxes of all nodes that ever were; `reference` is the state whose order they follow. */
export function look(union: State, reference: State, lens: LensName): Tree {
  const root = box("", "root", "");
  const items = new Map<string, Item>([["", root]]);
  const place = lens === "fusion" ? (node: Node) => node.uid : (node: Node) => node.place;
  const scopes = lens === "scope" ? scopesOf(union) : null;
  const nodes = new Map<string, Node>();
  const groups = new Map<string, string>(); // the group (by uid) that a node was or will be fused into
  for (const node of union.values()) {
    if (lens === "fusion" && node.parent !== null) groups.set(node.uid, node.parent);
    const known = nodes.get(place(node));
    if (!known || node.parent !== null) nodes.set(place(node), node);
  }
  const holds = new Set<string>();
  for (const node of nodes.values()) {
    if (node.parent !== null) holds.add(lens === "fusion" ? node.parent : node.place.slice(0, node.place.lastIndexOf(">")));
  }
  const boxAt = (path: string, make: () => Item, outer: Item): Item => {
    let found = items.get(path);
    if (!found) {
      found = make();
      items.set(path, found);
      attach(found, outer);
    }
    return found;
  };
  const itemOf = (node: Node): Item => {
    const id = place(node);
    const found = items.get(id);
    if (found) return found;
    const kind = !holds.has(id) ? "node" : node.op === "fused" ? "group" : "region";
    const item = box(id, kind, titleOf(node), node.type, node);
    items.set(id, item);
    return item;
  };
  let order = 0;
  for (const node of nodes.values()) itemOf(node).order = order++;
  for (const node of nodes.values()) {
    const item = itemOf(node);
    const group = lens === "fusion" ? groups.get(node.uid) : null;
    const holder =
      lens === "fusion"
        ? group && items.get(group)
        : node.parent !== null && items.get(node.place.slice(0, node.place.lastIndexOf(">")));
    if (holder && holder !== item) attach(item, holder);
    else if (lens === "fusion" && node.op === "constant") attach(item, within(CONSTANTS, root, boxAt));
    else if (scopes) attach(item, within(scopes.get(node.uid) ?? "", root, boxAt));
    else if (lens === "line" && node.line !== null) {
      const at = `${node.file}:${node.line}`;
      attach(item, boxAt(`line ${at}`, () => box(`line ${at}`, "line", at, node.source ?? ""), root));
    } else attach(item, root);
  }
  for (const item of [...items.values()]) if (item.children.length) fold(item, items);
  count(root);
  divide(items);
  dissolve(items);
  const ranks = ranksOf(reference, union);
  for (const item of items.values()) item.rank = item.node ? (ranks.get(item.node.uid) ?? 0) : Infinity;
  count(root);
  return { root, items, place };
}

export function attach(item: Item, outer: Item): void {
  item.parent = outer;
  outer.children.push(item);
}

function within(scope: string, root: Item, boxAt: (path: string, make: () => Item, outer: Item) => Item): Item {
  let outer = root;
  let path = "scope ";
  for (const part of scope ? scope.split("/") : []) {
    path += `/${part}`;
    const here = path;
    outer = boxAt(here, () => box(here, "scope", part), outer);
  }
  return outer;
}

/** Boxes with very many children get parts of them, so that no picture holds them all at once. */
function divide(items: Map<string, Item>): void {
  for (const item of [...items.values()]) {
    for (let level = 0; item.children.length > MOST; level++) {
      const size = Math.max(50, Math.ceil(Math.sqrt(item.children.length)));
      const children = [...item.children].sort((a, b) => a.order - b.order);
      item.children = [];
      for (let i = 0; i < children.length; i += size) {
        const inside = children.slice(i, i + size);
        const part = box(`${item.id} part ${level}.${i}`, "part", `part ${i / size + 1}`, `of ${Math.ceil(children.length / size)}`);
        part.order = inside[0].order;
        items.set(part.id, part);
        for (const child of inside) attach(child, part);
        attach(part, item);
      }
    }
  }
}

/** A box around a single thing says nothing: the thing takes its place; a box around a box takes its name along. */
function dissolve(items: Map<string, Item>): void {
  for (const item of [...items.values()].reverse()) {
    if (item.kind !== "scope" && item.kind !== "line") continue;
    if (item.children.length !== 1 || !item.parent) continue;
    const [only] = item.children;
    if (only.kind === "scope") only.label = `${item.label}/${only.label}`;
    else if (only.kind !== "node" && only.kind !== "group" && only.kind !== "region") continue;
    only.parent = item.parent;
    item.parent.children[item.parent.children.indexOf(item)] = only;
    items.delete(item.id);
  }
}

function count(root: Item): void {
  const order: Item[] = [root];
  for (let i = 0; i < order.length; i++) order.push(...order[i].children);
  for (const item of order.reverse()) {
    item.count = item.node ? 1 : 0;
    let first = Infinity;
    for (const child of item.children) {
      item.count += child.count;
      first = Math.min(first, child.order);
      if (!item.node) item.rank = Math.min(item.rank, child.rank);
    }
    if (item.node) continue;
    item.order = first;
    if (item.children.length && leaves(item).every(({ node }) => !node!.operands.length)) item.rank = -1; // it reads nothing
    else if (item.id.startsWith(`scope /${GRADIENTS}`)) item.rank = Math.max(...item.children.map((child) => child.rank));
  }
}

/** What a node is called in a picture. */
export function titleOf(node: Node): string {
  if (node.op === "fused") return fusedTitle(node);
  const name = nameOf(node);
  if (node.op === "constant") {
    const value = node.attrs.find(([key]) => key === "value")?.[1].match(/\{(.*)\}$/s)?.[1];
    if (value && value.length <= 12) return value;
  }
  return name && (node.op === "variable" || node.op === "placeholder") ? name : node.op;
}

/** What a group computes, in short. */
function fusedTitle(node: Node): string {
  const { body } = node.raw.attrs;
  if (typeof body !== "object") return node.op;
  const ops = Object.values(body.nodes).map(({ op }) => op).filter((op) => op !== "placeholder" && op !== "constant");
  return ops.length ? `${ops.slice(0, 3).join(" ")}${ops.length > 3 ? " \u2026" : ""}` : node.op;
}
