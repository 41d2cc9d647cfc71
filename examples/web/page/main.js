// What the person does changes `digit` and `pose`; a change draws the input and asks for a run.

import { latestWins } from './latest.js';
import { paintDigit, paintStrokes, recentred } from './paint.js';
import { LIMITS, moved, pinched, scaled, spun, toDigit, turned, UPRIGHT, withChange } from './pose.js';
import { watch } from './stage.js';
import { degrees, drawGrey, showAnswer, showInput, showNothing, signed } from './view.js';

const $ = (selector) => document.querySelector(selector);
const app = $('#app');
const PERIOD = 9; // seconds for the play button's turn there and back
const SWING = 60; // degrees

let model;
let samples;
let digit; // { label, pixels } for a sample, { strokes } for a drawing
let pose = withChange(UPRIGHT, { turn: -35, x: -3, y: -2 });
let playing = null;

const isDrawing = () => Boolean(digit.strokes);
const isEmpty = () => isDrawing() && digit.strokes.length === 0;
const paint = () => (isDrawing() ? paintStrokes(digit.strokes, pose) : paintDigit(digit.pixels, pose));

const run = latestWins(async () => {
  const image = paint();
  const turn = isDrawing() ? null : pose.turn; // nobody knows how upright a drawing is
  showInput(image);
  showPose();
  if (isEmpty()) return showNothing();
  try {
    showAnswer(await model.run(image), turn);
  } catch (error) {
    fail(error);
  }
});

function showPose() {
  const shown = {
    turn: degrees(pose.turn),
    scale: `×${pose.scale.toFixed(2)}`,
    x: `${signed(pose.x, 1)} px`,
    y: `${signed(pose.y, 1)} px`,
  };
  for (const [name, text] of Object.entries(shown)) {
    const slider = document.getElementById(name);
    slider.value = pose[name];
    slider.setAttribute('aria-valuetext', text);
    slider.nextElementSibling.textContent = text;
  }
  $('#empty').hidden = !isEmpty();
  document.querySelectorAll('.digits button').forEach((button, label) => {
    button.setAttribute('aria-pressed', label === digit.label);
  });
}

// Changes

function setPose(next) {
  stop();
  pose = next;
  run();
}

function pick(label) {
  digit = { label, pixels: samples[label] };
  setMode('move');
  run();
}

function clear() {
  digit = { strokes: [] };
  setMode('draw');
  setPose(UPRIGHT);
}

function setMode(mode) {
  document.body.dataset.mode = mode;
  $(`input[value="${mode}"]`).checked = true;
  const turning = matchMedia('(pointer: coarse)').matches ? 'two fingers' : 'Shift and drag to';
  $('#hint').textContent =
    mode === 'move' ? `Drag to move, ${turning} turn and scale` : 'Draw here; Clear starts again';
}

const pen = {
  penDown(at) {
    stop();
    if (!isDrawing()) clear();
    digit.strokes.push([toDigit(pose, at)]);
    run();
  },
  penTo(at) {
    digit.strokes.at(-1).push(toDigit(pose, at));
    run();
  },
  penUp() {
    // From now on the drawing turns about its own middle, as a sample does.
    ({ strokes: digit.strokes, pose } = recentred(digit.strokes, pose));
    run();
  },
  penCancel() {
    digit.strokes.pop();
    run();
  },
};

function play() {
  if (playing) return stop();
  const began = performance.now();
  const phase = Math.asin(Math.min(Math.max(pose.turn / SWING, -1), 1));
  const calm = matchMedia('(prefers-reduced-motion: reduce)');
  const step = () => {
    let seconds = (performance.now() - began) / 1000;
    if (calm.matches) seconds = Math.floor(seconds); // one still picture a second
    pose = withChange(pose, { turn: SWING * Math.sin((2 * Math.PI * seconds) / PERIOD + phase) });
    run();
    playing = requestAnimationFrame(step);
  };
  $('#play').setAttribute('aria-pressed', true);
  step();
}

function stop() {
  cancelAnimationFrame(playing);
  playing = null;
  $('#play').setAttribute('aria-pressed', false);
}

// Keys: letters and digits anywhere, arrows only on the stage, as they scroll and set sliders elsewhere.

