// Results become files: as the service sent them where nothing was chosen, else composed here at full size.

import { options } from "./style_form.js";
import { canvas, compose, paper, usable } from "./pixels.js";
import { zip } from "./zip.js";

const TYPES = { png: "image/png", webp: "image/webp", jpg: "image/jpeg" };
const QUALITY = 0.92;
const KEPT_MS = 30_000; // A browser may start to read a download a while after the click.

/**
 * The picture of a done `photo` as a blob. Where this browser cannot make it (no WebP, a canvas too large for it),
 * `ask(photo, options)` has the service make it, and may throw a Problem.
 */
export async function picture(photo, style, format, ask) {
  if (format === "png" && style.background === "none" && !style.shadow) return photo.result.blob;
  return await drawn(photo, style, format) ?? ask(photo, options(style, format));
}

async function drawn(photo, style, format) {
  const bitmaps = [];
  try {
    for (const file of [photo.result.blob, style.background === "blur" ? photo.file : null]) {
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
  return `${stem || "photo"}-cutout.${format}`;
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
