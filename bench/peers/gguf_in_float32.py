"""gguf_in_float32.py GGUF OUT: the same model with every tensor in float32."""

import os
import sys

import numpy
from gguf import GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType, dequantize


def main(source, out):
    reader = GGUFReader(source)
    writer = GGUFWriter(out + ".part", reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue  # the writer's own
        value = int(LlamaFileType.ALL_F32) if name == "general.file_type" else field.contents()
        of_array = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], of_array)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.rename(out + ".part", out)


main(*sys.argv[1:])
