// A reader for NumPy's .npz files: float32 arrays, stored or deflated.

import { readFile } from 'node:fs/promises';
import { inflateRawSync } from 'node:zlib';

/** Resolves to { name: { shape, data: Float32Array } }. */
export async function readNpz(path) {
  const zip = await readFile(path);
  const end = zip.lastIndexOf('PK\x05\x06', undefined, 'latin1');
  const arrays = {};
  let at = zip.readUInt32LE(end + 16); // the central directory: local headers may lack the sizes
  for (let left = zip.readUInt16LE(end + 10); left > 0; left--) {
    const [method, size] = [zip.readUInt16LE(at + 10), zip.readUInt32LE(at + 20)];
    const [nameSize, extra, comment] = [28, 30, 32].map((offset) => zip.readUInt16LE(at + offset));
    const local = zip.readUInt32LE(at + 42);
    const name = zip.toString('utf8', at + 46, at + 46 + nameSize);
    const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
    const bytes = zip.subarray(start, start + size);
    arrays[name.replace(/\.npy$/, '')] = readNpy(method === 8 ? inflateRawSync(bytes) : bytes);
    at += 46 + nameSize + extra + comment;
  }
  return arrays;
}

function readNpy(bytes) {
  const [offset, size] = bytes[6] === 1 ? [10, bytes.readUInt16LE(8)] : [12, bytes.readUInt32LE(8)];
  const header = bytes.toString('latin1', offset, offset + size);
  const Numbers = { '<f4': Float32Array, '|u1': Uint8Array }[header.match(/'descr': '([^']*)'/)[1]];
  if (!Numbers || /'fortran_order': True/.test(header)) throw new Error(`Not taken: ${header}`);
  const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(',').filter((n) => n.trim()).map(Number);
  return { shape, data: new Numbers(Uint8Array.from(bytes.subarray(offset + size)).buffer) };
}
