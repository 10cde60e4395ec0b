// Mouse, pen, fingers and wheel over the picture that is edited become strokes, zoom and pan. Points are CSS pixels from
// its upper left. Knows no picture: what a gesture means is done by `target`.

const WHEEL_ZOOM = 0.0022; // Of the natural logarithm of the scale, per pixel that a wheel turns.
const WHEEL_PINCH = 0.01; // The same where a touchpad is pinched: browsers tell it as a wheel with Ctrl, in small steps.
const NOTCH = 40; // From here on it is a mouse's wheel.
const LINE = 16; // Pixels per line, for browsers that count in lines.

export class Gestures {
  #pointers = new Map();
  #mode = null; // "paint", "pan" or "pinch".
  #space = false;

  /**
   * `target` has `begin(point)`, `extend(points)`, `end()` and `cancel()` of a stroke, `hover(point or null)`,
   * `zoom(factor, point)`, `pan(x, y)` and `resize(steps)` of the brush.
   */
  constructor(surface, target) {
    this.surface = surface;
    this.target = target;
    const on = (name, act) => surface.addEventListener(name, act);
    on("pointerdown", (event) => this.#down(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#up(event));
    on("pointercancel", (event) => this.#lost(event));
    on("pointerleave", () => this.#pointers.size || target.hover(null));
    on("wheel", (event) => this.#wheel(event));
    on("contextmenu", (event) => event.preventDefault()); // A long press of a finger would end its stroke.
    on("keydown", (event) => event.key === " " && this.#hold(event, true));
    on("keyup", (event) => event.key === " " && this.#hold(event, false));
    on("blur", () => this.#grip(false));
  }

  /** Give up what is under way. */
  stop() {
    if (this.#mode === "paint") this.target.cancel();
    this.#pointers.clear();
    this.#mode = null;
    this.#grip(false);
  }

  #down(event) {
    if (event.button > 1) return;
    this.surface.focus({ preventScroll: true });
    event.preventDefault();
    this.surface.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, this.#point(event));
    if (this.#pointers.size > 1) {
      if (this.#mode === "paint") this.target.cancel(); // The first of two fingers was no stroke.
      this.#mode = "pinch";
      this.target.hover(null);
    } else if (event.button === 1 || this.#space) {
      this.#mode = "pan";
    } else {
      this.#mode = "paint";
      this.target.hover(this.#point(event));
      this.target.begin(this.#point(event));
    }
  }

  #move(event) {
    const point = this.#point(event);
    const before = this.#pointers.get(event.pointerId);
    if (!before) {
      this.target.hover(point);
      return;
    }
    const pair = this.#pair();
    this.#pointers.set(event.pointerId, point);
    if (this.#mode === "paint") {
      const all = event.getCoalescedEvents?.() ?? [];
      this.target.extend((all.length ? all : [event]).map((each) => this.#point(each)));
      this.target.hover(point);
    } else if (this.#mode === "pan") {
      this.target.pan(point.x - before.x, point.y - before.y);
    } else if (this.#mode === "pinch" && pair) {
      const now = this.#pair();
      this.target.zoom(now.apart / pair.apart, pair.middle);
      this.target.pan(now.middle.x - pair.middle.x, now.middle.y - pair.middle.y);
    }
  }

  #up(event) {
    if (!this.#pointers.delete(event.pointerId)) return;
    if (this.#mode === "paint") this.target.end();
    if (event.pointerType === "touch") this.target.hover(null);
    // A finger that stays after a pinch paints nothing.
    if (!this.#pointers.size) this.#mode = null;
  }

  #lost(event) {
    if (this.#pointers.has(event.pointerId) && this.#mode === "paint") this.target.cancel();
    this.#pointers.delete(event.pointerId);
    if (!this.#pointers.size) this.#mode = null;
  }

  #wheel(event) {
    event.preventDefault();
    const turned = (event.deltaY || event.deltaX) * (event.deltaMode ? LINE : 1);
    if (event.ctrlKey || event.metaKey) {
      const speed = Math.abs(turned) < NOTCH ? WHEEL_PINCH : WHEEL_ZOOM;
      this.target.zoom(Math.exp(-turned * speed), this.#point(event));
    } else if (turned) {
      this.target.resize(-Math.sign(turned));
    }
  }

  #hold(event, held) {
    event.preventDefault(); // Else the page would scroll.
    this.#grip(held);
  }

  #grip(held) {
    this.#space = held;
    this.surface.classList.toggle("grip", held);
  }

  #pair() {
    const [one, other] = this.#pointers.values();
    if (!other) return null;
    return {
      middle: { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 },
      apart: Math.max(Math.hypot(one.x - other.x, one.y - other.y), 1),
    };
  }

  #point({ clientX, clientY }) {
    const { left, top } = this.surface.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  }
}
