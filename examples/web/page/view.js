// The page's pictures and numbers.

import { best, described, quadrilateral, softmax } from './geometry.js';

const $ = (selector) => document.querySelector(selector);
const RECENT = 15; // runs whose median time is shown

const times = [];
let bars = [];
let announcing;

export function showInput(image) {
  drawGrey($('#input'), image);
}

/** What the model made of the input; `turn`: the degrees that it is known to be turned by, or null. */
export function showAnswer({ params, warped, scores, milliseconds }, turn) {
  const corners = quadrilateral(params);
  const points = corners.map((point) => point.map((at) => at.toFixed(3)).join()).join(' ');
  document.querySelectorAll('#quadrilateral polygon').forEach((shape) => set(shape, { points }));
  const [[x1, y1], [x2, y2]] = corners;
  set($('#quadrilateral line'), { x1, y1, x2, y2 });
  set($('#quadrilateral circle'), { cx: x1, cy: y1 });
  $('#quadrilateral').style.visibility = 'visible';
  drawGrey($('#warped'), warped);

  const map = described(params);
  $('#found-turn').textContent = degrees(map.turn) + (turn === null ? '' : ` of ${degrees(turn)}`);
  $('#found-zoom').textContent = `×${map.zoom.toFixed(2)}`;
  $('#found-shift').textContent = `${signed(map.x, 1)}, ${signed(map.y, 1)} px`;
  showScores(softmax(scores));

  times.push(milliseconds);
  if (times.length > RECENT) times.shift();
  const median = [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];
  $('#latency').textContent = `${median.toFixed(1)} ms a run`;
}

export function showNothing() {
  $('#quadrilateral').style.visibility = 'hidden';
  drawGrey($('#warped'), new Float32Array(1600));
  for (const id of ['turn', 'zoom', 'shift']) $(`#found-${id}`).textContent = '–';
  showScores(null);
}

function showScores(probabilities) {
  bars = bars.length ? bars : makeBars();
  const winner = probabilities ? best(probabilities) : -1;
  bars.forEach(({ item, value }, digit) => {
    const percent = probabilities ? 100 * probabilities[digit] : 0;
    item.style.setProperty('--percent', percent.toFixed(2));
    item.classList.toggle('best', digit === winner);
    value.textContent = `: ${percent.toFixed(0)} %`;
  });
  $('#class').textContent = probabilities ? winner : '–';
  $('#class').classList.toggle('none', !probabilities);
  $('#confidence').textContent = probabilities ? `${Math.round(100 * probabilities[winner])} %` : '';
  announce(probabilities ? `Read as ${winner}` : 'Nothing to read');
}

/** Says it to screen readers once things have come to rest, and not the same twice in a row. */
function announce(words) {
  clearTimeout(announcing);
  announcing = setTimeout(() => {
    if ($('#announcement').textContent !== words) $('#announcement').textContent = words;
  }, 500);
}

function makeBars() {
  return Array.from({ length: 10 }, (_, digit) => {
    const item = document.createElement('li');
    const track = item.appendChild(element('span', 'track'));
    track.append(document.createElement('i'));
    item.append(element('span', 'label', digit));
    const value = item.appendChild(element('span', 'hidden'));
    $('#bars').append(item);
    return { item, value };
  });
}

function element(tag, className, text = '') {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

function set(shape, attributes) {
  for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
}

/** Numbers from 0 to 1, or bytes, as grey pixels. */
export function drawGrey(canvas, values) {
  const context = canvas.getContext('2d');
  const picture = context.createImageData(canvas.width, canvas.height);
  const white = values instanceof Uint8Array ? 1 : 255;
  values.forEach((value, i) => {
    picture.data.fill(value * white, 4 * i, 4 * i + 3);
    picture.data[4 * i + 3] = 255;
  });
  context.putImageData(picture, 0, 0);
}

/** A number with a real minus sign, and no minus before a zero. */
export function signed(value, places = 0) {
  const rounded = Number(value.toFixed(places)) + 0; // -0 + 0 is 0
  return rounded.toFixed(places).replace('-', '−');
}

export const degrees = (value) => `${signed(value)}°`;
