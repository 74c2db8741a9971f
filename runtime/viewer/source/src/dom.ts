// DOM: elements from data. Text is only ever set as text, so that nothing of a record can become markup.

type Child = Node | string | number | null | undefined | false;
type Props = Record<string, string | number | boolean | null | undefined | ((event: never) => void)>;

/** An element with attributes, listeners (`onclick: ...`) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: (Child | Child[])[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value as unknown as EventListener);
    else if (name === "class") element.className = String(value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false).map(String_));
  return element;
}

function String_(child: Child): Node | string {
  return child instanceof Node ? child : visible(String(child));
}

/** Text in which what controls a terminal or turns the direction of writing is spelled, so that a name shows what it is. */
export function visible(text: string): string {
  return text.replace(UNSEEN, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

// Control characters but for tab and line feed; embeddings, overrides and isolates of the Unicode Bidirectional Algorithm.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

export function fill(parent: Element, ...children: (Child | Child[])[]): void {
  parent.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false).map(String_));
}

export function byId<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** A part of a panel with a heading; folds away. */
export function section(title: string, open: boolean, ...children: (Child | Child[])[]): HTMLElement {
  return h("details", { class: "section", open }, h("summary", {}, title), ...children);
}

/** Names and values, one a line. */
export function facts(rows: [string, Child | Child[]][]): HTMLElement {
  return h("dl", { class: "facts" }, rows.filter(([, value]) => value !== null && value !== undefined && value !== "").flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** The first of many things, and a button for the rest. */
export function some<T>(things: T[], make: (thing: T) => HTMLElement, most = 60): HTMLElement[] {
  const shown = things.slice(0, most).map(make);
  if (things.length <= most) return shown;
  const more: HTMLElement = h("button", { class: "more", type: "button", onclick: () => more.replaceWith(...some(things.slice(most), make, 500)) }, `${things.length - most} more`);
  return [...shown, more];
}

/** A bar as long as `value` is of `most`. */
export function bar(value: number, most: number, title = ""): HTMLElement {
  const share = most > 0 ? Math.max(0, Math.min(1, value / most)) : 0;
  return h("span", { class: "bar-of", title }, h("i", { style: `width:${(100 * share).toFixed(1)}%` }));
}
