import assert from 'node:assert/strict';
import { test } from 'node:test';

import { best, described, quadrilateral, softmax } from '../../page/geometry.js';
import { degrees, signed } from '../../page/view.js';

test('the identity reads the whole canvas, from the top left, clockwise', () => {
  assert.deepEqual(quadrilateral([1, 0, 0, 0, 1, 0]), [[0, 0], [40, 0], [40, 40], [0, 40]]);
});

test('a translation by 0.5 looks a quarter of the canvas further', () => {
  assert.deepEqual(quadrilateral([1, 0, 0.5, 0, 1, -0.25])[0], [10, -5]);
});

test('a turned digit is followed clockwise', () => {
  const [c, s] = [Math.cos(Math.PI / 6), Math.sin(Math.PI / 6)];
  const map = described([0.8 * c, -0.8 * s, 0.1, 0.8 * s, 0.8 * c, -0.2]);
  assert.ok(Math.abs(map.turn - 30) < 1e-9);
  assert.ok(Math.abs(map.zoom - 1.25) < 1e-9);
  assert.deepEqual([map.x, map.y], [2, -4]);
});

test('softmax sums to one, keeps the order and takes large logits', () => {
  const probabilities = softmax(new Float32Array([1000, 998, -1000]));
  assert.ok(Math.abs(probabilities.reduce((a, b) => a + b) - 1) < 1e-12);
  assert.equal(best(probabilities), 0);
  assert.ok(Math.abs(probabilities[1] / probabilities[0] - Math.exp(-2)) < 1e-12);
});

test('numbers read well: a real minus, and none before zero', () => {
  assert.equal(degrees(-12.4), '−12°');
  assert.equal(signed(-0.04, 1), '0.0');
});
