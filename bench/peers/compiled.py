"""The contenders in C++, from the libraries that bench/CMakeLists.txt builds."""

import ctypes
import os

import numpy

LIBRARIES = os.environ["PEERS_LIBRARIES"]  # the folder they are in

FLOATS, INT64 = ctypes.POINTER(ctypes.c_float), ctypes.c_int64


def floats(array):
    return array.ctypes.data_as(FLOATS)


class Ours:
    """ra::attention, and ra::attention_backward where asked. The tensors are made before the call."""

    def __init__(self, inputs, causal, backward=False):
        self.backward, self.shape = backward, inputs.shape
        self.library = ctypes.CDLL(os.path.join(LIBRARIES, "ours.so"))
        self.library.ours_create.restype = ctypes.c_void_p
        self.library.ours_result.restype = FLOATS
        arrays = (inputs.q, inputs.k, inputs.v, inputs.d_output)
        self.handle = ctypes.c_void_p(
            self.library.ours_create(*map(floats, arrays), *map(INT64, self.shape), ctypes.c_int(causal)))

    def __call__(self):
        self.library.ours_forward(self.handle)
        if self.backward:
            self.library.ours_backward(self.handle)

    def results(self):
        """The output; dq, dk, dv."""
        return [numpy.ctypeslib.as_array(self.library.ours_result(self.handle, which), self.shape)
                for which in range(4 if self.backward else 1)]

    def __del__(self):
        self.library.ours_destroy(self.handle)


class PlainEigen:
    """The matrix of scores of each head, by Eigen."""

    def __init__(self, inputs, causal):
        self.library = ctypes.CDLL(os.path.join(LIBRARIES, "plain_eigen.so"))
        self.inputs = inputs  # the pointers below are into these
        self.output = numpy.empty(inputs.shape, numpy.float32)
        self.arguments = (floats(inputs.q), floats(inputs.k), floats(inputs.v), floats(self.output),
                          *map(INT64, inputs.shape), ctypes.c_int(causal))

    def __call__(self):
        self.library.plain_eigen_forward(*self.arguments)

    def results(self):
        return [self.output]
