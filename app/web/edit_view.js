// Draws the cut-out that is edited: what lies under it, the photo dimly around the brush, and the brush's edge.

import { canvas, layBackground, paper } from "./pixels.js";

const DIM = 0.45; // How much of the photo shines through where it was removed.
const LENS = 1.6; // Radius of what shines through, in the brush's.
const LENS_LEAST = 56; // In CSS pixels.
const PREVIEW = 1600; // Longest side of the background, in pixels.
const SHARP = 4; // CSS pixels per pixel from which pixels are shown as squares.

export class EditView {
  #drawing = 0;
  #background = null;

  /** `surface` is the canvas, `sheet` lies behind it, where the picture is. `scene()` gives what is to be seen, or null. */
  constructor({ surface, sheet, scene }) {
    this.surface = surface;
    this.sheet = sheet;
    this.scene = scene;
  }

  /** Lay the cut-out on what `style` asks for; a shadow is left out while it changes with each stroke. */
  lay({ cutout, original }, style) {
    const scale = Math.min(1, PREVIEW / Math.max(cutout.width, cutout.height));
    this.#background = style.background === "none" ? null : canvas(cutout.width * scale, cutout.height * scale);
    if (this.#background) layBackground(this.#background, cutout, original, style);
    this.draw();
  }

  clear() {
    this.#background = null;
    [this.surface.width, this.surface.height] = [1, 1];
  }

  /** Draw anew; many changes between two frames are one drawing. */
  draw() {
    this.#drawing ||= requestAnimationFrame(() => {
      this.#drawing = 0;
      const scene = this.scene();
      if (scene) this.#paint(scene);
    });
  }

  #paint({ retouched, viewport, cursor, radius, restoring, everywhere }) {
    const { surface } = this;
    const { width, height } = retouched.picture;
    const dense = devicePixelRatio;
    const [wide, high] = [Math.round(surface.clientWidth * dense), Math.round(surface.clientHeight * dense)];
    if (surface.width !== wide) surface.width = wide;
    if (surface.height !== high) surface.height = high;
    const context = paper(surface);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, wide, high);
    const scale = viewport.scale * dense;
    context.setTransform(scale, 0, 0, scale, viewport.x * dense, viewport.y * dense);
    context.imageSmoothingEnabled = viewport.scale < SHARP;
    if (this.#background) context.drawImage(this.#background, 0, 0, width, height);
    const lens = Math.max(radius * LENS, LENS_LEAST / viewport.scale);
    if (retouched.original && (everywhere || cursor)) shine(context, retouched, everywhere ? null : { ...cursor, lens });
    context.drawImage(retouched.picture, 0, 0);
    if (cursor) ring(context, cursor, radius, { restoring, pixel: 1 / viewport.scale });
    for (const [side, length] of [["left", viewport.x], ["top", viewport.y], ["width", width * viewport.scale],
      ["height", height * viewport.scale]]) {
      this.sheet.style.setProperty(side, `${length}px`);
    }
  }
}

/** The photo, dimly: all of it, or within a circle. */
function shine(context, { original, picture }, circle) {
  context.save();
  if (circle) {
    context.beginPath();
    context.arc(circle.x, circle.y, circle.lens, 0, 2 * Math.PI);
    context.clip();
  }
  context.globalAlpha = DIM;
  context.drawImage(original, 0, 0, picture.width, picture.height);
  context.restore();
}

/** Black on white, so that it is seen on every picture; dashed where the brush erases. */
function ring(context, { x, y }, radius, { restoring, pixel }) {
  for (const [colour, width] of [["white", 3.5], ["black", 1.5]]) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.setLineDash(restoring || colour === "white" ? [] : [5 * pixel, 4 * pixel]);
    context.strokeStyle = colour;
    context.lineWidth = width * pixel;
    context.stroke();
  }
  context.setLineDash([]);
}
