"""The cases, and who takes part in which. A contender is made from the inputs, in its own layout and before the clock
runs; calling it computes, and results() gives [output] or [output, dq, dk, dv] as arrays [heads, seq_len, head_dim]."""

import dataclasses

import onnx_runtime
from another_environment import zentorch
from compiled import Ours, PlainEigen
from inputs import Shape, Task
from openvino_cache import OpenVINOCache
from openvino_operator import OpenVINO
from pytorch import PyTorch


@dataclasses.dataclass(frozen=True)
class Case:
    title: str
    products: int  # of the size of q k^T, over all heads: what the result needs, and no recomputation
    causal: bool
    backward: bool = False
    window: int = 0
    heads: int = 1  # times the heads that are asked for; key-value heads stay
    cache: int = 0  # decode: one query, and so many times the length that is asked for

    def task(self, heads, seq_len, head_dim, bfloat16=False):
        q_len, kv_len = (1, self.cache * seq_len) if self.cache else (seq_len, seq_len)
        shape = Shape(self.heads * heads, heads, q_len, kv_len, head_dim)
        return Task(shape, self.causal, self.window, self.backward, bfloat16)

    def flops(self, task):
        return self.products * 2 * task.shape.heads * task.pairs() * task.shape.head_dim


CASES = {
    "all": Case("forward", 2, causal=False),
    "causal": Case("forward, causal", 2, causal=True),
    "grouped": Case("forward, causal, groups of 4", 2, causal=True, heads=4),
    "window": Case("forward, window of 512", 2, causal=True, window=512),
    "decode": Case("decode", 2, causal=True, cache=1),
    "decode-long": Case("decode, 8 times as long", 2, causal=True, cache=8),
    "decode-grouped": Case("decode, 8 times as long, groups of 4", 2, causal=True, heads=4, cache=8),
    "backward": Case("forward and backward, causal", 6, causal=True, backward=True),
    "backward-all": Case("forward and backward", 6, causal=False, backward=True),
}

PEERS = {
    "PyTorch": PyTorch,
    "OpenVINO": OpenVINO,
    "OpenVINO, stateful": OpenVINOCache,
    "ONNX Runtime MHA": onnx_runtime.MultiHeadAttention,
    "ONNX Runtime GQA": onnx_runtime.GroupQueryAttention,
    "ONNX Runtime Attention": onnx_runtime.Attention,
    "plain Eigen": PlainEigen,
} | zentorch()


def contenders(task, peers=("",)):
    """name => contender(inputs); "ours" comes first. With bfloat16 ours in float takes part too, to be compared with.
    Of the peers only those whose names begin with one of these."""
    with_ours = {"ours": (Ours, task)}
    if task.bfloat16:
        with_ours["ours, float"] = (Ours, dataclasses.replace(task, bfloat16=False))
    for name, peer in PEERS.items():
        if name.startswith(tuple(peers)) and getattr(peer, "takes", lambda task: True)(task):
            by_mask = task.window and getattr(peer, "window_as_mask", False)
            with_ours[name + ", mask" if by_mask else name] = (peer, task)
    return {name: lambda inputs, make=make, of=of: make(inputs, of) for name, (make, of) in with_ours.items()}
