"""OpenVINO's scaled_dot_product_attention on the CPU, compiled once, with arrays that are there before the call. It has
no window: a mask takes its place."""

import numpy
import openvino
from openvino import opset15 as opset

from settings import THREADS


def compiled(parameters, causal, mask, precision):
    inputs = parameters if mask is None else [*parameters, mask]
    attention = opset.scaled_dot_product_attention(*inputs, causal=causal)
    model = openvino.Model([attention], inputs, "attention")
    return openvino.Core().compile_model(model, "CPU", {
        "INFERENCE_NUM_THREADS": THREADS, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision, "ENABLE_CPU_PINNING": False})


class OpenVINO:
    """Where heads are grouped, those of a group are the heads of one entry of a batch, which has one key-value head."""

    window_as_mask = True

    def __init__(self, inputs, task):
        s = task.shape
        self.shape = s
        batch, heads = (s.key_value_heads, s.group) if task.grouped else (1, s.heads)
        queries = (batch, heads, s.q_len, s.head_dim)
        keys = (batch, s.key_value_heads // batch, s.kv_len, s.head_dim)
        given = [(inputs.q, queries), (inputs.k, keys), (inputs.v, keys)]
        number = openvino.Type.bf16 if task.bfloat16 else openvino.Type.f32
        tensors = [tensor_of(array.reshape(shape), number) for array, shape in given]
        mask = None
        if task.window:
            mask = opset.parameter([s.q_len, s.kv_len], number)
            tensors.append(tensor_of(task.mask(), number))
        self.model = compiled([opset.parameter(shape, number) for _, shape in given],
                              task.hides_keys and not task.window, mask, number)
        self.request = self.model.create_infer_request()
        for i, tensor in enumerate(tensors):
            self.request.set_input_tensor(i, tensor)

    @staticmethod
    def takes(task):
        return not task.backward

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
