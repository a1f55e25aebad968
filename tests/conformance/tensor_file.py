"""Safetensors files (https://github.com/huggingface/safetensors), as far as these tests need them."""

import json
import struct

import numpy as np

DTYPES = {"F32": np.float32, "F64": np.float64}


def write(path, tensors, metadata):
    """tensors: name => array of float32 or float64; metadata: name => text."""
    names = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
    header, data = {"__metadata__": metadata}, []
    position = 0
    for name, array in tensors.items():
        data.append(np.ascontiguousarray(array).tobytes())
        end = position + len(data[-1])
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def read(path):
    """The tensors and the metadata."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors, metadata
