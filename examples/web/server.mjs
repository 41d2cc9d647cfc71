// Serves the page to this machine alone: npm start, or npm start -- 9000 for another port.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

import { files, typeOf } from './site.mjs';

/** Starts the server (port 0: any free one) and resolves to { address, close }. */
export async function serve(port = 0) {
  const server = createServer(answer);
  await new Promise((resolve, reject) => {
    server.once('error', reject).listen(port, '127.0.0.1', resolve);
  });
  const address = `http://127.0.0.1:${server.address().port}/`;
  const close = () => new Promise((resolve) => server.close(resolve).closeAllConnections());
  return { address, close };
}

async function answer(request, response) {
  const name = request.url.split('?')[0].slice(1) || 'index.html';
  // A path is looked up in the table, never joined to a folder: no path leads out of the site.
  const file = files.get(name);
  const found = file && (await readFile(file).catch(() => null));
  if (!['GET', 'HEAD'].includes(request.method)) {
    response.writeHead(405, { allow: 'GET, HEAD' }).end();
  } else if (!found) {
    response.writeHead(404, { 'content-type': 'text/plain' }).end(`Not here: ${name}\n`);
  } else {
    response.writeHead(200, {
      'content-type': typeOf(name),
      'content-length': found.length,
      'cache-control': 'no-cache',
      'x-content-type-options': 'nosniff',
    });
    response.end(request.method === 'GET' ? found : undefined);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { address } = await serve(Number(process.argv[2] ?? 8000)).catch((error) => {
    console.error(`No server: ${error.message}. Another port: npm start -- 9000`);
    process.exit(1);
  });
  console.log(`The page is at ${address} (Ctrl+C stops it)`);
}
