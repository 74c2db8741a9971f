// Colour: what a node's colour says, with its legend.

import { amount, dtypeOf, number, seconds, type Facts } from "./facts";
import type { Node } from "./record";

export type ColourName = "op" | "dtype" | "flops" | "bytes" | "time";
export const COLOURS: ColourName[] = ["op", "dtype", "flops", "bytes", "time"];

export interface Paint {
  fill: string;
  ink: "dark" | "light" | "text";
}

export interface Legend {
  title: string;
  entries: { colour: string; label: string }[];
}

export interface Scheme {
  of: (node: Node) => string | null; // a full colour; null where there is nothing to say
  ofAll: (nodes: readonly Node[]) => string | null; // of a closed box: that of the sum
  legend: Legend;
}

// Twelve hues that differ in lightness too, after Okabe and Ito's set for people who do not see all colours.
const HUES = ["#4477aa", "#e69f00", "#228833", "#cc6677", "#56b4e9", "#aa4499", "#999933", "#d55e00", "#44aa99", "#6f5fc6", "#b8860b", "#888e96"];
const RAMP_LIGHT = ["#e8eef6", "#b9d1ea", "#7fb0d8", "#4488c0", "#1f5f9f", "#0d3a6e"];
const RAMP_DARK = ["#1d2a38", "#204a6b", "#2a6f9c", "#3f97c9", "#7cc0e6", "#cfeafb"];

const FAMILIES: [RegExp, number, string][] = [
  [/^(placeholder|variable|assign|read|state|run_state)/, 1, "state, inputs"],
  [/^(constant|broadcast_to|iota|arange|full)/, 11, "constants, broadcasts"],
  [/^(matmul|einsum|tensordot|contract|conv|depthwise)/, 0, "contractions"],
  [/^(sum|mean|max|min|prod|any|all|arg|logsumexp|cum|.*pool)/, 4, "reductions"],
  [/^(reshape|transpose|squeeze|expand_dims|slice|pad|concat|stack|split|flip|tile|roll|pick|cast|identity|patches)/, 8, "shape, type"],
  [/^(gather|scatter|take|one_hot|segment|sort|top_k|nonzero|unique)/, 6, "indexing"],
  [/^(cond|while|loop|scan|map)/, 5, "control flow"],
  [/^fused/, 2, "fused"],
  [/^(random|uniform|normal|bernoulli|dropout)/, 9, "random"],
];
const ELEMENTWISE: [number, string] = [3, "elementwise"];

function familyOf(op: string): [number, string] {
  for (const [pattern, hue, label] of FAMILIES) if (pattern.test(op)) return [hue, label];
  return ELEMENTWISE;
}

/** The scheme for `nodes`, those that the picture holds. */
export function schemeOf(name: ColourName, nodes: Iterable<Node>, facts: Facts, dark: boolean): Scheme {
  if (name === "op") {
    const seen = new Map<string, number>();
    for (const node of nodes) {
      const [hue, label] = familyOf(node.op);
      seen.set(label, hue);
    }
    const entries = [...seen].sort().map(([label, hue]) => ({ label, colour: HUES[hue] }));
    return { of: (node) => HUES[familyOf(node.op)[0]], ofAll: () => null, legend: { title: "Colour: family of the op", entries } };
  }
  if (name === "dtype") {
    const found = [...new Set([...nodes].map(dtypeOf))].sort();
    const hue = (dtype: string) => HUES[found.indexOf(dtype) % HUES.length];
    return {
      of: (node) => hue(dtypeOf(node)),
      ofAll: () => null,
      legend: { title: "Colour: dtype", entries: found.map((label) => ({ label, colour: hue(label) })) },
    };
  }
  const read = (node: Node): number | null =>
    name === "time" ? facts.seconds(node) : number(node.raw[name]);
  const values = [...nodes].map(read).filter((value): value is number => value !== null && value > 0);
  const unit = name === "time" ? seconds : (value: number) => amount(value, name === "bytes" ? "B" : "");
  if (!values.length) {
    const why = name === "time" ? "no measured times in this record" : `no ${name} in this record`;
    return { of: () => null, ofAll: () => null, legend: { title: `Colour: ${name}`, entries: [{ label: why, colour: "transparent" }] } };
  }
  let [least, most] = [Infinity, 0];
  for (const value of values) [least, most] = [Math.min(least, value), Math.max(most, value)];
  const ramp = dark ? RAMP_DARK : RAMP_LIGHT;
  const span = Math.log(most / least) || 1;
  const place = (value: number) => Math.min(ramp.length - 1, Math.floor((Math.log(value / least) / span) * ramp.length));
  const entries = ramp.map((colour, i) => ({ colour, label: unit(least * Math.exp((span * i) / ramp.length)) }));
  const shade = (value: number | null) => (value === null ? null : value <= 0 ? ramp[0] : ramp[Math.max(0, place(value))]);
  return {
    of: (node) => shade(read(node)),
    ofAll: (inside) => {
      let sum: number | null = null;
      for (const node of inside) {
        const value = node.parent === null ? read(node) : null; // a group counts what is in it
        if (value !== null) sum = (sum ?? 0) + value;
      }
      return shade(sum);
    },
    legend: { title: `Colour: ${name === "time" ? "measured time" : name} (from)`, entries },
  };
}

/** `colour` over `ground`, as opaque as `share` says. */
export function mix(colour: string, ground: string, share: number): string {
  const [a, b] = [colour, ground].map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  const parts = a.map((value, i) => Math.round(value * share + b[i] * (1 - share)));
  return `#${parts.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

export function isDark(colour: string): boolean {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b < 140;
}
