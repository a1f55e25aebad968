"""ONNX's own cases for its operator Attention, opset 23 to 25 (https://onnx.ai/onnx/operators/onnx__Attention.html).

Here tensors are moved, and nothing is computed: heads are split and put together, a past is put before the keys,
a mask becomes a bias. What cannot be had in one call is had in several: where queries of each batch entry are
elsewhere, a call for each; the probabilities are the output for values that are the identity; the score of a key is
the log_sum_exp of that key alone.
"""

import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.runner import Runner


def cases():
    # What ends in _expanded is the same numbers through a graph of other operators.
    return [Case(case) for case in collect_testcases("Attention") if not case.name.endswith("_expanded")]


def split_heads(tokens, num_heads):
    """[batch, tokens, heads * width] => [batch, heads, tokens, width]"""
    batch, length, width = tokens.shape
    return tokens.reshape(batch, length, num_heads, width // num_heads).transpose(0, 2, 1, 3)


def bias_of(mask, kv_len, dtype):
    """A mask that may be boolean, shorter than the keys and of less than four axes, as [., ., ., kv_len]."""
    if mask.dtype == np.bool_:
        mask = np.where(mask, 0, -np.inf)
    mask = mask.astype(dtype).reshape((1,) * (4 - mask.ndim) + mask.shape)
    missing = kv_len - mask.shape[3]
    return np.pad(mask, [(0, 0)] * 3 + [(0, missing)], constant_values=-np.inf)


class Case:
    def __init__(self, case):
        self.name = case.name
        self._case = case
        (node,) = case.model.graph.node
        ((inputs, self._expected),) = case.data_sets
        self._given = dict(zip((name for name in node.input if name), inputs))
        self._outputs = [name for name in node.output if name]
        self._attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        self._type = self._given["Q"].dtype
        self._computed = np.float64 if self._type == np.float64 else np.float32
        self._mode = self._attributes.get("qk_matmul_output_mode", 0)
        self._read_tensors()
        self._read_rules()

    def _read_tensors(self):
        q, k, v = (self._given[name] for name in "QKV")
        self._flat = q.ndim == 3
        if self._flat:
            q = split_heads(q, self._attributes["q_num_heads"])
            k, v = (split_heads(x, self._attributes["kv_num_heads"]) for x in (k, v))
        if "past_key" in self._given:
            k = np.concatenate((self._given["past_key"], k), axis=2)
            v = np.concatenate((self._given["past_value"], v), axis=2)
        self._present = {"present_key": k, "present_value": v}
        self._query, self._key, self._value = (x.astype(self._computed) for x in (q, k, v))

    def _read_rules(self):
        attributes, batch = self._attributes, self._query.shape[0]
        q_len, kv_len = self._query.shape[2], self._key.shape[2]
        self._lengths = self._given.get("nonpad_kv_seqlen")
        # The position of each batch entry's first query: behind the past, or such that the last is at the end.
        past = self._given["past_key"].shape[2] if "past_key" in self._given else 0
        self._offsets = [past] * batch if self._lengths is None else [int(n) - q_len for n in self._lengths]
        self._options = {"causal": bool(attributes.get("is_causal", 0))}
        for name in ("scale", "softcap"):
            if attributes.get(name):
                self._options[name] = attributes[name]
        mask = self._given.get("attn_mask")
        self._bias = None if mask is None else bias_of(mask, kv_len, self._computed)
        self._read_window(attributes.get("left_window_size", -1), attributes.get("right_window_size", -1))
        if self._bias is not None and self._bias.shape[2] != q_len:
            self._bias = np.repeat(self._bias, q_len, axis=2)

    def _read_window(self, left, right):
        q_len, kv_len = self._query.shape[2], self._key.shape[2]
        if left >= 0 and (right == left or self._options["causal"] and right < 0):
            self._options["window"] = left + 1
        elif left >= 0 or right >= 0:  # one that is not as wide on both sides
            offsets = np.array(self._offsets).reshape(-1, 1, 1, 1)
            distance = offsets + np.arange(q_len)[:, None] - np.arange(kv_len)
            hidden = ((left >= 0) & (distance > left)) | ((right >= 0) & (-distance > right))
            window = np.where(hidden, -np.inf, 0).astype(self._computed)
            self._bias = window if self._bias is None else self._bias + window

    def calls(self):
        """Lists of calls; of each, tensors and options: the output, and what else is wanted."""
        entries = [(slice(None), self._offsets[0])]
        if self._lengths is not None:
            entries = [(slice(b, b + 1), offset) for b, offset in enumerate(self._offsets)]
        return [call for entry in entries for call in self._calls_of(*entry)]

    def _calls_of(self, batch, offset):
        q, k, v = self._query[batch], self._key[batch], self._value[batch]
        tensors = {"query": q, "key": k, "value": v}
        if self._bias is not None:
            tensors["bias"] = self._bias[batch] if self._bias.shape[0] > 1 else self._bias
        options = dict(self._options, query_offset=offset)
        if self._lengths is not None:
            options["lengths"] = [int(n) for n in self._lengths[batch]]
        calls = [(tensors, options)]
        if "qk_matmul_output" in self._outputs:
            calls += self._scores(tensors, options)
        return calls

    def _scores(self, tensors, options):
        """The calls that give qk_matmul_output: probabilities; or scores before the cap, before the bias, with both."""
        key, kv_len = tensors["key"], tensors["key"].shape[2]
        if self._mode == 3:
            identity = np.broadcast_to(np.eye(kv_len, dtype=self._computed), key.shape[:3] + (kv_len,))
            return [(dict(tensors, value=identity), options)]
        if self._mode < 2:
            kept = ("scale",) if self._mode == 0 else ("scale", "softcap")
            options = {"causal": False} | {name: options[name] for name in kept if name in options}
            tensors = {name: tensors[name] for name in ("query", "key", "value")}
        calls = []
        for j in range(kv_len):
            alone = {name: tensors[name][:, :, j : j + 1] for name in ("key", "value")}
            if "bias" in tensors:
                alone["bias"] = tensors["bias"][..., j : j + 1]
            moved = {}
            if self._mode == 2:
                moved["query_offset"] = options["query_offset"] - j
                if "lengths" in options:
                    moved["lengths"] = [min(max(n - j, 0), 1) for n in options["lengths"]]
            calls.append((tensors | alone, options | moved))
        return calls

    def check(self, results):
        """Of each call, its results. Raises an AssertionError where they are not as expected."""
        entries = 1 if self._lengths is None else len(self._offsets)
        each = len(results) // entries
        parts = [results[i * each : (i + 1) * each] for i in range(entries)]
        output = np.concatenate([part[0]["output"] for part in parts])
        if self._flat:
            batch, heads, length, width = output.shape
            output = output.transpose(0, 2, 1, 3).reshape(batch, length, heads * width)
        given = {"Y": output.astype(self._type), **self._present}
        if "qk_matmul_output" in self._outputs:
            scores = np.concatenate([self._scores_of(part[1:]) for part in parts])
            given["qk_matmul_output"] = scores.astype(self._type)
        Runner.assert_similar_outputs(
            self._expected, [given[name] for name in self._outputs], rtol=self._case.rtol, atol=self._case.atol
        )

    def _scores_of(self, results):
        if self._mode == 3:
            return results[0]["output"]
        return np.stack([result["log_sum_exp"] for result in results], axis=3)
