"""PyTorch's own samples for scaled_dot_product_attention, with the gradients of all inputs.

What is expected is what PyTorch computes of the sample in double. The tolerances are PyTorch's own. It judges
gradients in double alone: in float, where they are up to 100 and differences of larger numbers, the relative
tolerance is of the largest.
"""

import numpy as np
import torch
from torch.testing._internal.common_device_type import toleranceOverride
from torch.testing._internal.common_methods_invocations import op_db


def cases():
    (operator,) = (op for op in op_db if op.name == "nn.functional.scaled_dot_product_attention")
    found = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        samples = operator.sample_inputs("cpu", dtype, requires_grad=True)
        found += [Case(number, operator, sample, dtype) for number, sample in enumerate(samples)]
    return found


def as_heads(array):
    """[batch, tokens, width] is one head."""
    return array[:, None] if array.ndim == 3 else array


def tolerances(operator, dtype):
    """rtol and atol of the operator for the type, or PyTorch's for all operators."""
    for decorator in operator.decorators:
        for override in decorator.decorators if hasattr(decorator, "decorators") else [decorator]:
            if isinstance(override, toleranceOverride) and dtype in override.d:
                return override.d[dtype].rtol, override.d[dtype].atol
    return torch.testing._comparison.default_tolerances(dtype)


class Case:
    def __init__(self, number, operator, sample, dtype):
        options = sample.kwargs
        self.name = f"sample {number} {str(dtype).removeprefix('torch.')}"
        self.random = options["dropout_p"] > 0
        self._causal = options["is_causal"]
        self._inputs = [sample.input, *sample.args]
        if "attn_mask" in options:
            self._inputs.append(options["attn_mask"])
        self._dtype = dtype
        self._rtol, self._atol = tolerances(operator, dtype)
        if not self.random:
            self._expect(operator, options)

    def _expect(self, operator, options):
        q, k, v, *mask = inputs = [x.detach().double().requires_grad_() for x in self._inputs]
        if mask:
            options = dict(options, attn_mask=mask[0])
        output = operator(q, k, v, **options)
        self._d_output = torch.randn(output.shape, dtype=self._dtype)
        gradients = torch.autograd.grad(output, inputs, self._d_output.double())
        names = ("output", "d_query", "d_key", "d_value", "d_bias")
        self._expected = {name: x.detach().to(self._dtype) for name, x in zip(names, (output, *gradients))}

    def calls(self):
        q, k, v, *mask = (x.detach().numpy() for x in self._inputs)
        if q.ndim == k.ndim - 1:  # one query for all batch entries
            q = np.broadcast_to(q, k.shape[:1] + q.shape)
        tensors = {"query": q, "key": k, "value": v, "d_output": self._d_output.numpy()}
        tensors = {name: as_heads(x) for name, x in tensors.items()}
        if mask:
            tensors["bias"] = mask[0][None, None]
        return [(tensors, {"causal": self._causal})]

    def check(self, results):
        """Of the one call, its results. Raises an AssertionError where they are not as expected."""
        (result,) = results
        for name, expected in self._expected.items():
            given = torch.from_numpy(result[name].copy())
            while given.ndim > expected.ndim:  # the gradient of what was broadcast is a sum; one head is none
                given = given.sum(0) if given.shape[1:] == expected.shape else given.squeeze(1)
            atol = self._atol
            if name != "output" and self._dtype == torch.float32:
                atol = max(atol, self._rtol * expected.abs().max().item())
            torch.testing.assert_close(
                given, expected, rtol=self._rtol, atol=atol, msg=lambda text: f"{name}: {text}"
            )
