// Files come in as blobs, one ZIP file goes out, its contents stored as they are: pictures are compressed already.
// Format: PKWARE's APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16.

const MOST_BYTES = 0xffffffff; // Of the whole file; beyond it the format wants ZIP64.
const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const VERSION = 20;
const UTF8_NAMES = 0x0800;
const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** `entries`: `{ name, blob }`, names unlike each other. Throws RangeError beyond 4 GiB. Blobs are not copied. */
export async function zip(entries) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name, blob } of entries) {
    const bytes = new TextEncoder().encode(name);
    const facts = [crc32(new Uint8Array(await blob.arrayBuffer())), blob.size, blob.size];
    // Version, flags, method 0 (stored), time and date 1 January 1980, checksum, sizes, lengths of name and extra.
    const common = [[2, VERSION], [2, UTF8_NAMES], [2, 0], [2, 0], [2, 0x21], ...facts.map((fact) => [4, fact]),
      [2, bytes.length], [2, 0]];
    const local = record([[4, LOCAL], ...common]);
    parts.push(local, bytes, blob);
    directory.push(record([[4, CENTRAL], [2, VERSION], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]), bytes);
    offset += local.length + bytes.length + blob.size;
    if (offset > MOST_BYTES) throw new RangeError("These pictures are too large for one ZIP file; save them one by one.");
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const count = [2, entries.length];
  const end = record([[4, END], [2, 0], [2, 0], count, count, [4, size], [4, offset], [2, 0]]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

function record(fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return new Uint8Array(view.buffer);
}

/** The checksum of ZIP and PNG files. */
export function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}
