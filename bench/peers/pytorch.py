"""PyTorch's scaled_dot_product_attention on the CPU; [1, heads, seq_len, head_dim] is its natural layout."""

import torch

torch.set_num_threads(1)


class PyTorch:
    def __init__(self, inputs, causal, backward=False):
        self.causal, self.backward = causal, backward
        tensors = (torch.from_numpy(array)[None] for array in (inputs.q, inputs.k, inputs.v, inputs.d_output))
        self.q, self.k, self.v, self.d_output = tensors
        for tensor in (self.q, self.k, self.v):
            tensor.requires_grad_(backward)

    def __call__(self):
        self.output = torch.nn.functional.scaled_dot_product_attention(
            self.q, self.k, self.v, is_causal=self.causal)
        if self.backward:
            self.gradients = torch.autograd.grad(self.output, (self.q, self.k, self.v), self.d_output)

    def results(self):
        return [tensor.detach()[0].numpy() for tensor in (self.output, *(self.gradients if self.backward else ()))]
