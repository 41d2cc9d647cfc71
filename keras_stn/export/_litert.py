"""Running TFLite files with LiteRT's interpreter."""

from typing import Any

import numpy as np

from keras_stn.export import _pipeline


class Runner:
    """A TFLite file on the CPU, one thread, called by the names of its inputs.

    Attributes:
        unsteady: Whether an interpreter that had run another batch before gave other numbers than a new
            one. LiteRT 1.0 to 2.3 do at times, beside XNNPACK; tflite-runtime 2.14 does not.
    """

    def __init__(self, content: bytes):
        self._content = content
        self.unsteady = False
        self._runner = _interpreter(content).get_signature_runner()

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = _interpreter(self._content).get_signature_runner()(**inputs)
        resized = self._runner(**inputs)
        self.unsteady |= any(resized[name].tobytes() != outputs[name].tobytes() for name in outputs)
        return outputs

    def latency_ms(self, inputs: dict[str, np.ndarray]) -> float:
        """The median time of one run."""
        # An interpreter of its own: the runner's overhead is a third of what a small model takes.
        interpreter = _interpreter(self._content)
        indices = {name: d["index"] for name, d in self._runner.get_input_details().items()}
        for name, array in inputs.items():
            interpreter.resize_tensor_input(indices[name], array.shape)
        interpreter.allocate_tensors()
        for name, array in inputs.items():
            interpreter.set_tensor(indices[name], array)
        return _pipeline.median_ms(interpreter.invoke)


def _interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=content, num_threads=1)
