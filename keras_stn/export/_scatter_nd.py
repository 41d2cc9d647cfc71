"""tf.scatter_nd in ONNX, where tf2onnx lets what comes last to a place stand, and adds nothing up."""

OP = "ScatterNd"


def to_onnx(context, node, name, arguments):
    """Turns it into a ScatterND that adds: a handler for `custom_op_handlers` of tf2onnx."""
    from onnx import TensorProto, helper

    indices, updates, shape = node.input
    dtype = context.get_dtype(updates)
    outputs, shapes, dtypes = node.output, node.output_shapes, node.output_dtypes
    context.remove_node(name)
    indices, shape = (
        context.make_node("Cast", [whole], attr={"to": TensorProto.INT64}).output[0]
        for whole in (indices, shape)
    )
    zero = helper.make_tensor("value", dtype, dims=[1], vals=[0])
    zeros = context.make_node(
        "ConstantOfShape", [shape], attr={"value": zero}, shapes=shapes, dtypes=[dtype]
    ).output[0]
    context.make_node(
        "ScatterND",
        [zeros, indices, updates],
        attr={"reduction": "add"},
        outputs=outputs,
        shapes=shapes,
        dtypes=dtypes,
        name=name,
    )
