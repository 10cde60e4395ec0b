// Alpha comes in, a PNG file of one grey channel goes out, as POST /v1/matte makes it: a canvas knows no grey.
// Format: PNG, third edition, sections 5, 10 and 11.

import { crc32 } from "./zip.js";

const SIGNATURE = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
const GREY = [8, 0, 0, 0, 0]; // Bits, colour type, compression, filter and interlace methods.

/** A blob; `row(y)` gives each row's values, `width` of 0 to 255. */
export async function greyPng(width, height, row) {
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  GREY.forEach((value, at) => header.setUint8(8 + at, value));
  const lines = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y += 1) filter(row(y), lines.subarray(y * (width + 1), (y + 1) * (width + 1)));
  const packed = new Blob([lines]).stream().pipeThrough(new CompressionStream("deflate"));
  const data = new Uint8Array(await new Response(packed).arrayBuffer());
  const parts = [["IHDR", new Uint8Array(header.buffer)], ["IDAT", data], ["IEND", new Uint8Array()]];
  return new Blob([SIGNATURE, ...parts.flatMap(([type, body]) => chunk(type, body))], { type: "image/png" });
}

/** Filter 1: each value less its left neighbour. Mattes are flat nearly everywhere, so most become zeros. */
function filter(values, line) {
  line[0] = 1;
  for (let x = 0; x < values.length; x += 1) line[x + 1] = values[x] - (x ? values[x - 1] : 0);
}

function chunk(type, body) {
  const inner = new Uint8Array(4 + body.length);
  inner.set(new TextEncoder().encode(type));
  inner.set(body, 4);
  return [number(body.length), inner, number(crc32(inner))];
}

function number(value) {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, value);
  return new Uint8Array(view.buffer);
}
