"""PyTorch's scaled_dot_product_attention on the CPU; [1, heads, seq_len, head_dim] is its natural layout. It has no
window: a mask takes its place."""

import torch

from settings import THREADS

torch.set_num_threads(THREADS)


class PyTorch:
    window_as_mask = True

    def __init__(self, inputs, task):
        self.backward, mask = task.backward, task.mask()
        number = torch.bfloat16 if task.bfloat16 else torch.float32
        arrays = (inputs.q, inputs.k, inputs.v, inputs.d_output)
        self.q, self.k, self.v, self.d_output = (torch.from_numpy(array)[None].to(number) for array in arrays)
        for tensor in (self.q, self.k, self.v):
            tensor.requires_grad_(task.backward)
        self.options = {"enable_gqa": task.grouped}
        if task.window:
            self.options["attn_mask"] = torch.from_numpy(mask).to(number)
        else:
            self.options["is_causal"] = task.hides_keys

    def __call__(self):
        self.output = torch.nn.functional.scaled_dot_product_attention(self.q, self.k, self.v, **self.options)
        if self.backward:
            self.gradients = torch.autograd.grad(self.output, (self.q, self.k, self.v), self.d_output)

    def results(self):
        tensors = (self.output, *(self.gradients if self.backward else ()))
        return [tensor.detach()[0].float().numpy() for tensor in tensors]
