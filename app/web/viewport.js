// Which part of a picture is on the screen, and how large: zoom and pan. Lengths on the screen are CSS pixels from the
// upper left of what shows it. Knows no element and no picture but its size.

const CLOSEST = 16; // CSS pixels per pixel of the picture.

export class Viewport {
  /** Where the picture's upper left lies on the screen. */
  x = 0;
  y = 0;
  /** CSS pixels per pixel of the picture. */
  scale = 1;
  #picture;
  #screen = { width: 1, height: 1 };
  #fitted = true;

  /** `picture`: `{ width, height }` in its own pixels. */
  constructor(picture) {
    this.#picture = picture;
  }

  /** The screen has become `{ width, height }`: a fitted picture stays fitted, else what is in its middle stays there. */
  resize(screen) {
    const { width, height } = this.#screen;
    this.#screen = screen;
    if (this.#fitted) this.fit();
    else this.pan((screen.width - width) / 2, (screen.height - height) / 2);
  }

  get smallest() {
    return Math.min(this.#screen.width / this.#picture.width, this.#screen.height / this.#picture.height);
  }

  get largest() {
    return Math.max(CLOSEST, this.smallest);
  }

  get middle() {
    return { x: this.#screen.width / 2, y: this.#screen.height / 2 };
  }

  /** The whole picture, in the middle. */
  fit() {
    this.#fitted = true;
    this.scale = this.smallest;
    this.x = (this.#screen.width - this.#picture.width * this.scale) / 2;
    this.y = (this.#screen.height - this.#picture.height * this.scale) / 2;
  }

  /** Enlarge by `factor`; what is at `point` of the screen stays there. */
  zoom(factor, point = this.middle) {
    const scale = Math.min(this.scale * factor, this.largest);
    if (scale <= this.smallest) {
      this.fit();
      return;
    }
    const { x, y } = this.toPicture(point);
    this.#fitted = false;
    this.scale = scale;
    this.x = point.x - x * scale;
    this.y = point.y - y * scale;
    this.#hold();
  }

  /** Move the picture by so much on the screen. */
  pan(x, y) {
    this.#fitted = false;
    this.x += x;
    this.y += y;
    this.#hold();
  }

  /** Move as little as brings `point` of the picture to `margin` from the screen's edges or farther in. */
  follow(point, margin) {
    const { x, y } = this.toScreen(point);
    const inside = (at, size) => Math.min(Math.max(at, Math.min(margin, size / 2)), Math.max(size - margin, size / 2));
    const [dx, dy] = [inside(x, this.#screen.width) - x, inside(y, this.#screen.height) - y];
    if (this.scale > this.smallest && (dx || dy)) this.pan(dx, dy);
  }

  toPicture({ x, y }) {
    return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale };
  }

  toScreen({ x, y }) {
    return { x: x * this.scale + this.x, y: y * this.scale + this.y };
  }

  /** The picture never leaves: the middle of the screen always lies on it. So its edges can be painted in the middle. */
  #hold() {
    const { x, y } = this.middle;
    this.x = Math.min(Math.max(this.x, x - this.#picture.width * this.scale), x);
    this.y = Math.min(Math.max(this.y, y - this.#picture.height * this.scale), y);
  }
}
