"""Rewrites of an ONNX graph that leave fewer nodes and the same numbers."""

import math
from collections.abc import Container
from typing import Any

import numpy as np

Graph = Any
Node = Any


def simplify(model: Any) -> Any:
    """`model` with fewer nodes. Its outputs keep their names and, but for a bias, every bit."""
    import onnx

    rewrites = _fix_scales, _fix_shapes, _fuse_clips, _fuse_dense, _drop_moves, _flatten_as_it_lies
    for rewrite in rewrites:
        model = onnx.shape_inference.infer_shapes(model)
        rewrite(model.graph)
        _drop_unused(model.graph)
        del model.graph.value_info[:]  # the next may know more
    return model


def name_batch(model: Any, open_batch: Container[str]) -> None:
    """Call the first size of these inputs and outputs "batch", where it is open."""
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.name in open_batch and dims and not dims[0].HasField("dim_value"):
            dims[0].dim_param = "batch"


def raise_opset(model: Any, opset: int, modes: dict[bytes, bytes]) -> None:
    """Declare a newer opset, in which GridSample has other names for its modes.

    Of the operators that changed from 18 to 20, all but DFT kept what they were; GridSample, in 20, took
    volumes and new names.
    """
    (imported,) = (one for one in model.opset_import if one.domain in ("", "ai.onnx"))
    imported.version = opset
    graphs = [model.graph]
    for graph in graphs:  # which grows
        for node in graph.node:
            graphs += _graphs(node)
            for attribute in node.attribute if node.op_type == "GridSample" else ():
                if attribute.name == "mode":
                    attribute.s = modes.get(attribute.s, attribute.s)


class _View:
    """What the rewrites ask about a graph."""

    def __init__(self, graph: Graph):
        from onnx import numpy_helper

        self.graph = graph
        self.maker = {name: node for node in graph.node for name in node.output}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        inside = (_reads(inner) for node in graph.node for inner in _graphs(node))
        # What is read elsewhere: by who runs the graph, and by the graphs of branches and loops.
        self.outputs = {value.name for value in graph.output}.union(*inside)
        self._array = numpy_helper.to_array
        self._info = {v.name: v for v in (*graph.input, *graph.value_info, *graph.output)}

    def constant(self, name: str) -> np.ndarray | None:
        return self._array(self.constants[name]) if name in self.constants else None

    def shape(self, name: str) -> list[int | str] | None:
        """Sizes, or the names of the unknown ones."""
        if name in self.constants:
            return list(self.constants[name].dims)
        if name not in self._info or not self._info[name].type.tensor_type.HasField("shape"):
            return None
        dims = self._info[name].type.tensor_type.shape.dim
        return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in dims]

    def users(self, name: str) -> list[Node]:
        return [node for node in self.graph.node if name in node.input]

    def made_for_one(self, name: str, op_type: str) -> Node | None:
        """The node of this type that makes `name` for one user and no output, if there is one."""
        node = self.maker.get(name)
        private = name not in self.outputs and len(self.users(name)) == 1
        return node if node is not None and node.op_type == op_type and private else None

    def add_constant(self, array: np.ndarray, like: str) -> str:
        from onnx import numpy_helper

        name = f"{like}_constant"
        while name in self.constants:
            name += "_"
        tensor = numpy_helper.from_array(array, name)
        self.graph.initializer.append(tensor)
        self.constants[name] = tensor
        return name


def _graphs(node: Node) -> list[Graph]:
    """The branches or the body of a node that has such."""
    return [graph for a in node.attribute for graph in ([a.g] if a.HasField("g") else a.graphs)]


def _reads(graph: Graph) -> set[str]:
    """All names that are read in a graph or in one within it, some of them from the graph around it."""
    nodes = [names for node in graph.node for names in (node.input, *map(_reads, _graphs(node)))]
    return {value.name for value in graph.output}.union(*nodes)


def _fix_scales(graph: Graph) -> None:
    """A Resize by 224 / 41 in float32 would give 223 pixels of 41, for ONNX rounds the product down."""
    view = _View(graph)
    for node in graph.node:
        by_scales = node.op_type == "Resize" and len(node.input) == 3
        scales = view.constant(node.input[2]) if by_scales else None
        if scales is None:
            continue
        fixed = scales.copy()
        for axis, size in enumerate(view.shape(node.input[0]) or ()):
            if isinstance(size, int):
                while size * float(fixed[axis]) < round(size * float(scales[axis])):
                    fixed[axis] = np.nextafter(fixed[axis], np.float32(np.inf))
        if not np.array_equal(fixed, scales):
            node.input[2] = view.add_constant(fixed, node.output[0])


def _fix_shapes(graph: Graph) -> None:
    """Reshape to (n, 4, 5) with n from Shape, Gather, Slice ... is Reshape to (-1, 4, 5)."""
    view = _View(graph)
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] in view.constants:
            continue
        sizes = _sizes(view, node.input[1])
        if sizes is not None and sizes.count(None) == 1 and all(s is None or s > 0 for s in sizes):
            target = np.array([-1 if size is None else size for size in sizes], np.int64)
            node.input[1] = view.add_constant(target, node.output[0])


def _sizes(view: _View, name: str) -> list[int | None] | None:
    """The entries of a shape that is computed in the graph, None for the unknown ones."""
    constant = view.constant(name)
    if constant is not None:
        return [int(size) for size in constant.reshape(-1)]
    node = view.maker.get(name)
    if node is not None and node.op_type == "Cast":
        return _sizes(view, node.input[0])
    if node is not None and node.op_type == "Concat":
        pieces = [_sizes(view, piece) for piece in node.input]
        return None if None in pieces else [size for piece in pieces for size in piece or ()]
    return [None] if view.shape(name) == [1] else None


