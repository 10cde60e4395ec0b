// The alpha of one cut-out at its full size, where a brush has changed it: in tiles, of which only the changed ones are
// held. So a photo of 12 megapixels costs as much as was painted of it, and a step to undo as much as one stroke.

export const TILE = 256; // Pixels along a side.

export class Alpha {
  #tiles = new Map();

  /** Of a cut-out of `width` × `height` pixels. */
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.columns = Math.ceil(width / TILE);
  }

  get changed() {
    return this.#tiles.size > 0;
  }

  /** The keys of all tiles that have been changed. */
  get keys() {
    return [...this.#tiles.keys()];
  }

  /** One tile's alpha, 0 to 255, row by row; undefined where it is the service's own. */
  get(key) {
    return this.#tiles.get(key);
  }

  set(key, values) {
    if (values) this.#tiles.set(key, values);
    else this.#tiles.delete(key);
  }

  /** Where the tile `key` lies: `{ x, y, width, height }`; those at the right and lower edge are smaller. */
  area(key) {
    const [x, y] = [(key % this.columns) * TILE, Math.floor(key / this.columns) * TILE];
    return { x, y, width: Math.min(TILE, this.width - x), height: Math.min(TILE, this.height - y) };
  }

  /** The keys of the tiles that `area` touches. */
  keysIn({ x, y, width, height }) {
    const found = [];
    for (let row = Math.floor(y / TILE); row * TILE < y + height; row += 1) {
      for (let column = Math.floor(x / TILE); column * TILE < x + width; column += 1) {
        found.push(row * this.columns + column);
      }
    }
    return found;
  }
}

/** A step for a History: the tiles as they were, and after `swap()` as they became. */
export class TileStep {
  /** `before`: per key the tile's values, undefined where it had not been changed. `name` is said when it is undone. */
  constructor(alpha, before, name) {
    this.alpha = alpha;
    this.before = before;
    this.name = name;
    this.bytes = before.size * TILE * TILE;
  }

  get keys() {
    return [...this.before.keys()];
  }

  swap() {
    for (const [key, values] of this.before) {
      this.before.set(key, this.alpha.get(key));
      this.alpha.set(key, values);
    }
  }
}

/** What two areas have in common, or null. */
export function overlap(one, other) {
  const [x, y] = [Math.max(one.x, other.x), Math.max(one.y, other.y)];
  const width = Math.min(one.x + one.width, other.x + other.width) - x;
  const height = Math.min(one.y + one.height, other.y + other.height) - y;
  return width > 0 && height > 0 ? { x, y, width, height } : null;
}
