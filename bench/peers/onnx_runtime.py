"""ONNX Runtime's operators, each as a model of one node that reads and writes memory which is there before the
call. The natural layout of the first two is [1, seq_len, heads * head_dim], of Attention [1, heads, seq_len, head_dim].
None of them computes in bfloat16 on a CPU."""

import numpy
import onnxruntime
from onnx import helper

from settings import THREADS


def one_node_model(operator, domain, inputs, outputs, attributes):
    """inputs and outputs: name => array, or None for an input left out."""
    def declare(arrays):
        return [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)
                for name, array in arrays.items() if array is not None]

    names = [name if array is not None else "" for name, array in inputs.items()]
    node = helper.make_node(operator, names, list(outputs), domain=domain, **attributes)
    graph = helper.make_graph([node], operator, declare(inputs), declare(outputs))
    # An older IR and opset, so that the runtime reads what the newest onnx writes; 23 is the first with Attention.
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21 if domain else 23),
                                                                  helper.make_opsetid("com.microsoft", 1)])


class OneNode:
    """outputs: the first is the result."""

    def __init__(self, operator, inputs, outputs, attributes, domain="com.microsoft"):
        self.arrays, self.output = (inputs, outputs), next(iter(outputs.values()))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
        model = one_node_model(operator, domain, inputs, outputs, attributes)
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        for name, array in inputs.items():
            if array is not None:
                self.binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in outputs.items():
            self.binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def __call__(self):
        self.session.run_with_iobinding(self.binding)


class MergedHeads(OneNode):
    """Its output is [1, q_len, heads * head_dim]."""

    def __init__(self, shape, *arguments):
        super().__init__(*arguments)
        self.shape = shape

    def results(self):
        heads, q_len, head_dim = self.shape.output
        return [self.output.reshape(q_len, heads, head_dim).transpose(1, 0, 2)]


def merge_heads(array):
    """[heads, seq_len, head_dim] => [1, seq_len, heads * head_dim]"""
    heads, seq_len, head_dim = array.shape
    return numpy.ascontiguousarray(array.transpose(1, 0, 2)).reshape(1, seq_len, heads * head_dim)


def merged_output(shape):
    return {"output": numpy.empty((1, shape.q_len, shape.heads * shape.head_dim), numpy.float32)}


class MultiHeadAttention(MergedHeads):
    """As many key-value heads as heads. A mask takes the place of a window. A cache lies as the operator itself has
    keys and values, [1, heads, seq_len, head_dim]."""

    window_as_mask = True

    def __init__(self, inputs, task):
        lies = (lambda array: array[None]) if task.decode else merge_heads
        given = {"query": merge_heads(inputs.q), "key": lies(inputs.k), "value": lies(inputs.v)}
        if task.window:
            given |= {"bias": None, "key_padding_mask": None, "attention_bias": task.mask()[None, None]}
        super().__init__(task.shape, "MultiHeadAttention", given, merged_output(task.shape),
                         {"num_heads": task.shape.heads, "unidirectional": int(task.hides_keys and not task.window)})

    @staticmethod
    def takes(task):
        return not (task.bfloat16 or task.backward or task.grouped)


class GroupQueryAttention(MergedHeads):
    """Causal always. Present keys and values are outputs that it insists on. When decoding, the past ones lie in the same
    memory: it adds the last token there, and copies nothing."""

    def __init__(self, inputs, task):
        s = task.shape
        added = s.q_len  # tokens that the cache does not have yet
        cache = {name: array[None].copy() if task.decode else numpy.empty((1, *array.shape), numpy.float32)
                 for name, array in (("key", inputs.k), ("value", inputs.v))}
        given = {"query": merge_heads(inputs.q), "key": merge_heads(inputs.k[:, -added:]),
                 "value": merge_heads(inputs.v[:, -added:]),
                 "past_key": cache["key"] if task.decode else None,
                 "past_value": cache["value"] if task.decode else None,
                 "seqlens_k": numpy.array([s.kv_len - 1], numpy.int32),
                 "total_sequence_length": numpy.array(s.kv_len, numpy.int32)}
        outputs = merged_output(s) | {"present_key": cache["key"], "present_value": cache["value"]}
        super().__init__(s, "GroupQueryAttention", given, outputs,
                         {"num_heads": s.heads, "kv_num_heads": s.key_value_heads,
                          "local_window_size": task.window or -1})

    @staticmethod
    def takes(task):
        return task.causal and not (task.bfloat16 or task.backward)


class Attention(OneNode):
    """onnx's own operator. A mask takes the place of a window."""

    window_as_mask = True

    def __init__(self, inputs, task):
        given = {"Q": inputs.q[None], "K": inputs.k[None], "V": inputs.v[None]}
        if task.window:
            given["attn_mask"] = task.mask()
        super().__init__("Attention", given, {"Y": numpy.empty((1, *task.shape.output), numpy.float32)},
                         {"is_causal": int(task.hides_keys and not task.window)}, domain="")

    @staticmethod
    def takes(task):
        return not (task.bfloat16 or task.backward)

    def results(self):
        return [self.output[0]]
