// The .tflite file in LiteRT.js: loading it, and running one image through it.

import {
  getGlobalLiteRt,
  loadAndCompile,
  loadLiteRt,
  supportsFeature,
  Tensor,
} from '@litertjs/core';

const SHAPE = [1, 40, 40, 1];
const SIZES = { params: 6, warped: 1600, scores: 10 }; // the outputs, told apart by their sizes

export class LoadError extends Error {}

/** Loads the runtime and the model; `onProgress` is told which part of the runtime is there, 0 to 1. */
export async function loadModel(onProgress = () => {}) {
  // LiteRT.js would choose the same; we fetch the file ourselves to see its progress and errors.
  const modern = await supportsFeature('relaxedSimd');
  const name = modern ? 'litert_wasm_internal' : 'litert_wasm_compat_internal';
  const [wasmBinary, model] = await Promise.all([
    fetchBytes(`litert/${name}.wasm`, onProgress),
    fetchBytes('digits.tflite'),
  ]);
  if (String.fromCharCode(...model.subarray(4, 8)) !== 'TFL3') {
    throw new LoadError('digits.tflite is not a TensorFlow Lite model.');
  }
  // Where the runtime's loader looks for settings. It logs its progress as errors; real ones it throws.
  window.Module = { wasmBinary, printErr: (line) => console.debug(line) };
  try {
    await loadLiteRt(new URL(`litert/${name}.js`, document.baseURI).href);
  } catch (error) {
    throw new LoadError(`The LiteRT.js runtime did not start: ${error.message ?? 'a file is missing.'}`);
  }
  const loaded = new Model(await loadAndCompile(model, { accelerator: 'wasm' }));
  await loaded.run(new Float32Array(1600)); // the first run is slow: it prepares the weights
  return loaded;
}

class Model {
  #compiled;
  #positions;

  constructor(compiled) {
    this.#compiled = compiled;
    const sizes = compiled.getOutputDetails().map(({ shape }) => shape.reduce((a, b) => a * b, 1));
    this.#positions = Object.entries(SIZES).map(([name, size]) => [name, sizes.indexOf(size)]);
    const missing = this.#positions.filter(([, position]) => position < 0).map(([name]) => name);
    if (missing.length) {
      throw new LoadError(`digits.tflite has no output for ${missing}; its sizes are ${sizes}.`);
    }
  }

  /** image: Float32Array(1600), 0 to 1 -> { params, warped, scores, milliseconds } */
  async run(image) {
    const started = performance.now();
    const input = new Tensor(image, SHAPE);
    let outputs = [];
    try {
      outputs = await this.#compiled.run([input]);
      const answer = Object.fromEntries(
        this.#positions.map(([name, position]) => [name, outputs[position].toTypedArray()]),
      );
      return { ...answer, milliseconds: performance.now() - started };
    } finally {
      // Tensors live in the memory of the WebAssembly module, where nothing collects them.
      [input, ...outputs].forEach((tensor) => tensor.delete());
    }
  }
}

/** Bytes that the WebAssembly module has taken; a test watches that they do not grow. */
export const memory = () => getGlobalLiteRt().liteRtWasm.HEAPU8.byteLength;

/** The file's bytes; a LoadError says in words why there are none. */
export async function fetchBytes(path, onProgress = () => {}) {
  const file = path.split('/').pop();
  try {
    const response = await fetch(new URL(path, document.baseURI));
    if (!response.ok) throw new LoadError(`The server answered ${response.status} to ${file}.`);
    const total = Number(response.headers.get('content-length'));
    const chunks = [];
    let size = 0;
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      chunks.push(value);
      size += value.length;
      if (total) onProgress(Math.min(size / total, 1)); // a compressed file is longer than it says
    }
    return new Uint8Array(await new Blob(chunks).arrayBuffer());
  } catch (error) {
    if (error instanceof LoadError) throw error;
    throw new LoadError(`${file} could not be fetched: is the server still running?`);
  }
}
