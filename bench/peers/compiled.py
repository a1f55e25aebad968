"""The contenders in C++, from the libraries that bench/CMakeLists.txt builds."""

import ctypes
import os

import numpy

FLOATS, INT64, INT32 = ctypes.POINTER(ctypes.c_float), ctypes.c_int64, ctypes.c_int32


def library(name):
    return ctypes.CDLL(os.path.join(os.environ["PEERS_LIBRARIES"], name))  # the folder they are in


def floats(array):
    return array.ctypes.data_as(FLOATS)


class OursOptions(ctypes.Structure):
    """As ours.cpp has it, member by member."""
    _fields_ = [("heads", INT64), ("key_value_heads", INT64), ("q_len", INT64), ("kv_len", INT64), ("head_dim", INT64),
                ("window", INT64), ("causal", INT32), ("bfloat16", INT32), ("keys_kept", INT32)]


class Ours:
    """ra::attention, and ra::attention_backward where asked. The tensors are made before the call; so is, when decoding
    with keys and values as bfloat16, what is kept of them."""

    def __init__(self, inputs, task):
        self.backward, self.shape = task.backward, task.shape
        self.library = library("ours.so")
        self.library.ours_create.restype = ctypes.c_void_p
        self.library.ours_result.restype = FLOATS
        s = task.shape
        options = OursOptions(s.heads, s.key_value_heads, s.q_len, s.kv_len, s.head_dim, task.window, task.causal,
                              task.bfloat16, task.bfloat16 and task.decode)
        arrays = (inputs.q, inputs.k, inputs.v, inputs.d_output)
        self.handle = ctypes.c_void_p(self.library.ours_create(*map(floats, arrays), ctypes.byref(options)))

    def __call__(self):
        self.library.ours_forward(self.handle)
        if self.backward:
            self.library.ours_backward(self.handle)

    def results(self):
        """The output; dq, dk, dv."""
        s = self.shape
        keys = (s.key_value_heads, s.kv_len, s.head_dim)
        shapes = [s.output, s.output, keys, keys] if self.backward else [s.output]
        return [numpy.ctypeslib.as_array(self.library.ours_result(self.handle, which), shape)
                for which, shape in enumerate(shapes)]

    def __del__(self):
        self.library.ours_destroy(self.handle)


class PlainEigen:
    """The matrix of scores of each head, by Eigen."""

    def __init__(self, inputs, task):
        self.library = library("plain_eigen.so")
        self.inputs = inputs  # the pointers below are into these
        self.output = numpy.empty(task.shape.output, numpy.float32)
        self.arguments = (floats(inputs.q), floats(inputs.k), floats(inputs.v), floats(self.output),
                          *map(INT64, task.shape.output), INT32(task.causal))

    @staticmethod
    def takes(task):
        return not (task.bfloat16 or task.window or task.backward or task.grouped or task.decode)

    def __call__(self):
        self.library.plain_eigen_forward(*self.arguments)

    def results(self):
        return [self.output]
