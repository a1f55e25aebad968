"""What all contenders are given."""

import dataclasses

import numpy


@dataclasses.dataclass(frozen=True)
class Shape:
    heads: int
    key_value_heads: int
    q_len: int  # the last q_len of kv_len tokens
    kv_len: int
    head_dim: int

    @property
    def group(self):
        return self.heads // self.key_value_heads

    @property
    def output(self):
        return self.heads, self.q_len, self.head_dim


@dataclasses.dataclass(frozen=True)
class Task:
    """What is to be computed from the inputs."""
    shape: Shape
    causal: bool
    window: int = 0  # 0: none; else a query sees the last `window` keys, its own included
    backward: bool = False
    bfloat16: bool = False  # keys and values, or all; else float

    @property
    def decode(self):
        return self.shape.q_len < self.shape.kv_len

    @property
    def grouped(self):
        return self.shape.group > 1

    @property
    def hides_keys(self):
        """Is there a key that a query does not see? The one last query sees all."""
        return bool(self.window) or (self.causal and self.shape.q_len > 1)

    def pairs(self):
        """Of a query and a key that it sees, in one head."""
        s = self.shape
        if not self.hides_keys:
            return s.q_len * s.kv_len
        last = range(s.kv_len - s.q_len + 1, s.kv_len + 1)
        return sum(min(keys, self.window or keys) for keys in last)

    def mask(self):
        """[q_len, kv_len]: 0 where a query sees a key, -infinity elsewhere; None where it sees all."""
        if not self.hides_keys:
            return None
        s = self.shape
        behind = numpy.arange(s.kv_len - s.q_len, s.kv_len)[:, None] - numpy.arange(s.kv_len)[None]
        seen = (behind >= 0) & (behind < (self.window or s.kv_len))
        return numpy.where(seen, numpy.float32(0), numpy.float32(-numpy.inf))


@dataclasses.dataclass
class Inputs:
    q: numpy.ndarray  # [heads, q_len, head_dim], float32
    k: numpy.ndarray  # [key_value_heads, kv_len, head_dim]
    v: numpy.ndarray
    d_output: numpy.ndarray  # as q


def random_inputs(shape):
    generator = numpy.random.default_rng(1)
    queries = (shape.heads, shape.q_len, shape.head_dim)
    keys = (shape.key_value_heads, shape.kv_len, shape.head_dim)
    return Inputs(*(generator.standard_normal(size, numpy.float32) for size in (queries, keys, keys, queries)))
