// Results become files: as the service sent them where nothing was chosen, else composed here at full size.

import { options } from "./style_form.js";
import { canvas, compose, paper, usable } from "./pixels.js";
import { greyPng } from "./png.js";
import { Problem } from "./service.js";
import { zip } from "./zip.js";

const TYPES = { png: "image/png", webp: "image/webp", jpg: "image/jpeg" };
const QUALITY = 0.92;
const STRIP = 256; // Rows of a matte that are read at a time.
const KEPT_MS = 30_000; // A browser may start to read a download a while after the click.

/**
 * The picture of a done `photo` as a blob. Where this browser cannot make it (no WebP, a canvas too large for it),
 * `ask(photo, options, route)` has the service make it, and may throw a Problem. `format` "matte" is the alpha alone.
 */
export async function picture(photo, style, format, ask) {
  if (format === "png" && style.background === "none" && !style.shadow) return photo.cutout;
  const made = await (format === "matte" ? matte(photo.cutout) : drawn(photo, style, format));
  if (made) return made;
  if (photo.edited) {
    // The service knows nothing of what was painted here.
    throw new Problem("This browser cannot make that file.", "As a PNG without a background it can be saved.");
  }
  return format === "matte" ? ask(photo, {}, "v1/matte") : ask(photo, options(style, format));
}

/** The alpha of a cut-out as a grey PNG, or null where this browser cannot. */
async function matte(blob) {
  let cutout;
  try {
    cutout = await createImageBitmap(blob);
    const { width, height } = cutout;
    const strip = paper(canvas(width, Math.min(STRIP, height)), { willReadFrequently: true });
    const row = (y) => {
      if (y % STRIP === 0) {
        strip.clearRect(0, 0, width, STRIP);
        strip.drawImage(cutout, 0, -y);
      }
      const { data } = strip.getImageData(0, y % STRIP, width, 1);
      return Uint8Array.from({ length: width }, (_, x) => data[x * 4 + 3]);
    };
    return await greyPng(width, height, row);
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  } finally {
    cutout?.close();
  }
}

async function drawn(photo, style, format) {
  const bitmaps = [];
  try {
    for (const file of [photo.cutout, style.background === "blur" ? photo.file : null]) {
      bitmaps.push(file && await createImageBitmap(file));
    }
    const [cutout, original] = bitmaps;
    const target = canvas(cutout.width, cutout.height);
    if (!usable(target)) return null;
    compose(target, cutout, original, style);
    if (format === "jpg") {
      const context = paper(target);
      context.globalCompositeOperation = "destination-over";
      context.fillStyle = "white";
      context.fillRect(0, 0, target.width, target.height);
    }
    const blob = await new Promise((resolve) => { target.toBlob(resolve, TYPES[format], QUALITY); });
    return blob?.type === TYPES[format] ? blob : null;
  } catch (error) {
    if (error instanceof DOMException) return null; // Not enough memory, or a file that only the service can read.
    throw error;
  } finally {
    for (const bitmap of bitmaps) bitmap?.close();
  }
}

/** Offer `blob` as a download. */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
}

export function fileName(photo, format) {
  const stem = photo.name.replace(/\.[^.]*$/, "").replace(/[\\/:*?"<>|\p{Cc}]/gu, "_");
  return format === "matte" ? `${stem || "photo"}-matte.png` : `${stem || "photo"}-cutout.${format}`;
}

/**
 * One ZIP file of several photos. `onProgress(number)` counts from 1. A picture that fails does not stop the others.
 * Returns `{ blob, failures }`, the failures as the photos that are missing.
 */
export async function archive(photos, style, format, { ask, onProgress }) {
  const entries = [];
  const failures = [];
  const names = new Set();
  for (const [index, photo] of photos.entries()) {
    onProgress(index + 1);
    try {
      const blob = await picture(photo, style, format, ask);
      entries.push({ name: unlike(fileName(photo, format), names), blob });
    } catch {
      failures.push(photo);
    }
  }
  return { blob: await zip(entries), failures };
}

function unlike(name, names) {
  const [, stem, ending] = /^(.*)(\.\w+)$/s.exec(name);
  let found = name;
  // Without regard to case: some systems would unpack one over the other.
  for (let number = 2; names.has(found.toLowerCase()); number += 1) found = `${stem}-${number}${ending}`;
  names.add(found.toLowerCase());
  return found;
}
