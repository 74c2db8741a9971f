// Schema: the parts of a record that follow the passes (docs/record.md); any may be missing.

import type { RecordData } from "./record";

export interface Step {
  number: number;
  node: string | null;
  op: string;
  type: string;
  at: string | null;
  file: string | null;
  line: number | null;
  backward: boolean;
  kind: string;
  kernel: number | null;
  reads: number[];
  writes: number[];
  flops: number;
  bytes: number;
  bodies?: Record<string, Step[]>;
}

export interface Kernel {
  number: number;
  name: string;
  kind: string;
  ir: string;
  llvm: string;
  assembly: string | null;
  object_bytes: number | null;
  steps: number[];
}

export interface Cell {
  buffer: number;
  part: number;
  node: string | null;
  type: string;
  bytes: number;
  kind: string;
  slot: number | null;
  offset: number | null;
  of: number | null;
  first: number;
  last: number;
}

export interface Memory {
  arena_bytes: number;
  slots: { offset: number; bytes: number; cells: number[] }[];
  cells: Cell[];
  live: number[];
  peak: { step: number; bytes: number; cells: number[] } | null; // null where there are no steps
  held: number;
  predicted: number;
}

export interface Profile {
  runs: number;
  warmup: number;
  seconds: number;
  least: number;
  steps: { seconds: number; least: number; begin: number }[];
}

export interface Gradient {
  of: string;
  name: string | null;
  total: boolean;
}

export const stepsOf = (data: RecordData): Step[] => (data.program as { steps?: Step[] } | null)?.steps ?? [];
export const kernelsOf = (data: RecordData): Kernel[] => (data.kernels as Kernel[] | undefined) ?? [];
export const memoryOf = (data: RecordData): Memory | null => (data.memory as Memory | null | undefined) ?? null;
export const profileOf = (data: RecordData): Profile | null => (data.profile as Profile | null | undefined) ?? null;

export function titleOf(data: RecordData, number = 0): string {
  return typeof data.title === "string" && data.title ? data.title : `record ${number + 1}`;
}
