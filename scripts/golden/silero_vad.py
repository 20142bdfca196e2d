#!/usr/bin/env python3
"""Golden speech probabilities of the repository's clips, by onnxruntime.

    silero_vad.py silero_vad_16k_op15.onnx

The model is that of the silero-vad 6.0.0 package. Writes engine/tests/golden/silero_vad.json: file -> one
probability per frame of 512 samples, the last frame filled with zeros.
Needs: pip install onnxruntime numpy
"""
import json
import sys
import wave
from pathlib import Path

import numpy as np
import onnxruntime

ROOT = Path(__file__).resolve().parents[2]
FRAME, CONTEXT = 512, 64


def probabilities(session, pcm):
    pcm = np.pad(pcm, (CONTEXT, -pcm.size % FRAME))
    state = np.zeros((2, 1, 128), np.float32)
    for begin in range(0, pcm.size - CONTEXT, FRAME):
        frame = pcm[None, begin:begin + CONTEXT + FRAME]
        probability, state = session.run(None, {"input": frame, "state": state, "sr": np.array(16000)})
        yield round(float(probability[0, 0]), 6)


def main():
    session = onnxruntime.InferenceSession(sys.argv[1])
    golden = {}
    for name in ("question.wav", "report.wav", "noise.wav"):
        with wave.open(str(ROOT / "engine/tests/clips" / name)) as clip:
            pcm = np.frombuffer(clip.readframes(clip.getnframes()), "<i2").astype(np.float32) / 32768
        golden[name] = list(probabilities(session, pcm))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(values)}" for name, values in golden.items())
    (ROOT / "engine/tests/golden/silero_vad.json").write_text("{\n" + lines + "\n}\n")


main()
