// Theme: light and dark. The page's style sheet has the same colours as variables.

export interface Theme {
  dark: boolean;
  ground: string;
  card: string;
  text: string;
  muted: string;
  line: string;
  box: string[]; // grounds of boxes, by depth
  boxLine: string;
  accent: string;
  added: string;
  removed: string;
  changed: string;
  found: string;
}

export const LIGHT: Theme = {
  dark: false,
  ground: "#f7f7f5",
  card: "#ffffff",
  text: "#1c2024",
  muted: "#646b73",
  line: "#a9b0b8",
  box: ["#f0f1ef", "#e8eae7", "#e0e3df"],
  boxLine: "#c9cdc8",
  accent: "#1f5fbf",
  added: "#1d8348",
  removed: "#c0392b",
  changed: "#b9770e",
  found: "#7d3cb5",
};

export const DARK: Theme = {
  dark: true,
  ground: "#15181c",
  card: "#1f242a",
  text: "#e8eaec",
  muted: "#9aa3ad",
  line: "#5a636e",
  box: ["#1b1f24", "#22272d", "#292f36"],
  boxLine: "#3a424b",
  accent: "#6ea8fe",
  added: "#4cc38a",
  removed: "#ff7b72",
  changed: "#e3b341",
  found: "#c297ff",
};

export type ThemeName = "light" | "dark" | "system";

export function themeOf(name: ThemeName): Theme {
  const dark = name === "dark" || (name === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  return dark ? DARK : LIGHT;
}
