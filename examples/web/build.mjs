// Copies all that the page needs to dist/, ready for any static host: npm run build

import { copyFile, mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { files } from './site.mjs';

const dist = join(dirname(fileURLToPath(import.meta.url)), 'dist');

await rm(dist, { recursive: true, force: true });
for (const [name, file] of files) {
  await mkdir(dirname(join(dist, name)), { recursive: true });
  await copyFile(file, join(dist, name));
}
console.log(`${files.size} files in dist/`);
