// Photo and cut-out come in as bitmaps, pictures on canvases go out. One recipe for the preview and for the download:
// every length is a share of the picture's own size. Knows no file name, no service and no form.

// The service's own: standard deviations of the least blur and of the strongest, the shadow's, and how far it falls, as
// shares of the longer side.
const BLUR_LEAST = 0.003;
const BLUR_MOST = 0.03;
const SHADOW_SOFTNESS = 0.02;
const SHADOW_FALL = 0.015;
const CELLS = 2; // Pixels per standard deviation that a blur is worked out at: it has no finer detail.
const ANYWHERE = 0.001; // Weight of the background's mean, for what is farther behind the person than the blur reaches.

export function canvas(width, height) {
  const made = document.createElement("canvas");
  made.width = Math.max(1, Math.round(width));
  made.height = Math.max(1, Math.round(height));
  return made;
}

/** What draws on `target`. `how` counts the first time: see getContext. */
export function paper(target, how = {}) {
  const context = target.getContext("2d", how);
  context.imageSmoothingQuality = "high";
  return context;
}

/** Some browsers take drawings on a canvas that is too large for them, and keep nothing. */
export function usable(target) {
  const [x, y] = [target.width - 1, target.height - 1];
  paper(target).fillRect(x, y, 1, 1);
  return paper(target).getImageData(x, y, 1, 1).data[3] === 255;
}

/** Decode a file to an upright canvas whose longest side is at most `longest` pixels. Throws where it cannot. */
export async function decode(file, longest) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, longest / Math.max(bitmap.width, bitmap.height));
  const made = canvas(bitmap.width * scale, bitmap.height * scale);
  paper(made).drawImage(bitmap, 0, 0, made.width, made.height);
  bitmap.close();
  return made;
}

/** Draw `source` over all of `target`, cut on two sides where their shapes differ. */
export function cover(target, source) {
  const scale = Math.max(target.width / source.width, target.height / source.height);
  const [width, height] = [source.width * scale, source.height * scale];
  paper(target).drawImage(source, (target.width - width) / 2, (target.height - height) / 2, width, height);
}

/**
 * Lay `cutout` on what `style` asks for, all over `target`.
 * `style`: `{ background: "none" | "colour" | "picture" | "blur", colour, picture, blur, shadow }`; `picture` is a
 * canvas, `blur` 1 to 100, `shadow` 0 to 100. `original` is only needed for blur.
 */
export function compose(target, cutout, original, style) {
  const context = paper(target);
  const { width, height } = target;
  layBackground(target, cutout, original, style);
  if (style.shadow) {
    context.shadowColor = `rgb(0 0 0 / ${style.shadow}%)`;
    context.shadowBlur = longest(target) * SHADOW_SOFTNESS * 2; // A canvas means twice the standard deviation.
    context.shadowOffsetY = longest(target) * SHADOW_FALL;
  }
  context.drawImage(cutout, 0, 0, width, height);
  context.shadowColor = "transparent";
}

/** What `compose` lays under the cut-out, alone. */
export function layBackground(target, cutout, original, style) {
  const context = paper(target);
  const { width, height } = target;
  context.clearRect(0, 0, width, height);
  if (style.background === "colour") {
    context.fillStyle = style.colour;
    context.fillRect(0, 0, width, height);
  } else if (style.background === "picture" && style.picture) {
    cover(target, style.picture);
  } else if (style.background === "blur" && original) {
    blurred(target, cutout, original, style.blur);
  }
}

/**
 * The photo without its person, blurred, over all of `target`: a mean of what is near, in which a pixel counts by as
 * much as it is background. So the person leaves no halo. Worked out here: not every browser's canvas has filters.
 */
function blurred(target, cutout, original, strength) {
  const deviation = BLUR_LEAST + (BLUR_MOST - BLUR_LEAST) * strength / 100;
  const side = Math.min(CELLS / deviation, longest(original));
  // Down by halves: shrunk in one step, fine patterns would leave spots.
  const steps = side * 4 <= longest(original) ? 2 : 0;
  let small = holed(cutout, original, side * 2 ** steps);
  for (let step = 0; step < steps; step += 1) small = resized(small, 0.5);
  const picture = paper(small).getImageData(0, 0, small.width, small.height);
  paper(small).putImageData(meanAround(picture, deviation * longest(small)), 0, 0);
  while (longest(small) * 2 < longest(target)) small = resized(small, 2);
  paper(target).drawImage(small, 0, 0, target.width, target.height);
}

/** `picture` with each colour replaced by the Gaussian mean of those around it, weighed by alpha; opaque. */
function meanAround({ data, width, height }, deviation) {
  const sums = new Float32Array(data.length);
  const all = [0, 0, 0, 0];
  for (let at = 0; at < data.length; at += 4) {
    for (let channel = 0; channel < 4; channel += 1) {
      sums[at + channel] = data[at + 3] * (channel < 3 ? data[at + channel] : 1);
      all[channel] += sums[at + channel];
    }
  }
  const near = smoothed(smoothed(sums, width, height, 1, width, deviation), height, width, width, 1, deviation);
  const whole = all.map((sum) => (all[3] ? sum / all[3] : 1) * ANYWHERE);
  const means = new ImageData(width, height);
  for (let at = 0; at < data.length; at += 1) {
    const weight = at | 3; // Where its pixel's alpha is.
    means.data[at] = at === weight ? 255 : (near[at] + whole[at & 3]) / (near[weight] + ANYWHERE);
  }
  return means;
}

/** One direction of a Gaussian blur of four channels: `lines` lines of `length` pixels, `step` and `line` apart. */
function smoothed(values, length, lines, step, line, deviation) {
  const reach = Math.ceil(deviation * 3);
  const kernel = Float32Array.from({ length: 2 * reach + 1 }, (_, at) => Math.exp(-(((at - reach) / deviation) ** 2) / 2));
  const total = kernel.reduce((sum, weight) => sum + weight);
  const result = new Float32Array(values.length);
  for (let row = 0; row < lines; row += 1) {
    for (let column = 0; column < length; column += 1) {
      const to = 4 * (row * line + column * step);
      for (let tap = -reach; tap <= reach; tap += 1) {
        // At the edge the picture goes on as its last pixel.
        const from = 4 * (row * line + Math.min(Math.max(column + tap, 0), length - 1) * step);
        const weight = kernel[tap + reach] / total;
        for (let channel = 0; channel < 4; channel += 1) result[to + channel] += weight * values[from + channel];
      }
    }
  }
  return result;
}

function holed(cutout, original, side) {
  const scale = side / longest(original);
  const made = canvas(original.width * scale, original.height * scale);
  const context = paper(made);
  context.drawImage(original, 0, 0, made.width, made.height);
  context.globalCompositeOperation = "destination-out";
  context.drawImage(cutout, 0, 0, made.width, made.height);
  return made;
}

function resized(source, scale) {
  const made = canvas(source.width * scale, source.height * scale);
  paper(made).drawImage(source, 0, 0, made.width, made.height);
  return made;
}

function longest(picture) {
  return Math.max(picture.width, picture.height);
}
