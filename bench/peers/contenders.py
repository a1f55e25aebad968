"""Who takes part in what. A contender is made from the inputs, in its own layout and before the clock runs; calling
it computes, and results() gives [output] or [output, dq, dk, dv] as arrays [heads, seq_len, head_dim]."""

import dataclasses
from collections.abc import Callable

from compiled import Ours, PlainEigen
from onnx_runtime import group_query_attention, multi_head_attention
from pytorch import PyTorch


@dataclasses.dataclass
class Case:
    contenders: dict[str, Callable]  # name => contender(inputs); "ours" comes first
    products: int  # of the size of q k^T, over all heads: what the result needs, and no recomputation
    causal: bool

    def flops(self, heads, seq_len, head_dim):
        return self.products * 2 * heads * seq_len**2 * head_dim / (2 if self.causal else 1)


def forward(causal):
    of_all = {"ours": Ours, "plain Eigen": PlainEigen, "PyTorch": PyTorch, "ONNX Runtime MHA": multi_head_attention}
    if causal:
        of_all["ONNX Runtime GQA"] = group_query_attention
    return {name: lambda inputs, make=make: make(inputs, causal) for name, make in of_all.items()}


CASES = {
    "forward": Case(forward(causal=False), 2, causal=False),
    "forward, causal": Case(forward(causal=True), 2, causal=True),
    "forward and backward, causal": Case(
        {name: lambda inputs, make=make: make(inputs, causal=True, backward=True)
         for name, make in {"ours": Ours, "PyTorch": PyTorch}.items()}, 6, causal=True),
}
