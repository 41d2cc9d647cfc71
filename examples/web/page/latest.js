/** Calls `run` in the next frame, never two at a time: what is asked for meanwhile is one more. */
export function latestWins(run, nextFrame = () => new Promise(requestAnimationFrame)) {
  let running = false;
  let again = false;
  return async () => {
    again = true;
    if (running) return;
    running = true;
    try {
      while (again) {
        await nextFrame();
        again = false;
        await run();
      }
    } finally {
      running = false;
    }
  };
}
