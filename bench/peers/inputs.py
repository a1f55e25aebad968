"""What all contenders are given."""

import dataclasses

import numpy


@dataclasses.dataclass
class Inputs:
    q: numpy.ndarray  # each [heads, seq_len, head_dim], float32
    k: numpy.ndarray
    v: numpy.ndarray
    d_output: numpy.ndarray

    @property
    def shape(self):
        return self.q.shape


def random_inputs(heads, seq_len, head_dim):
    generator = numpy.random.default_rng(1)
    return Inputs(*(generator.standard_normal((heads, seq_len, head_dim), numpy.float32) for _ in range(4)))
