#!/usr/bin/env bash
# Makes engine/tests/clips/*.wav (16 kHz, mono, 16 bit) from the texts in clips.json beside them.
# Needs flite (Debian: apt-get install flite) and python3. The clips are committed: run this only to change one.
set -euo pipefail
cd "$(dirname "$0")/../engine/tests/clips"

if ! command -v flite >/dev/null; then
    echo "flite is missing: apt-get install flite" >&2
    exit 1
fi

python3 - <<'PY'
import json, random, subprocess, wave
from array import array

RATE_HZ = 16000


def write(path, samples):
    with wave.open(path, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes(array("h", samples).tobytes())


def pink(count, peak=2000, seed=7):
    """Voss-McCartney: the sum of rows of white noise, row n renewed every 2**n samples."""
    rng = random.Random(seed)
    rows = [rng.uniform(-1, 1) for _ in range(12)]
    out = []
    for i in range(count):
        for n in range(12):
            if i % (1 << n) == 0:
                rows[n] = rng.uniform(-1, 1)
        out.append(sum(rows))
    top = max(map(abs, out))
    return [round(v / top * peak) for v in out]


def speak(text):
    subprocess.run(["flite", "-voice", "slt", "-t", text, "-o", "part.wav"], check=True)
    with wave.open("part.wav") as part:
        assert (part.getframerate(), part.getnchannels(), part.getsampwidth()) == (RATE_HZ, 1, 2)
        return list(array("h", part.readframes(part.getnframes())))


for clip in json.load(open("clips.json")):
    seconds = clip.get("duration_s", 0)
    if clip["source"] == "silence":
        samples = [0] * (RATE_HZ * seconds)
    elif clip["source"] == "pink_noise":
        samples = pink(RATE_HZ * seconds)
    else:
        # Sentences are spoken one by one with a short pause, as in dictation.
        samples = []
        for sentence in clip["spoken"]:
            samples += speak(sentence) + [0] * (RATE_HZ * 3 // 10)
    write(clip["file"], samples)
    print(clip["file"], round(len(samples) / RATE_HZ, 2), "s")
PY
rm -f part.wav
