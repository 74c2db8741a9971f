// Settings: what the page shows, as data; the part of the address behind # spells it.

import { COLOURS, type ColourName } from "./colour";
import { LENSES, type LensName } from "./lens";
import type { ThemeName } from "./theme";

export interface Settings {
  record: number;
  pass: number;
  rewrite: number | null; // how many rewrites of the pass; null is all of it
  base: string; // what is compared with: "previous", "none", or record and pass: "0.3"
  lens: LensName;
  colour: ColourName;
  node: string | null;
  box: string | null;
  q: string;
  cone: "" | "in" | "out" | "both";
  path: string | null; // where a path begins, which ends at `node`
  places: "kept" | "packed";
  view: "graph" | "table";
  drawer: "" | "memory" | "schedule";
  step: number | null; // of the program, in the drawer
  theme: ThemeName;
}

export const DEFAULTS: Settings = {
  record: 0, pass: 0, rewrite: null, base: "previous", lens: "scope", colour: "op", node: null, box: null, q: "",
  cone: "", path: null, places: "kept", view: "graph", drawer: "", step: null, theme: "system",
};

const CHOICES: { [K in keyof Settings]?: readonly string[] } = {
  lens: LENSES,
  colour: COLOURS,
  cone: ["", "in", "out", "both"],
  places: ["kept", "packed"],
  view: ["graph", "table"],
  drawer: ["", "memory", "schedule"],
  theme: ["light", "dark", "system"],
};

/** The settings that `hash` spells, over `start`; what it spells wrongly is left out. */
export function readLink(hash: string, start: Settings): Settings {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const result: Record<string, unknown> = { ...start };
  for (const [key, value] of given) {
    if (!(key in DEFAULTS)) continue;
    const choices = CHOICES[key as keyof Settings];
    if (choices) {
      if (choices.includes(value)) result[key] = value;
    } else if (["record", "pass", "rewrite", "step"].includes(key)) {
      if (/^\d{1,9}$/.test(value)) result[key] = Number(value);
    } else if (key === "base") {
      if (/^(previous|none|\d+\.\d+)$/.test(value)) result[key] = value;
    } else result[key] = value;
  }
  return result as unknown as Settings;
}

export function writeLink(settings: Settings): string {
  const link = new URLSearchParams();
  for (const key of Object.keys(DEFAULTS) as (keyof Settings)[]) {
    const value = settings[key];
    if (key === "pass" || (value !== DEFAULTS[key] && value !== null)) link.set(key, String(value));
  }
  return `#${link}`;
}
