"""ONNX Runtime's operators, each as a model of one node that reads and writes memory which is there before the
call. Their natural layout is [1, seq_len, heads * head_dim]."""

import numpy
import onnxruntime
from onnx import helper


def one_node_model(operator, inputs, outputs, attributes):
    """inputs and outputs: name => array, or None for an input left out."""
    def declare(arrays):
        return [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)
                for name, array in arrays.items() if array is not None]

    names = [name if array is not None else "" for name, array in inputs.items()]
    node = helper.make_node(operator, names, list(outputs), domain="com.microsoft", **attributes)
    graph = helper.make_graph([node], operator, declare(inputs), declare(outputs))
    # An older IR and opset, so that the runtime reads what the newest onnx writes.
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21),
                                                                  helper.make_opsetid("com.microsoft", 1)])


class OneNode:
    def __init__(self, shape, operator, inputs, outputs, **attributes):
        self.shape, self.arrays, self.output = shape, (inputs, outputs), outputs["output"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = one_node_model(operator, inputs, outputs, attributes)
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        for name, array in inputs.items():
            if array is not None:
                self.binding.bind_cpu_input(name, array)
        for name, array in outputs.items():
            self.binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def __call__(self):
        self.session.run_with_iobinding(self.binding)

    def results(self):
        heads, seq_len, head_dim = self.shape
        return [self.output.reshape(seq_len, heads, head_dim).transpose(1, 0, 2)]


def merge_heads(array):
    """[heads, seq_len, head_dim] => [1, seq_len, heads * head_dim]"""
    heads, seq_len, head_dim = array.shape
    return numpy.ascontiguousarray(array.transpose(1, 0, 2)).reshape(1, seq_len, heads * head_dim)


def query_key_value(inputs):
    return {"query": merge_heads(inputs.q), "key": merge_heads(inputs.k), "value": merge_heads(inputs.v)}


def multi_head_attention(inputs, causal):
    heads, seq_len, head_dim = inputs.shape
    outputs = {"output": numpy.empty((1, seq_len, heads * head_dim), numpy.float32)}
    return OneNode(inputs.shape, "MultiHeadAttention", query_key_value(inputs), outputs,
                   num_heads=heads, unidirectional=int(causal))


def group_query_attention(inputs, causal):
    """Causal always. As many groups as heads, no past; the present keys and values are outputs it insists on."""
    assert causal
    heads, seq_len, head_dim = inputs.shape
    given = query_key_value(inputs) | {
        "past_key": None, "past_value": None,
        "seqlens_k": numpy.array([seq_len - 1], numpy.int32), "total_sequence_length": numpy.array(seq_len, numpy.int32)}
    outputs = {"output": numpy.empty((1, seq_len, heads * head_dim), numpy.float32),
               "present_key": numpy.empty((1, heads, seq_len, head_dim), numpy.float32),
               "present_value": numpy.empty((1, heads, seq_len, head_dim), numpy.float32)}
    return OneNode(inputs.shape, "GroupQueryAttention", given, outputs, num_heads=heads, kv_num_heads=heads)
