// Files come in by drop, paste or choice; those that the service would refuse by type or size are told why.

import { Problem, readable } from "./service.js";

const KINDS = new Set(["jpeg", "png", "webp", "heic", "heif", "avif", "tiff", "bmp", "gif"].map((kind) => `image/${kind}`));
const NAMES = /\.(heic|heif|hif|tiff?)$/i; // Many browsers know no type for these.
const STARTS = [
  /^\xff\xd8\xff/, /^\x89PNG/, /^RIFF[^]{4}WEBP/, /^GIF8[79]a/, /^II\*\0/, /^MM\0\*/, /^BM/,
  /^[^]{4}ftyp(hei[cxms]|hev[cx]|avi[fs]|mif1|msf1)/,
];
const FORM_BYTES = 1000; // What the form adds to the file in a request body, generously.

/**
 * The Problem of a file that need not be sent, or null; with the status that the service would answer. Judged by its
 * first bytes, as the service does: a name may lie.
 */
export async function refusal(file, { uploadBytes }) {
  if (file.size + FORM_BYTES > uploadBytes) {
    const detail = `It has ${readable(file.size)}; at most ${readable(uploadBytes)} are accepted.`;
    return new Problem("File too large", detail, { status: 413 });
  }
  let head;
  try {
    head = new Uint8Array(await file.slice(0, 12).arrayBuffer());
  } catch {
    return new Problem("File cannot be read", "It is a folder, or it was moved or changed meanwhile.", { status: 400 });
  }
  if (isPhoto(head)) return null;
  const detail = "Please choose a JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP or GIF file.";
  return new Problem("Not a photo that can be read", detail, { status: 415 });
}

function isPhoto(head) {
  const text = String.fromCharCode(...head);
  return STARTS.some((start) => start.test(text));
}

/** Whether a drag or a paste carries files. */
export function hasFiles(transfer) {
  return transfer?.types.includes("Files") ?? false;
}

/** All files of a drop or a paste; of a dropped folder the photos in it, however deep. */
export async function filesOf(transfer) {
  // Entries must be taken before the first await: afterwards the list is empty.
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const taken = items.map((item) => [item.getAsFile(), item.webkitGetAsEntry?.()]);
  const lists = await Promise.all(
    taken.map(([file, entry]) => (entry?.isDirectory ? photosIn(entry) : file ? [file] : [])),
  );
  return lists.flat();
}

async function photosIn(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
    return KINDS.has(file.type) || NAMES.test(file.name) ? [file] : [];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A reader gives a hundred entries at a time, and none at the end.
    const entries = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (!entries.length) return found;
    for (const inner of entries) found.push(...await photosIn(inner));
  }
}
