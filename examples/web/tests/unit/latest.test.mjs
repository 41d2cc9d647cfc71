import assert from 'node:assert/strict';
import { test } from 'node:test';

import { latestWins } from '../../page/latest.js';

test('many requests during a run are one more run, and never two at a time', async () => {
  let [runs, inFlight] = [0, 0];
  const request = latestWins(
    async () => {
      assert.equal(++inFlight, 1);
      runs++;
      await new Promise((resolve) => setTimeout(resolve, 5));
      inFlight--;
    },
    () => Promise.resolve(),
  );
  const first = request();
  await new Promise((resolve) => setTimeout(resolve, 2));
  for (let i = 0; i < 50; i++) request();
  await first;
  assert.equal(runs, 2);
});

test('a run that throws does not block the next one', async () => {
  let calls = 0;
  const request = latestWins(
    () => {
      if (++calls === 1) throw new Error('once');
    },
    () => Promise.resolve(),
  );
  await assert.rejects(request(), /once/);
  await request();
  assert.equal(calls, 2);
});