const KEYS = {
  q: () => setPose(turned(pose, -5)),
  e: () => setPose(turned(pose, 5)),
  '[': () => setPose(turned(pose, -5)),
  ']': () => setPose(turned(pose, 5)),
  '+': () => setPose(scaled(pose, 1.05)),
  '=': () => setPose(scaled(pose, 1.05)),
  '-': () => setPose(scaled(pose, 1 / 1.05)),
  r: () => setPose(UPRIGHT),
  c: clear,
  p: play,
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || app.dataset.state !== 'ready') return;
  const arrow = document.activeElement === $('#stage') && ARROWS[event.key];
  const action = KEYS[event.key.toLowerCase()];
  if (arrow) setPose(moved(pose, ...arrow));
  else if (action) action();
  else if (/^[0-9]$/.test(event.key)) pick(Number(event.key));
  else return;
  event.preventDefault();
}

// Start

async function fetchSamples(fetchBytes) {
  const { digits } = JSON.parse(new TextDecoder().decode(await fetchBytes('digits.json')));
  return digits.map((text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
}

function makeSampleButtons() {
  for (let label = 0; label < 10; label++) {
    const canvas = Object.assign(document.createElement('canvas'), { width: 28, height: 28 });
    const button = Object.assign(document.createElement('button'), { type: 'button' });
    button.setAttribute('aria-label', `Sample digit ${label}`);
    button.addEventListener('click', () => pick(label));
    button.append(canvas);
    $('.digits').append(button);
  }
}

function showSamples() {
  const canvases = document.querySelectorAll('.digits canvas');
  canvases.forEach((canvas, label) => drawGrey(canvas, samples[label]));
}

function listen() {
  const drag = ([fromX, fromY], [toX, toY]) => setPose(moved(pose, toX - fromX, toY - fromY));
  watch($('#stage'), () => document.body.dataset.mode === 'draw', {
    drag,
    spin: (from, to) => setPose(spun(pose, from, to)),
    pinch: (from, to) => setPose(pinched(pose, from, to)),
    wheel: (steps, scale) => setPose(scale ? scaled(pose, 0.95 ** steps) : turned(pose, 5 * steps)),
    ...pen,
  });
  for (const [name, [low, high]] of Object.entries(LIMITS)) {
    const slider = Object.assign(document.getElementById(name), { min: low, max: high });
    slider.addEventListener('input', () => setPose(withChange(pose, { [name]: Number(slider.value) })));
  }
  document.querySelectorAll('[name="mode"]').forEach((radio) => {
    radio.addEventListener('change', () => setMode(radio.value));
  });
  $('#play').addEventListener('click', play);
  $('#reset').addEventListener('click', () => setPose(UPRIGHT));
  $('#clear').addEventListener('click', clear);
  document.addEventListener('keydown', press);
}

function setState(state) {
  app.dataset.state = state;
  app.setAttribute('aria-busy', state === 'loading');
  $('#loading').hidden = state !== 'loading';
  $('#error').hidden = state !== 'error';
  document.querySelectorAll('fieldset').forEach((group) => (group.disabled = state !== 'ready'));
  $('#stage').tabIndex = state === 'ready' ? 0 : -1;
}

function fail(error) {
  stop();
  console.info(error); // for whoever looks closer; the page says it in words
  $('#error-what').textContent = error.message;
  const advice = 'Check that the server runs and has the file, then retry.';
  $('#error-advice').textContent = error.advice ?? advice;
  setState('error');
}

async function start() {
  $('#retry').addEventListener('click', () => location.reload());
  $('.late').remove(); // it is for pages whose scripts do not run, as those opened from a folder
  makeSampleButtons();
  setMode('move');
  showNothing();
  try {
    if (typeof WebAssembly === 'undefined') {
      const advice = 'Turn it on, or open the page in another browser.';
      throw Object.assign(new Error('This browser has no WebAssembly.'), { advice });
    }
    // Imported here, not above, so that a file that is missing shows as an error too.
    const { fetchBytes, loadModel } = await import('./model.js');
    const progress = $('#loading progress');
    [samples, model] = await Promise.all([
      fetchSamples(fetchBytes),
      loadModel((part) => (progress.value = part)),
    ]);
  } catch (error) {
    return fail(error);
  }
  showSamples();
  listen();
  pick(3);
  setState('ready');
}

start();