def _fuse_clips(graph: Graph) -> None:
    """Max(Min(x, high), low) is Clip(x, low, high) where both are numbers and low <= high."""
    view = _View(graph)
    for node in graph.node:
        if node.op_type != "Max" or len(node.input) != 2:
            continue
        low, inner = view.constant(node.input[1]), view.made_for_one(node.input[0], "Min")
        if inner is None or len(inner.input) != 2:
            continue
        high = view.constant(inner.input[1])
        if low is None or high is None or low.size != 1 or high.size != 1 or low > high:
            continue
        bounds = [
            view.add_constant(bound.reshape(()), f"{node.output[0]}_{word}")
            for bound, word in ((low, "low"), (high, "high"))
        ]
        node.op_type = "Clip"
        node.input[:] = [inner.input[0], *bounds]


def _fuse_dense(graph: Graph) -> None:
    """MatMul and Add of a bias are Gemm."""
    view = _View(graph)
    for node in graph.node:
        if node.op_type != "Add":
            continue
        product, bias = view.made_for_one(node.input[0], "MatMul"), view.shape(node.input[1])
        if product is None or node.input[1] not in view.constants or bias is None or len(bias) != 1:
            continue
        left, right = view.shape(product.input[0]), view.shape(product.input[1])
        if left is None or right is None or not len(left) == len(right) == 2:
            continue
        if bias[0] in (1, right[1]):  # a product of one column would become as long as the bias
            node.op_type = "Gemm"
            node.input[:] = [*product.input, node.input[1]]


def _flatten_as_it_lies(graph: Graph) -> None:
    """Flatten of channels_last before a dense layer: reorder the rows of its weights, not the pixels."""
    view = _View(graph)
    for gemm in graph.node:
        weights = view.constant(gemm.input[1]) if gemm.op_type == "Gemm" else None
        flat = view.made_for_one(gemm.input[0], "Reshape") if weights is not None else None
        turn = view.made_for_one(flat.input[0], "Transpose") if flat is not None else None
        shape = view.shape(turn.input[0]) if turn is not None else None
        if weights is None or flat is None or turn is None or shape is None:
            continue
        order = next((list(a.ints) for a in turn.attribute if a.name == "perm"), [])
        target = view.constant(flat.input[1])
        sizes = [size for size in shape[1:] if isinstance(size, int)]
        whole = target is not None and len(target) == 2 and target[1] == len(weights) == math.prod(sizes)
        if order[:1] != [0] or len(sizes) != len(shape) - 1 or not whole:
            continue
        rows = np.arange(len(weights)).reshape([shape[axis] for axis in order[1:]])
        rows = rows.transpose(np.argsort(np.array(order[1:]))).reshape(-1)
        gemm.input[1] = view.add_constant(np.ascontiguousarray(weights[rows]), gemm.input[1])
        flat.input[0] = turn.input[0]


def _drop_moves(graph: Graph) -> None:
    """Reshapes that undo each other or do nothing, pools of one pixel, and what is there twice."""
    view = _View(graph)
    replaced: dict[str, str] = {}
    seen: dict[tuple, str] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = replaced.get(name, name)
        if node.op_type not in ("Reshape", "Transpose", "AveragePool") or len(node.output) != 1:
            continue
        result = node.output[0]
        if node.op_type == "Reshape" and _positive(view, node):
            before = view.maker.get(node.input[0])
            if before is not None and (before.op_type == "Reshape" or _moves_ones(view, before)):
                node.input[0] = before.input[0]
        form = (node.op_type, *node.input, *(a.SerializeToString() for a in node.attribute))
        twin = seen.setdefault(form, result)
        nothing = node.op_type == "Reshape" or (node.op_type == "AveragePool" and _one_pixel(node))
        if result in view.outputs:
            continue
        if twin != result:
            replaced[result] = twin
        elif nothing and _same(view, node.input[0], result):
            replaced[result] = node.input[0]


def _moves_ones(view: _View, node: Node) -> bool:
    """Whether a Transpose keeps the order of all axes that are longer than one."""
    shape = view.shape(node.input[0]) if node.op_type == "Transpose" else None
    if shape is None:
        return False
    order = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
    long = [axis for axis in order if shape[axis] != 1]
    return bool(order) and long == sorted(long)


def _one_pixel(pool: Node) -> bool:
    return math.prod(next(a.ints for a in pool.attribute if a.name == "kernel_shape")) == 1


def _positive(view: _View, reshape: Node) -> bool:
    """Whether a Reshape says its target without looking at its input's sizes (a 0 would)."""
    target = view.constant(reshape.input[1])
    return target is not None and bool((target != 0).all())


def _same(view: _View, before: str, after: str) -> bool:
    """Whether two tensors of equal content have the same shape: one size at most may be unknown."""
    one, two = view.shape(before), view.shape(after)
    if one is None or two is None or len(one) != len(two):
        return False
    unknown = [(a, b) for a, b in zip(one, two, strict=True) if isinstance(a, str) or isinstance(b, str)]
    known = [(a, b) for a, b in zip(one, two, strict=True) if (a, b) not in unknown]
    both = all(isinstance(size, str) for pair in unknown for size in pair)
    return len(unknown) <= 1 and both and all(a == b for a, b in known)


def _drop_unused(graph: Graph) -> None:
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed.update(node.input, *map(_reads, _graphs(node)))
    nodes = list(reversed(kept))
    del graph.node[:]
    graph.node.extend(nodes)
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(constants)
