// What was done can be undone, and what was undone be done again: bounded in steps and, over all photos, in bytes.
// Knows no picture: a step is anything with `bytes` and `swap()`, which exchanges what is for what was.

const MOST_STEPS = 50;
const MOST_BYTES = 64 * 2 ** 20;

/** The bytes that several histories may hold together. Beyond it the oldest step of the least recently used one goes. */
export class HistoryBudget {
  #histories = []; // The most recently used one last.

  constructor(bytes = MOST_BYTES) {
    this.bytes = bytes;
  }

  used(history) {
    this.remove(history);
    this.#histories.push(history);
    const total = () => this.#histories.reduce((sum, each) => sum + each.bytes, 0);
    while (total() > this.bytes) this.#histories.find((each) => each.bytes).drop();
  }

  remove(history) {
    this.#histories = this.#histories.filter((each) => each !== history);
  }
}

export class History {
  #done = [];
  #undone = [];

  constructor(budget, steps = MOST_STEPS) {
    this.budget = budget;
    this.steps = steps;
  }

  get undoable() {
    return this.#done.length;
  }

  get redoable() {
    return this.#undone.length;
  }

  get bytes() {
    return [...this.#done, ...this.#undone].reduce((sum, step) => sum + step.bytes, 0);
  }

  /** Remember a step that has just been done. What was undone before it can no longer be done again. */
  push(step) {
    this.#undone = [];
    this.#done.push(step);
    if (this.#done.length > this.steps) this.#done.shift();
    this.budget.used(this);
  }

  /** Undo the last step and return it, or null where there is none. */
  undo() {
    return this.#move(this.#done, this.#undone);
  }

  redo() {
    return this.#move(this.#undone, this.#done);
  }

  /** Forget the step that is farthest from what is shown now. */
  drop() {
    if (this.#done.length) this.#done.shift();
    else this.#undone.shift();
  }

  #move(from, to) {
    const step = from.pop();
    if (!step) return null;
    step.swap();
    to.push(step);
    this.budget.used(this);
    return step;
  }
}
