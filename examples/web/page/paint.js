// What the model gets to see: a digit in a pose, as 40 x 40 numbers from 0 (black) to 1 (white).

import { CANVAS, toCanvas, toDigit } from './pose.js';

const DIGIT = 28; // pixels along a side of an MNIST image
const INK = 2.5; // pixels: as thick as MNIST's

/** An MNIST image in a pose, bilinear, with black around it: what the demo trains on. */
export function paintDigit(pixels, pose) {
  const image = new Float32Array(CANVAS * CANVAS);
  const tap = (row, column) =>
    row >= 0 && row < DIGIT && column >= 0 && column < DIGIT ? pixels[row * DIGIT + column] / 255 : 0;
  for (let i = 0; i < image.length; i++) {
    const centre = [(i % CANVAS) + 0.5, Math.floor(i / CANVAS) + 0.5];
    const [u, v] = toDigit(pose, centre).map((coordinate) => coordinate + DIGIT / 2 - 0.5);
    const [column, row] = [Math.floor(u), Math.floor(v)];
    const [right, down] = [u - column, v - row];
    image[i] =
      (tap(row, column) * (1 - right) + tap(row, column + 1) * right) * (1 - down) +
      (tap(row + 1, column) * (1 - right) + tap(row + 1, column + 1) * right) * down;
  }
  return image;
}

/** Strokes (lists of points on the digit) in a pose, drawn with a round pen. */
export function paintStrokes(strokes, pose) {
  const image = new Float32Array(CANVAS * CANVAS);
  for (const stroke of strokes) {
    const points = stroke.map((point) => toCanvas(pose, point));
    const radius = (INK * pose.scale) / 2;
    points.forEach((point, i) => paintLine(image, points[Math.max(i - 1, 0)], point, radius));
  }
  return image;
}

/** A pixel is as white as the line covers it; where lines cross, it stays so. */
function paintLine(image, [ax, ay], [bx, by], radius) {
  const reach = radius + 0.5;
  const first = (a, b) => Math.max(Math.floor(Math.min(a, b) - reach), 0);
  const last = (a, b) => Math.min(Math.ceil(Math.max(a, b) + reach), CANVAS) - 1;
  const length = (bx - ax) ** 2 + (by - ay) ** 2;
  for (let row = first(ay, by); row <= last(ay, by); row++) {
    for (let column = first(ax, bx); column <= last(ax, bx); column++) {
      const [x, y] = [column + 0.5 - ax, row + 0.5 - ay];
      const along = length && Math.min(Math.max((x * (bx - ax) + y * (by - ay)) / length, 0), 1);
      const distance = Math.hypot(x - along * (bx - ax), y - along * (by - ay));
      const cover = Math.min(Math.max(reach - distance, 0), 1);
      const i = row * CANVAS + column;
      image[i] = Math.max(image[i], cover);
    }
  }
}

/** The same strokes about their own middle, and the pose that leaves the picture as it was. */
export function recentred(strokes, pose) {
  const points = strokes.flat();
  const middle = [0, 1].map((axis) => {
    const along = points.map((point) => point[axis]);
    return (Math.min(...along) + Math.max(...along)) / 2;
  });
  const [x, y] = toCanvas(pose, middle);
  return {
    strokes: strokes.map((stroke) => stroke.map(([u, v]) => [u - middle[0], v - middle[1]])),
    pose: { ...pose, x: x - CANVAS / 2, y: y - CANVAS / 2 },
  };
}
