// The site as one table, from the path in the browser to the file: the server serves it, and nothing
// else; the build copies it.

import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const core = createRequire(import.meta.url).resolve('@litertjs/core');
const wasm = join(dirname(core), '..', 'wasm');

export const files = new Map([
  ...readdirSync(join(here, 'page')).map((name) => [name, join(here, 'page', name)]),
  ['litert/core.js', core],
  ['litert/wasm-utils.js', createRequire(core).resolve('@litertjs/wasm-utils')],
  ...['litert_wasm_internal', 'litert_wasm_compat_internal'].flatMap((name) =>
    ['.js', '.wasm'].map((end) => [`litert/${name}${end}`, join(wasm, name + end)]),
  ),
  ['digits.tflite', join(here, '..', '..', 'saved_models', 'digits.tflite')],
]);

const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
};

export const typeOf = (name) => TYPES[extname(name)] ?? 'application/octet-stream';
