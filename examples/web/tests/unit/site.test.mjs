import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { after, before, test } from 'node:test';

import { serve } from '../../server.mjs';
import { files } from '../../site.mjs';

let server;
before(async () => (server = await serve()));
after(() => server.close());

test('the policy names the hash of the import map', async () => {
  const html = await readFile(files.get('index.html'), 'utf8');
  const map = html.match(/<script type="importmap">(.*?)<\/script>/s)[1];
  assert.ok(html.includes(`'sha256-${createHash('sha256').update(map).digest('base64')}'`));
});

test('every file is there, with its type', async () => {
  const types = { 'index.html': /text\/html/, 'main.js': /javascript/, 'litert/core.js': /javascript/ };
  types['litert/litert_wasm_internal.wasm'] = /^application\/wasm$/;
  for (const name of files.keys()) {
    const response = await fetch(server.address + name, { method: 'HEAD' });
    assert.equal(response.status, 200, name);
    assert.match(response.headers.get('content-type'), types[name] ?? /./, name);
  }
});

test('no path leads out of the site', async () => {
  // Not fetch: it would tidy the path up before it sends it.
  const status = (path) =>
    new Promise((resolve) => {
      const { hostname, port } = new URL(server.address);
      request({ hostname, port, path }, (response) => resolve(response.resume().statusCode)).end();
    });
  const outside = ['/../site.mjs', '/%2e%2e/site.mjs', '//etc/passwd', '/litert/../../site.mjs'];
  for (const path of outside) {
    assert.equal(await status(path), 404, path);
  }
  assert.equal(await status('/?from=elsewhere'), 200);
});

test('only reading is allowed', async () => {
  assert.equal((await fetch(server.address, { method: 'POST' })).status, 405);
});
