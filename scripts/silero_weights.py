"""Writes engine/src/vad/silero_v6.f16 from silero_vad_16k_op15.onnx of the silero-vad 6.0.0 package:

    silero_weights.py silero_vad_16k_op15.onnx engine/src/vad/silero_v6.f16

Little-endian f16, per layer the weight as (input, output), then the bias. Convolutions have (tap, channel) as
their input; the LSTM has (features, last output), gates in the order input, forget, cell, output, and one bias.
The Fourier basis is computed, not stored. Needs numpy and onnx.
"""
import sys

import numpy as np
import onnx
from onnx import numpy_helper


def tensors(graph):
    for tensor in graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "value":
                yield node.output[0], numpy_helper.to_array(attribute.t)
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from tensors(attribute.g)


def main():
    named = dict(tensors(onnx.load(sys.argv[1]).graph))
    get = lambda suffix: next(t for n, t in named.items() if n.endswith(suffix))
    layers = [(get(f"encoder.{i}.reparam_conv.weight").transpose(2, 1, 0), get(f"encoder.{i}.reparam_conv.bias"))
              for i in range(4)]
    lstm = [get(f"rnn.{kind}_{to}h") for kind in ("weight", "bias") for to in "ih"]
    layers.append((np.concatenate([lstm[0], lstm[1]], axis=1).T, lstm[2] + lstm[3]))
    layers.append((get("decoder.2.weight").reshape(-1), get("decoder.2.bias")))
    flat = np.concatenate([part.reshape(-1) for layer in layers for part in layer])
    flat.astype("<f2").tofile(sys.argv[2])


main()
