// Pointers on the stage, put as what they do: a mouse, a pen or one finger drags, draws or (with Shift)
// turns and scales; two fingers do all at once; a wheel turns, with Shift it scales.

const MARGIN = 10; // pixels of the canvas that the stage shows around it: the outline may reach out
const SPAN = 40 + 2 * MARGIN;

/** Calls `act.drag(from, to)`, `act.spin(from, to)`, `act.pinch(froms, tos)`, `act.wheel(steps, shift)`,
 * and `act.penDown(at)`, `act.penTo(at)`, `act.penUp()`, `act.penCancel()`; points in canvas pixels. */
export function watch(stage, drawing, act) {
  const fingers = new Map(); // pointer id -> where it was last
  let gesture = null;

  const locate = (event) => {
    const { left, top, width } = stage.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top].map((at) => (at / width) * SPAN - MARGIN);
  };

  stage.addEventListener('pointerdown', (event) => {
    if (event.button !== 0 || fingers.size === 2) return;
    stage.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, locate(event));
    if (fingers.size === 2) {
      if (gesture === 'draw') act.penCancel();
      gesture = 'pinch';
    } else {
      gesture = event.shiftKey ? 'spin' : drawing() ? 'draw' : 'drag';
      if (gesture === 'draw') act.penDown(locate(event));
    }
  });

  const move = (event) => {
    const from = fingers.get(event.pointerId);
    if (!from) return;
    const to = locate(event);
    fingers.set(event.pointerId, to);
    if (gesture === 'draw') {
      const passed = event.getCoalescedEvents?.() ?? []; // a fast hand moves more often than frames come
      (passed.length ? passed : [event]).forEach((each) => act.penTo(locate(each)));
    } else if (gesture === 'pinch') {
      const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
      if (other) act.pinch([from, other], [to, other]);
    } else {
      act[gesture]?.(from, to);
    }
  };
  stage.addEventListener('pointermove', move);

  const lift = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    if (gesture === 'draw') act.penUp();
    if (fingers.size === 0) gesture = null; // after a pinch the finger that stays does nothing
  };
  stage.addEventListener('pointerup', (event) => {
    move(event); // browsers smooth a finger's moves, so the last one may fall short of where it lifts
    lift(event);
  });
  stage.addEventListener('pointercancel', lift);

  // Pointer events say all that we need. Without this, Chromium takes a quick stroke for a fling, and
  // the next tap anywhere for what stops it: no click comes.
  stage.addEventListener('touchstart', (event) => event.preventDefault(), { passive: false });

  stage.addEventListener(
    'wheel',
    (event) => {
      if (document.activeElement !== stage) return; // not chosen: the page scrolls
      event.preventDefault();
      const pixels = (event.deltaY || event.deltaX) * (event.deltaMode === 1 ? 30 : 1);
      act.wheel(pixels / 100, event.shiftKey || event.ctrlKey); // a pinched touchpad says ctrlKey
    },
    { passive: false },
  );
}
