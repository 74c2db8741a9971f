// Layouts: asks the worker for levels, from the innermost open box to the outermost.

import type { Laid, Level } from "./layout";

declare const WORKER: string; // the worker's program, put in by the build

type Answer = (laid: Laid) => void;

export class Layouts {
  private waiting = new Map<number, Answer>();
  private job = 0;
  private worker: Worker | null = null;

  constructor() {
    const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
    this.worker = new Worker(url);
    this.worker.onmessage = (event: MessageEvent<{ job: number; laid: Laid }>) => {
      const answer = this.waiting.get(event.data.job);
      this.waiting.delete(event.data.job);
      answer?.(event.data.laid);
    };
  }

  ask(level: Level): Promise<Laid> {
    return new Promise((answer) => {
      const job = this.job++;
      this.waiting.set(job, answer);
      this.worker!.postMessage({ job, level });
    });
  }
}
