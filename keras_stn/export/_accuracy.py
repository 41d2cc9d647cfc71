"""How far a file may be from Keras, and how far it is."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_stn import sampler
from keras_stn.export import _trace
from keras_stn.export._trace import Signature, Trace
from keras_stn.export.report import Accuracy, Finding

# A file that can be run: takes arrays by the names of the inputs, gives those of the outputs.
Run = Callable[[dict[str, np.ndarray]], dict[str, Any]]

# Batches that are run in one interpreter where the batch is open: each example, then up and down by
# factors of 2, 3, 4, 6 and 8. XNNPACK of LiteRT 2.3 gets some models wrong by one factor alone.
_RESIZED = (2, 4, 1, 3, 6, 2, 8, 1, 6, 5)

# What floats leave open, in draws, is a lower bound of it: files were off by 0.2 to 1.6 of it, and by
# 4.4 behind ResNet50. It excuses at most a thousandth of the largest value; a tenth of a pixel is more.
_DRAWS, _SAFETY, _MOST_DOUBT = 4, 8.0, 1e-3

# Of interpolation="nearest": how many values may come from the pixel beside the right one, because a
# rounding moved the point across the middle between the two.
_TIES = 1e-3


def measure(expected: Any, actual: Any) -> Accuracy:
    """The accuracy of arrays of one shape, numbers or strings; infinities and NaN equal themselves."""
    expected, actual = np.asarray(expected), np.asarray(actual)
    if expected.dtype.kind in "OSU":
        equal = np.array_equal(expected, actual)
        return Accuracy(0.0, float("inf")) if equal else Accuracy(float("inf"), float("-inf"))
    expected, actual = expected.astype("float64"), actual.astype("float64")
    with np.errstate(invalid="ignore"):
        error = np.where(_equal(expected, actual), 0.0, np.abs(actual - expected))
    peak = np.abs(expected).max(initial=0.0, where=np.isfinite(expected))
    mean_square = np.mean(error**2) if error.size else 0.0
    if not np.isfinite(mean_square):
        return Accuracy(float("inf"), float("-inf"))
    psnr = float("inf") if mean_square == 0 else 10 * np.log10(max(peak, 1e-30) ** 2 / mean_square)
    return Accuracy(float(error.max(initial=0.0)), float(psnr))


def _equal(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    return (expected == actual) | (np.isnan(expected) & np.isnan(actual))


def compare(
    run: Run,
    runtime: str,
    trace: Trace,
    arrays: list[np.ndarray],
    max_error: float | None = None,
    min_psnr: float | None = None,
    exact: bool = False,
) -> tuple[dict[str, Accuracy], list[Finding]]:
    """Run a file on samples, one by one and in batches of many sizes, beside the live model.

    Returns the accuracy of each output, and what there is to say about it. Raises a ValueError where an
    output is less accurate than `min_psnr` or, if that is None, than `max_error` allows; None: than
    rounding explains. `exact`: where it is another by one bit than that of the traced graph, for
    compilers round differently.
    """
    live = trace.function if exact else _live(trace.signature)
    expected, actual = _run_both(live, run, runtime, trace.signature, arrays)
    doubts = functools.cache(lambda: _doubts(trace, arrays))
    accuracy, findings = {}, []
    for name, truth in expected.items():
        answer, bound = actual[name], 0.0
        if not exact:
            _check_numbers(name, truth, runtime)
        if not exact and min_psnr is None:
            bound = max_error or _bound(name, truth, answer, _allowed(trace, arrays), doubts)
            answer, ties = _without_ties(truth, answer, bound, trace)
            if ties:
                message = f"{ties} values of {name!r} come from the pixel beside the right one"
                findings.append(Finding("ties", "", name, (runtime,), message))
        accuracy[name] = measure(truth, answer)
        _check_accuracy(name, accuracy[name], runtime, bound, min_psnr)
    return accuracy, findings


def _run_both(
    live: Callable, run: Run, runtime: str, signature: Signature, arrays: list[np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """All numbers of each output, of the live model and of the file."""
    expected: dict[str, list] = {name: [] for name in signature.outputs}
    actual: dict[str, list] = {name: [] for name in signature.outputs}
    for batch in _batches_of_many_sizes(arrays, signature):
        with _running(runtime):
            truths = live(*map(tf.convert_to_tensor, batch))
            answers = run(signature.named(batch))
        for name in signature.outputs:
            expected[name].append(np.ravel(truths[name]))
            actual[name].append(np.ravel(answers[name]))
    return (
        {name: _numbers(pieces) for name, pieces in expected.items()},
        {name: _numbers(pieces) for name, pieces in actual.items()},
    )


def _numbers(pieces: list[np.ndarray]) -> np.ndarray:
    """One array of float64, or of strings as they are."""
    array = np.concatenate(pieces)
    return array if array.dtype.kind in "OSU" else array.astype("float64")


def _check_numbers(name: str, truth: np.ndarray, runtime: str) -> None:
    if truth.dtype.kind in "OSU":
        raise ValueError(f"model must give numbers for {runtime}. Received: strings in {name!r}.")
    if truth.size and not np.isfinite(truth).any():
        raise ValueError(
            f"samples must be such that Keras gives finite numbers. Received: none in {name!r}."
        )


def _check_accuracy(
    name: str, accuracy: Accuracy, runtime: str, bound: float, min_psnr: float | None
) -> None:
    """Raise unless an output is near enough; a `bound` of 0 asks for every bit."""
    error, psnr = accuracy
    if min_psnr is not None:
        if not psnr >= min_psnr:
            raise ValueError(
                f"model must keep a PSNR of {min_psnr:.0f} dB when quantized; nothing was written. "
                f"Give min_psnr if less is near enough. Received: {psnr:.1f} dB in {name!r}."
            )
    elif not error <= bound:
        demand = "load to the numbers it was saved with; nothing was written."
        if bound:
            demand = (
                f"give the same numbers in {runtime}, within {bound:.2g}; nothing was written. Give "
                "max_error if more is near enough."
            )
        raise ValueError(f"model must {demand} Received: an error of {error:.2g} in {name!r}.")


def _live(signature: Signature) -> Callable[..., dict[str, Any]]:
    """What Keras makes of a batch; not compiled, which would take 0.1 s for each size of it."""

    def live(*tensors):
        with sampler.using(functools.partial(sampler.plan.read_by, sampler.plan.Plan())):
            return signature.call(*tensors)

    return live


def _batches_of_many_sizes(arrays: list[np.ndarray], signature: Signature) -> Iterator[list[np.ndarray]]:
    """The samples, and where the batch is open also some of them in batches of other sizes."""
    yield from signature.batches(arrays)
    if signature.any_batch:
        for start, size in enumerate(_RESIZED):
            rows = np.arange(start, start + size) % len(arrays[0])
            yield [array[rows] for array in arrays]


@contextlib.contextmanager
def _running(runtime: str) -> Iterator[None]:
    """Within this context a model runs on samples, in Keras and `runtime`; what they raise is one error.

    Each has classes of its own for that, some of them RuntimeError.
    """
    try:
        with _trace.as_graphs():
            yield
    except Exception as error:
        raise ValueError(
            f"samples must be what the model runs on, in Keras and in {runtime}; nothing was written. "
            f"Received: {type(error).__name__}: {error}"
        ) from error


def _allowed(trace: Trace, arrays: list[np.ndarray]) -> float:
    """`allowed` for the samplers of a model; images of unknown size have that of the samples."""
    sides = [side for array in arrays if array.ndim >= 4 for side in array.shape[1:-1]]
    size = max((traced.size or max(sides, default=0) for traced in trace.samplers), default=0)
    outputs = trace.function.get_concrete_function().structured_outputs.values()
    return allowed(size, max(_epsilon(tensor.dtype) for tensor in [*outputs, *trace.samplers]))


def allowed(size: int, epsilon: float) -> float:
    """The largest error that is nothing but rounding, in floats of which `epsilon` is the step at 1.

    In float32 1e-5 where no side of an image exceeds 64 pixels, 6e-5 at 224, on a line between them and
    in proportion above, for values up to 1. Twice what the sampler itself was measured at; what
    predicted params add is in `_doubts`.
    """
    error = float(np.interp(size, (64, 224), (1e-5, 6e-5))) * max(1.0, size / 224)
    return error * max(1.0, epsilon / _epsilon(tf.float32))


def _bound(
    name: str, expected: np.ndarray, actual: np.ndarray, rounding: float, doubts: Callable
) -> float:
    """`rounding` in proportion to large values; `doubts` are only looked for where they count."""
    scale = max(1.0, float(np.abs(expected).max(initial=0.0, where=np.isfinite(expected))))
    bound = rounding * scale
    if not measure(expected, actual).max_error <= bound:
        bound += min(_SAFETY * doubts().get(name, 0.0), _MOST_DOUBT * scale)
    return bound


def _doubts(trace: Trace, arrays: list[np.ndarray]) -> dict[str, float]:
    """How far each output of Keras moves when its weights move by what their sums are rounded by.

    That is what floats leave open: params from a deep network carry its rounding, in a file as in Keras.
    Stochastic arithmetic (Vignes, 2004) in its plainest form: the largest difference of a few seeded
    draws. None with interpolation="nearest", where a step may show the next pixel.
    """
    if _has_nearest(trace):
        return {}
    signature, rng = trace.signature, np.random.default_rng(0)
    batch = next(signature.batches(arrays, max(_RESIZED)))
    tensors, live = [tf.convert_to_tensor(array) for array in batch], _live(signature)
    doubts = dict.fromkeys(signature.outputs, 0.0)
    truths = live(*tensors)
    for _ in range(_DRAWS):
        variables = signature.model.variables
        mapping = [(v, tf.convert_to_tensor(_moved(v.numpy(), rng))) for v in variables]
        with keras.StatelessScope(state_mapping=mapping):
            moved = live(*tensors)
        for name, truth in truths.items():
            error = measure(tf.cast(truth, tf.float64), tf.cast(moved[name], tf.float64)).max_error
            doubts[name] = max(doubts[name], error)
    return doubts


def _moved(array: Any, rng: np.random.Generator) -> np.ndarray:
    """The numbers of a float32 `array` by a few steps of float32 up or down; others as they are.

    As many steps as the square root of the terms in a sum with these weights: a sum of n floats, one by
    one, as runtimes on phones add, is rounded n times.
    """
    array = np.asarray(array)
    if array.dtype != np.float32:
        return array
    terms = array.size // max(array.shape[-1], 1) if array.ndim > 1 else 1
    steps = np.where(rng.random(array.shape) < 0.5, -1, 1) * np.sqrt(terms)
    return (array + steps * np.spacing(array)).astype("float32")


def _epsilon(dtype: tf.DType) -> float:
    return float(np.spacing(np.ones((), dtype.as_numpy_dtype))) if dtype.is_floating else 0.0


def _without_ties(
    expected: np.ndarray, actual: np.ndarray, bound: float, trace: Trace
) -> tuple[np.ndarray, int]:
    """`actual` without the few values beyond the bound that interpolation="nearest" may have."""
    if not _has_nearest(trace):
        return actual, 0
    with np.errstate(invalid="ignore"):
        beyond = ~((np.abs(actual - expected) <= bound) | _equal(expected, actual))
    ties = int(beyond.sum())
    if ties > _TIES * beyond.size:
        return actual, 0
    return np.where(beyond, expected, actual), ties


def _has_nearest(trace: Trace) -> bool:
    return any(traced.interpolation == "nearest" for traced in trace.samplers)
