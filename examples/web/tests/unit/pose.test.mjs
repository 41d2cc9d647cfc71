import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  LIMITS, moved, pinched, scaled, spun, toCanvas, toDigit, turned, UPRIGHT, withChange,
} from '../../page/pose.js';

const POSE = { turn: 33, scale: 1.2, x: 3, y: -5 };

function near(actual, expected, tolerance = 1e-9) {
  const close = actual.every((value, i) => Math.abs(value - expected[i]) < tolerance);
  assert.ok(close, `${actual} is not ${expected}`);
}

test('the upright pose puts the middle of the digit in the middle of the canvas', () => {
  near(toCanvas(UPRIGHT, [0, 0]), [20, 20]);
  near(toCanvas(UPRIGHT, [3, -4]), [23, 16]);
});

test('a quarter turn is clockwise: the top of the digit points right', () => {
  near(toCanvas({ ...UPRIGHT, turn: 90 }, [0, -10]), [30, 20]);
});

test('toDigit undoes toCanvas', () => {
  near(toDigit(POSE, toCanvas(POSE, [7, -2])), [7, -2]);
});

test('changes stay within the limits', () => {
  assert.deepEqual(moved(UPRIGHT, 99, -99), { ...UPRIGHT, x: LIMITS.x[1], y: LIMITS.y[0] });
  assert.equal(turned(UPRIGHT, 500).turn, LIMITS.turn[1]);
  assert.equal(scaled(UPRIGHT, 0.001).scale, LIMITS.scale[0]);
});

test('what lies beyond the limits may come back step by step, and go no further', () => {
  const far = { ...UPRIGHT, x: 15 };
  assert.equal(moved(far, -1, 0).x, 14);
  assert.equal(moved(far, 1, 0).x, 15);
  assert.equal(withChange(far, { turn: 5 }).x, 15);
});

test('two fingers turn, scale and shift at once', () => {
  const pose = pinched(UPRIGHT, [[10, 20], [20, 20]], [[13, 20], [13, 32]]);
  near([pose.turn, pose.scale, pose.x, pose.y], [70, 1.2, -2, 6]); // 90 degrees, kept at 70
});

test('a turn over the seam at 180 degrees is a small one', () => {
  const pose = pinched(UPRIGHT, [[20, 20], [10, 20.1]], [[20, 20], [10, 19.9]]);
  assert.ok(Math.abs(pose.turn) < 2, `turned by ${pose.turn}`);
});

test('dragging around the middle turns and scales, and leaves the middle where it is', () => {
  const pose = spun(POSE, [23, 5], [33, 15]);
  near([pose.x, pose.y, pose.scale], [POSE.x, POSE.y, 1.2]);
  assert.equal(pose.turn, 70); // 90 more, kept at 70
});

test('two fingers in one place neither throw nor give NaN', () => {
  const pose = pinched(UPRIGHT, [[5, 5], [5, 5]], [[5, 5], [9, 5]]);
  assert.ok(Object.values(pose).every(Number.isFinite), JSON.stringify(pose));
});
