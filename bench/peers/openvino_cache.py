"""OpenVINO with keys and values in the state of the model, to which a call adds the last token: when decoding it has a
kernel for that, and for all of them given anew (openvino_operator.py) it has not, and takes 3 to 5 times as long."""

import numpy
import openvino
from openvino import opset15 as opset

from openvino_operator import OpenVINO, batched, number_of, request_for, tensor_of


def cached(added, entries, name, number):
    """The earlier tokens with those added, and what puts them back. entries: which of a beam search's go on."""
    batch, heads, _, head_dim = added.get_partial_shape()
    info = openvino.op.util.VariableInfo()
    info.data_shape, info.data_type, info.variable_id = openvino.PartialShape([batch, heads, -1, head_dim]), number, name
    variable = openvino.op.util.Variable(info)
    empty = opset.constant(numpy.zeros([n.get_length() for n in (batch, heads)] + [0, head_dim.get_length()], numpy.float32))
    earlier = opset.read_value(opset.convert(empty, number.to_string()), variable)
    tokens = opset.concat([opset.gather(earlier, entries, opset.constant(0)), added], 2)
    return tokens, opset.assign(tokens, variable)


class OpenVINOCache(OpenVINO):
    window_as_mask = False

    def __init__(self, inputs, task):
        self.shape, number = task.shape, number_of(task)
        queries, keys = batched(task)
        last = (*keys[:2], task.shape.q_len, keys[3])
        q, k, v = (opset.parameter(shape, number) for shape in (queries, last, last))
        entries = opset.parameter([keys[0]], openvino.Type.i32)
        (key, put_key), (value, put_value) = cached(k, entries, "k", number), cached(v, entries, "v", number)
        attention = opset.scaled_dot_product_attention(q, key, value, causal=False)
        model = openvino.Model([opset.result(attention)], [put_key, put_value], [q, k, v, entries], "decode")
        self.request = request_for(model, number)
        past = task.shape.kv_len - task.shape.q_len
        arrays = {"k": inputs.k.reshape(keys), "v": inputs.v.reshape(keys)}
        self.past = {name: tensor_of(array[:, :, :past], number) for name, array in arrays.items()}
        given = [inputs.q.reshape(queries), *(array[:, :, past:] for array in arrays.values())]
        for i, array in enumerate(given):
            self.request.set_input_tensor(i, tensor_of(array, number))
        self.request.set_input_tensor(3, openvino.Tensor(numpy.arange(keys[0], dtype=numpy.int32)))

    @staticmethod
    def takes(task):
        return task.decode

    def prepare(self):
        """Before the clock runs: the cache as it is given, which a call then moves to where it can grow. The calls of a
        round add a token each."""
        for state in self.request.query_state():
            state.state = self.past[state.name]
        self()

    def results(self):
        self.prepare()
        return super().results()
