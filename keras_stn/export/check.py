"""The rules that a TFLite file must keep to run everywhere: `check_tflite`.

TensorFlow's own analyzer calls every file compatible with GPUs. Here there is a rule for each thing that
a runtime refuses or, worse, gives wrong numbers for.
"""

from collections.abc import Iterable

from keras_stn import _checks
from keras_stn.export import _files, _flatbuffer, _versions
from keras_stn.export._files import PathLike
from keras_stn.export._rules import RULES, RUNTIMES, SILENCE_OTHERS
from keras_stn.export.report import Finding

__all__ = ["RUNTIMES", "check_tflite", "min_runtime"]


def check_tflite(path: PathLike, runtimes: str | Iterable[str] = RUNTIMES) -> list[Finding]:
    """Find the ops of a TFLite file that some runtime would refuse.

    Args:
        path: The file.
        runtimes: Which to ask for: `"cpu"`, the LiteRT interpreter without Flex; `"gpu"`, the LiteRT
            GPU delegate; `"micro"`, LiteRT for microcontrollers. A name or several.

    Returns:
        A list of `Finding`s, op by op in the order of the file; empty if nothing was found.
        `min_runtime` says how old the interpreter may be. The rules:

        | rule | runtimes | |
        |---|---|---|
        | `flex`, `custom` | all | the op needs TensorFlow, or custom code |
        | `no-kernel` | gpu, micro | the runtime has no such op |
        | `dtype` | micro | the runtime has the op, for other dtypes |
        | `slice-rank` | micro | a STRIDED_SLICE of rank 5 or more |
        | `gather-batch-dims`, `gather-index` | gpu | GATHER takes one int32 index of one axis |
        | `shrink-axis` | gpu | a slice that drops, adds or skips axes |
        | `split-one` | gpu | a SPLIT of one part, on which LiteRT 2.3 aborts |
        | `split-sum` | gpu | halves of a sum of halves: compiles, and is silently wrong |
        | `rank` | gpu | a tensor of rank 5 or more |
        | `dynamic-shape` | gpu, micro | a size that is not known before the run |
        | `matmul-broadcast` | gpu | batches of different size: compiles, and is silently wrong |
        | `conv-groups` | gpu | groups of channels not in fours: compiles, and is silently wrong |
        | `same-input-twice` | gpu | one tensor as two inputs, but to ADD, MUL, PACK or CONCATENATION |
        | `hybrid` | micro | weights of 8 bits beside activations in float |
        | `float16-weights` | micro | weights in float16, which become float32 as it runs |
        | `external-constants` | micro | constants behind the flatbuffer, which are zeros there |
        | `float16-bias` | cpu | weights in float16 alone: silently wrong in LiteRT 1.2 and 1.3 |
        | `dense-channels` | cpu | silently wrong in TensorFlow Lite before 2.17 |
        | `int8-sampler` | all | coordinates in 8 bits: 256 places in the whole image |

    Raises:
        ValueError: if `path` is no TFLite file, or `runtimes` none of the above.
        ImportError: if ai-edge-litert is missing, which the extra `export` brings.

    Example:
        >>> import keras, keras_stn
        >>> images, params = keras.Input((8, 12, 1), name="images"), keras.Input((6,), name="params")
        >>> model = keras.Model([images, params], keras_stn.Warp()([images, params]))
        >>> report = keras_stn.export_tflite(model, "warp.tflite", target="gpu", batch_size=1)
        >>> keras_stn.check_tflite("warp.tflite", "gpu")
        []
    """
    _files.require("ai_edge_litert")
    wanted = (runtimes,) if isinstance(runtimes, str) else tuple(runtimes)
    if not wanted:
        raise ValueError(f"runtimes must be some of {RUNTIMES}. Received: runtimes={runtimes!r}.")
    for runtime in wanted:
        _checks.one_of("runtimes", runtime, RUNTIMES)
    with _flatbuffer.opened(path) as file:
        return check(file, wanted)


def min_runtime(path: PathLike) -> str:
    """The oldest TensorFlow Lite that runs a TFLite file on the CPU, by the versions of its ops.

    Args:
        path: The file.

    Returns:
        A version such as `"2.3.0"`. LiteRT continues TensorFlow Lite: its 1.0 is 2.17.

    Raises:
        ValueError: if `path` is no TFLite file.
        ImportError: if ai-edge-litert is missing, which the extra `export` brings.

    Example:
        >>> import keras, keras_stn
        >>> images, params = keras.Input((8, 12, 1), name="images"), keras.Input((6,), name="params")
        >>> model = keras.Model([images, params], keras_stn.Warp()([images, params]))
        >>> report = keras_stn.export_tflite(model, "warp.tflite", batch_size=1)
        >>> keras_stn.export.min_runtime("warp.tflite")
        '2.2.0'
    """
    _files.require("ai_edge_litert")
    with _flatbuffer.opened(path) as file:
        return _versions.min_runtime(file.operators)


def check(file: _flatbuffer.File, runtimes: tuple[str, ...] = RUNTIMES) -> list[Finding]:
    """`check_tflite` of a file that is parsed already."""
    findings = []
    for operator in file.operators:
        for rule, refusing, function in RULES:
            concerned = tuple(runtime for runtime in refusing if runtime in runtimes)
            message = function(operator) if concerned else None
            if message:
                where = operator.outputs[0].name if operator.outputs else ""
                findings.append(Finding(rule, operator.name, where, concerned, message))
                if rule in SILENCE_OTHERS:
                    break
    return findings
