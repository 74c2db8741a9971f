// Grid: an index of rectangles in the plane, so that a view finds what it shows without looking at all.

const CELL = 512;
const LARGE = 64; // cells: what covers more is kept apart

const keyOf = (x: number, y: number): number => x * 2 ** 24 + y;

export class Grid<T> {
  private cells = new Map<number, T[]>();
  private large: T[] = [];
  private order = new Map<T, number>();

  add(thing: T, left: number, top: number, right: number, bottom: number): void {
    this.order.set(thing, this.order.size);
    const [x0, y0, x1, y1] = [left, top, right, bottom].map((value) => Math.floor(value / CELL));
    if ((x1 - x0 + 1) * (y1 - y0 + 1) > LARGE) {
      this.large.push(thing);
      return;
    }
    for (let x = x0; x <= x1; x++) {
      for (let y = y0; y <= y1; y++) {
        const key = keyOf(x, y);
        const cell = this.cells.get(key);
        if (cell) cell.push(thing);
        else this.cells.set(key, [thing]);
      }
    }
  }

  /** What may touch the rectangle, in the order in which it was added. */
  within(left: number, top: number, right: number, bottom: number): T[] {
    const [x0, y0, x1, y1] = [left, top, right, bottom].map((value) => Math.floor(value / CELL));
    if ((x1 - x0 + 1) * (y1 - y0 + 1) > this.cells.size) return [...this.order.keys()];
    const found = new Set<T>(this.large);
    for (let x = x0; x <= x1; x++) {
      for (let y = y0; y <= y1; y++) for (const thing of this.cells.get(keyOf(x, y)) ?? []) found.add(thing);
    }
    return [...found].sort((a, b) => this.order.get(a)! - this.order.get(b)!);
  }
}
