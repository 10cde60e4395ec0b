// A round brush with a soft edge: strokes come in as points, alpha goes out. Knows no screen, no colour and no page.

import { overlap, TileStep } from "./alpha.js";

const CORE = 0.5; // Share of the radius in which the brush is at full strength.

/** How much of the brush lies `distance` from its path, 0 to 1: all of it in its core, nothing beyond its radius. */
export function strength(distance, radius) {
  const rest = Math.min(Math.max((radius - distance) / (radius * (1 - CORE)), 0), 1);
  return rest * rest * (3 - 2 * rest);
}

/**
 * One stroke. A pixel takes the strongest that the stroke had for it, not their sum: a slow hand and a quick one, with
 * many points or few, leave the same soft edge.
 */
export class Stroke {
  #before = new Map();
  #cover = new Map();
  #last = null;

  /** `base(key)`: a tile's alpha as the service made it. `to`: 255 restores, 0 erases. `radius` in pixels. */
  constructor(alpha, base, { to, radius, name }) {
    this.alpha = alpha;
    this.base = base;
    this.to = to;
    this.radius = radius;
    this.name = name;
  }

  /** Go on to a point, or begin there. Returns the area of pixels that may have changed, or null. */
  extend(point) {
    const from = this.#last ?? point;
    this.#last = point;
    const { radius, alpha } = this;
    const left = Math.floor(Math.min(from.x, point.x) - radius);
    const top = Math.floor(Math.min(from.y, point.y) - radius);
    const reach = {
      x: left,
      y: top,
      width: Math.ceil(Math.max(from.x, point.x) + radius) - left,
      height: Math.ceil(Math.max(from.y, point.y) + radius) - top,
    };
    const area = overlap(reach, { x: 0, y: 0, width: alpha.width, height: alpha.height });
    for (const key of area ? alpha.keysIn(area) : []) this.#paint(key, area, from, point);
    return area;
  }

  /** The step to remember, or null where the stroke met no pixel. */
  end() {
    return this.#before.size ? new TileStep(this.alpha, this.#before, this.name) : null;
  }

  #paint(key, area, from, to) {
    const tile = this.alpha.area(key);
    const { x, y, width, height } = overlap(tile, area);
    const near = segment(from, to);
    const half = Math.hypot(tile.width, tile.height) / 2;
    if (near(tile.x + tile.width / 2, tile.y + tile.height / 2) > half + this.radius) return;
    let opened = this.#cover.has(key) ? this.#open(key, tile) : null;
    for (let row = y; row < y + height; row += 1) {
      for (let column = x; column < x + width; column += 1) {
        const at = (row - tile.y) * tile.width + column - tile.x;
        if (opened?.cover[at] === 255) continue;
        const cover = Math.round(strength(near(column + 0.5, row + 0.5), this.radius) * 255);
        if (!cover) continue;
        opened ??= this.#open(key, tile);
        if (cover <= opened.cover[at]) continue;
        opened.cover[at] = cover;
        opened.values[at] = Math.round(opened.was[at] + (this.to - opened.was[at]) * cover / 255);
      }
    }
  }

  /** A tile's arrays; the first time its values are copied, so that those of before stay as they were. */
  #open(key, tile) {
    if (!this.#cover.has(key)) {
      const before = this.alpha.get(key);
      this.#before.set(key, before);
      const was = before ?? this.base(key);
      this.#cover.set(key, { was, cover: new Uint8Array(tile.width * tile.height) });
      this.alpha.set(key, was.slice());
    }
    return { ...this.#cover.get(key), values: this.alpha.get(key) };
  }
}

/** The distance of a point from the line between two. */
function segment(from, to) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const square = dx * dx + dy * dy;
  return (x, y) => {
    const along = square && Math.min(Math.max(((x - from.x) * dx + (y - from.y) * dy) / square, 0), 1);
    const [ex, ey] = [x - from.x - along * dx, y - from.y - along * dy];
    return Math.sqrt(ex * ex + ey * ey);
  };
}
