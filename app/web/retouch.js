// A cut-out whose alpha was changed, as a picture at full size: where more is kept than the service kept, the colours
// come from the photo. Knows no brush and no screen.

import { overlap } from "./alpha.js";
import { canvas, paper, usable } from "./pixels.js";

export class Retouched {
  #scratch = paper(canvas(1, 1), { willReadFrequently: true });

  /**
   * `cutout` is the service's picture as a bitmap, `original` the photo's or null where it cannot be read: then nothing
   * can be restored. Throws RangeError where the browser has no canvas of that size.
   */
  constructor(cutout, original, alpha) {
    this.cutout = cutout;
    this.original = original;
    this.alpha = alpha;
    this.picture = canvas(cutout.width, cutout.height);
    if (!usable(this.picture)) throw new RangeError("This picture is too large to be edited in this browser.");
    paper(this.picture).clearRect(0, 0, cutout.width, cutout.height);
    paper(this.picture).drawImage(cutout, 0, 0);
    this.redraw(alpha.keys);
  }

  close() {
    this.cutout.close();
    this.original?.close();
    [this.picture.width, this.picture.height] = [1, 1];
  }

  /** The alpha of a tile as the service made it. */
  base(key) {
    const { data } = this.#read(this.cutout, this.alpha.area(key));
    return Uint8Array.from({ length: data.length / 4 }, (_, at) => data[at * 4 + 3]);
  }

  /** The alpha of the pixel at a point, 0 to 255. */
  alphaAt({ x, y }) {
    const [column, row] = [Math.min(Math.floor(x), this.alpha.width - 1), Math.min(Math.floor(y), this.alpha.height - 1)];
    const pixel = { x: column, y: row, width: 1, height: 1 };
    const [key] = this.alpha.keysIn(pixel);
    const tile = this.alpha.area(key);
    const values = this.alpha.get(key);
    if (values) return values[(row - tile.y) * tile.width + column - tile.x];
    return this.#read(this.cutout, pixel).data[3];
  }

  /** Bring the picture up to date: those tiles, or what `area` has of them. */
  redraw(keys, area = null) {
    for (const key of keys) {
      const tile = this.alpha.area(key);
      const part = area ? overlap(tile, area) : tile;
      if (part) this.#draw(key, tile, part);
    }
  }

  /** As a PNG. */
  async toBlob() {
    return new Promise((resolve, reject) => {
      const done = (blob) => (blob ? resolve(blob) : reject(new RangeError("The browser has no memory for this picture.")));
      this.picture.toBlob(done, "image/png");
    });
  }

  #draw(key, tile, part) {
    const made = this.#read(this.cutout, part);
    const alpha = this.alpha.get(key);
    if (alpha) {
      const photo = this.original ? this.#read(this.original, part).data : made.data;
      for (let row = 0; row < part.height; row += 1) {
        const from = (part.y + row - tile.y) * tile.width + part.x - tile.x;
        blend(made.data, photo, alpha.subarray(from, from + part.width), row * part.width * 4);
      }
    }
    paper(this.picture).putImageData(made, part.x, part.y);
  }

  /** The pixels of an area, in the cut-out's measure. */
  #read(bitmap, { x, y, width, height }) {
    const scratch = this.#scratch;
    if (scratch.canvas.width < width) scratch.canvas.width = width;
    if (scratch.canvas.height < height) scratch.canvas.height = height;
    scratch.clearRect(0, 0, width, height);
    const [right, down] = [bitmap.width / this.cutout.width, bitmap.height / this.cutout.height];
    scratch.drawImage(bitmap, x * right, y * down, width * right, height * down, 0, 0, width, height);
    return scratch.getImageData(0, 0, width, height);
  }
}

/**
 * Give a row of cut-out pixels (RGBA in `made`, from `at` on) their new `alpha`. What is kept beyond the service's alpha
 * takes the photo's colour by as much as it was brought back: all of it once it is opaque.
 */
function blend(made, photo, alpha, at) {
  for (const [column, now] of alpha.entries()) {
    const pixel = at + column * 4;
    const was = made[pixel + 3];
    made[pixel + 3] = now;
    if (now <= was) continue;
    const own = was * (255 - now) / (255 - was) / now; // Weight of the cut-out's own colour.
    for (let channel = pixel; channel < pixel + 3; channel += 1) {
      made[channel] = Math.round(made[channel] * own + photo[channel] * (1 - own));
    }
  }
}
