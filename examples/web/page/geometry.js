// What the model's answer means. Its params are an affine map, row by row, from the output to the input
// in normalised coordinates: -1 and 1 are the outer edges of the corner pixels.

import { CANVAS } from './pose.js';

const CORNERS = [[-1, -1], [1, -1], [1, 1], [-1, 1]]; // clockwise from the top left

/** The four points of the input, in pixels, that the corners of the output are read from. */
export function quadrilateral([a, b, tx, c, d, ty]) {
  const toPixels = (normalised) => ((normalised + 1) / 2) * CANVAS;
  return CORNERS.map(([x, y]) => [toPixels(a * x + b * y + tx), toPixels(c * x + d * y + ty)]);
}

/** The same map in words: degrees turned back, times magnified, pixels from the middle. */
export function described([a, b, tx, c, d, ty]) {
  return {
    turn: (Math.atan2(c - b, a + d) * 180) / Math.PI, // of the nearest rotation
    zoom: 1 / Math.sqrt(Math.abs(a * d - b * c)),
    x: (tx * CANVAS) / 2,
    y: (ty * CANVAS) / 2,
  };
}

export function softmax(scores) {
  const highest = Math.max(...scores);
  const powers = Array.from(scores, (score) => Math.exp(score - highest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

export const best = (values) => values.indexOf(Math.max(...values));
