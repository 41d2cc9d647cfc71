import assert from 'node:assert/strict';
import { test } from 'node:test';

import { paintDigit, paintStrokes, recentred } from '../../page/paint.js';
import { UPRIGHT } from '../../page/pose.js';

const POSE = { turn: 33, scale: 1.2, x: 3, y: -5 };
const digit = Uint8Array.from({ length: 784 }, (_, i) => (i * 37) % 256); // not symmetric in any way
const at = (image, x, y) => image[y * 40 + x];

function near(actual, expected, tolerance) {
  const furthest = Math.max(...actual.map((value, i) => Math.abs(value - expected[i])));
  assert.ok(furthest <= tolerance, `off by ${furthest}`);
}

test('upright, the digit is copied into the middle with black around it', () => {
  const image = paintDigit(digit, UPRIGHT);
  for (let i = 0; i < 784; i++) {
    const [x, y] = [6 + (i % 28), 6 + Math.floor(i / 28)];
    assert.ok(Math.abs(at(image, x, y) - digit[i] / 255) < 1e-6);
  }
  assert.equal(at(image, 5, 20), 0);
  assert.equal(at(image, 34, 20), 0);
});

test('whole pixels of shift and quarter turns are exact', () => {
  const image = paintDigit(digit, { ...UPRIGHT, turn: 90, x: 2, y: -3 });
  // Clockwise: the digit's top left corner comes to the top right.
  near([at(image, 6 + 27 + 2, 6 - 3)], [digit[0] / 255], 1e-6);
  near([at(image, 6 + 27 + 2, 6 + 27 - 3)], [digit[27] / 255], 1e-6);
});

test('half a pixel of shift is the mean of two', () => {
  const image = paintDigit(digit, { ...UPRIGHT, x: 0.5 });
  near([at(image, 20, 20)], [(digit[14 * 28 + 13] + digit[14 * 28 + 14]) / 510], 1e-6);
});

test('a stroke is as thick as the pen, and soft at its edge', () => {
  const image = paintStrokes([[[-8, 0], [8, 0]]], UPRIGHT);
  const column = Array.from({ length: 40 }, (_, y) => at(image, 20, y));
  near([column.reduce((a, b) => a + b)], [2.5], 1e-6);
  near(column.slice(17, 23), [0, 0.25, 1, 1, 0.25, 0], 1e-6);
});

test('a tap draws a dot, no stroke draws nothing', () => {
  assert.ok(Math.max(...paintStrokes([[[0, 0]]], UPRIGHT)) === 1);
  assert.ok(Math.max(...paintStrokes([], UPRIGHT)) === 0);
});

test('strokes outside of the canvas do no harm', () => {
  assert.ok(paintStrokes([[[-99, -99], [-80, 99]]], POSE).every((value) => value === 0));
});

test('recentring leaves the picture as it was', () => {
  const strokes = [[[1, 2], [9, 4]], [[5, -7]]];
  const next = recentred(strokes, POSE);
  near(paintStrokes(next.strokes, next.pose), paintStrokes(strokes, POSE), 1e-5);
  assert.deepEqual(next.strokes[0][0], [-4, 3.5]); // the box 1..9 by -7..4 is now about its middle
});
