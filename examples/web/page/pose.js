// A pose places a digit on the canvas: turned (degrees, clockwise), scaled, shifted (pixels), all about
// the digit's middle. Points on the canvas run from 0 to 40, edge to edge; points on the digit have
// their origin in its middle.

export const CANVAS = 40;
export const UPRIGHT = Object.freeze({ turn: 0, scale: 1, x: 0, y: 0 });

// A little more than the model was trained on: 60 degrees, 0.9 to 1.2, 7 pixels.
export const LIMITS = Object.freeze({ turn: [-70, 70], scale: [0.8, 1.3], x: [-8, 8], y: [-8, 8] });

const radians = (degrees) => (degrees * Math.PI) / 180;

/** The pose with some of its numbers changed, kept within the limits. */
export function withChange(pose, change) {
  const next = { ...pose, ...change };
  for (const [key, [low, high]] of Object.entries(LIMITS)) {
    // A drawing may lie beyond the limits: it must not jump back when it is moved.
    next[key] = Math.min(Math.max(next[key], Math.min(low, pose[key])), Math.max(high, pose[key]));
  }
  return next;
}

export const moved = (pose, dx, dy) => withChange(pose, { x: pose.x + dx, y: pose.y + dy });
export const turned = (pose, degrees) => withChange(pose, { turn: pose.turn + degrees });
export const scaled = (pose, factor) => withChange(pose, { scale: pose.scale * factor });

export function toCanvas(pose, [u, v]) {
  const c = pose.scale * Math.cos(radians(pose.turn));
  const s = pose.scale * Math.sin(radians(pose.turn));
  return [c * u - s * v + pose.x + CANVAS / 2, s * u + c * v + pose.y + CANVAS / 2];
}

export function toDigit(pose, [x, y]) {
  const c = Math.cos(radians(pose.turn)) / pose.scale;
  const s = Math.sin(radians(pose.turn)) / pose.scale;
  const dx = x - pose.x - CANVAS / 2;
  const dy = y - pose.y - CANVAS / 2;
  return [c * dx + s * dy, c * dy - s * dx];
}

/** The pose after two points were dragged: they turn, scale and shift the digit together. */
export function pinched(pose, [fromA, fromB], [toA, toB]) {
  const before = Math.hypot(fromB[0] - fromA[0], fromB[1] - fromA[1]);
  const after = Math.hypot(toB[0] - toA[0], toB[1] - toA[1]);
  const middle = (axis) => (toA[axis] + toB[axis] - fromA[axis] - fromB[axis]) / 2;
  return withChange(pose, {
    turn: pose.turn + angleBetween(fromA, fromB, toA, toB),
    scale: before > 0 ? (pose.scale * after) / before : pose.scale,
    x: pose.x + middle(0),
    y: pose.y + middle(1),
  });
}

/** The pose after one point was dragged around the middle of the digit, which stays where it is. */
export function spun(pose, from, to) {
  const centre = toCanvas(pose, [0, 0]);
  const next = pinched(pose, [centre, from], [centre, to]);
  return { ...next, x: pose.x, y: pose.y };
}

function angleBetween(fromA, fromB, toA, toB) {
  const angle = (a, b) => Math.atan2(b[1] - a[1], b[0] - a[0]);
  const degrees = ((angle(toA, toB) - angle(fromA, fromB)) * 180) / Math.PI;
  return degrees - 360 * Math.round(degrees / 360);
}
