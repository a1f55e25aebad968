"""OpenVINO's scaled_dot_product_attention on the CPU, compiled once, with arrays that are there before the call. It has
no window: a mask takes its place."""

import numpy
import openvino
from openvino import opset15 as opset

from settings import THREADS


def number_of(task):
    return openvino.Type.bf16 if task.bfloat16 else openvino.Type.f32


def batched(task):
    """[batch, heads, q_len, head_dim] of queries, and of keys. Where heads are grouped, those of a group are the heads of
    one entry of a batch, which has one key-value head: so the operator need not copy keys for each."""
    s = task.shape
    batch, heads, key_heads = (s.key_value_heads, s.group, 1) if task.grouped else (1, s.heads, s.heads)
    return (batch, heads, s.q_len, s.head_dim), (batch, key_heads, s.kv_len, s.head_dim)


def request_for(model, number):
    return openvino.Core().compile_model(model, "CPU", {
        "INFERENCE_NUM_THREADS": THREADS, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": number, "KV_CACHE_PRECISION": number}).create_infer_request()


class OpenVINO:
    window_as_mask = True

    def __init__(self, inputs, task):
        self.shape, number = task.shape, number_of(task)
        queries, keys = batched(task)
        given = [inputs.q.reshape(queries), inputs.k.reshape(keys), inputs.v.reshape(keys)]
        if task.window:
            given.append(task.mask())
        parameters = [opset.parameter(array.shape, number) for array in given]
        attention = opset.scaled_dot_product_attention(*parameters, causal=task.hides_keys and not task.window)
        self.request = request_for(openvino.Model([attention], parameters, "attention"), number)
        for i, array in enumerate(given):
            self.request.set_input_tensor(i, tensor_of(array, number))

    @staticmethod
    def takes(task):
        return not (task.backward or task.decode)

    def __call__(self):
        self.request.infer()

    def results(self):
        return [as_floats(self.request.get_output_tensor(0)).reshape(self.shape.output)]


def tensor_of(array, number):
    tensor = openvino.Tensor(number, openvino.Shape(array.shape))
    if number == openvino.Type.bf16:
        bits = array.astype(numpy.float32).view(numpy.uint32).astype(numpy.uint64)
        rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16  # to nearest, ties to even
        tensor.data.view(numpy.uint16)[...] = rounded.astype(numpy.uint16)
    else:
        tensor.data[...] = array
    return tensor


def as_floats(tensor):
    if tensor.element_type == openvino.Type.bf16:
        return (tensor.data.view(numpy.uint16).astype(numpy.uint32) << 16).view(numpy.float32)
    return tensor.data
