// Work is done a few at a time, and what failed only for now is tried again. Knows no photo and no page.

const MOST_WAITING_S = 120;
const LONGEST_PAUSE_S = 30;
const LOST_CONNECTIONS = 3;
const BUSY = new Set([429, 503]);

/** Runs `work(item)` for each item that is added, in that order, at most `places` at once. */
export class Queue {
  #waiting = [];
  #running = 0;

  constructor(places, work) {
    this.places = places;
    this.work = work;
  }

  add(item) {
    this.#waiting.push(item);
    this.#start();
  }

  /** Forget an item that has not started. */
  drop(item) {
    this.#waiting = this.#waiting.filter((other) => other !== item);
  }

  async #start() {
    if (this.#running >= this.places || !this.#waiting.length) return;
    this.#running += 1;
    try {
      await this.work(this.#waiting.shift());
    } finally {
      this.#running -= 1;
      this.#start();
    }
  }
}

/**
 * `attempt()` until it succeeds. After a 429 or 503 it waits as long as Retry-After asks (or longer each time where
 * it is not given), for two minutes in all; after a lost connection three attempts are made. `onPause(seconds, problem)`
 * is told of each wait. Throws what the last attempt threw.
 */
export async function untilDone(attempt, { signal, onPause }) {
  let waited = 0;
  for (let tries = 1; ; tries += 1) {
    try {
      return await attempt();
    } catch (problem) {
      const pause = pauseAfter(problem, tries);
      if (pause === null || waited + pause > MOST_WAITING_S) throw problem;
      onPause(pause, problem);
      await sleep(pause, signal);
      waited += pause;
    }
  }
}

function pauseAfter(problem, tries) {
  const backOff = Math.min(2 ** (tries - 1) / 2, LONGEST_PAUSE_S);
  // No less than half a second, whatever Retry-After says: a zero must not become a storm.
  if (BUSY.has(problem.status)) return Math.max(problem.retryAfter ?? backOff, 0.5);
  return problem.status === 0 && tries < LOST_CONNECTIONS ? backOff : null;
}

function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}
