#!/usr/bin/env python3
"""How long one waits for clean text behind the last word: Undertone beside faster-whisper and llama-server.

    dictate.py --model CT2_DIR --text GGUF [--clips 30]

Each recording of 3 to 15 s is spoken to Undertone in real time, which works meanwhile; the others begin when it ends:
faster-whisper (int8, its fastest here) transcribes the samples, llama-server cleans the text as in llama.py. Milliseconds
from the recording's end to the text, on both sides without a microphone and a window. Recordings in turn, the order
changing with each; everything loaded and asked once before. Build first:
`cargo build --release -p undertone-benches --bin language`.
"""
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import systems

systems.ensure_environment()

from faster_whisper import decode_audio

import llama

SECONDS = (3, 15)


def main():
    parser = systems.arguments(__doc__)
    parser.add_argument("--text", type=Path, required=True, help="GGUF, for both")
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--out", type=Path, help="default: benches/runs/dictate-MODEL-TEXT.json")
    args = parser.parse_args()

    clips = [clip for clip in systems.load_clips(args.data, args.kind, args.lang)
             if SECONDS[0] <= clip["duration_s"] <= SECONDS[1]]
    clips = systems.spread(clips, args.clips)
    samples = {clip["id"]: decode_audio(clip["file"]) for clip in clips}
    whisper = systems.FasterWhisper(args.model, "int8")
    mode = tomllib.loads((systems.ROOT / "engine/modes.toml").read_text())["standard"]
    server = llama.Server(llama.build(), args.text)
    ours = subprocess.Popen([llama.language_binary(), "dictate", args.model, args.text], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True, env=llama.environment())

    def peers(clip):
        start = time.perf_counter()
        heard = whisper(samples[clip["id"]], clip["lang"]).strip()
        if heard:
            server.ask("POST", *llama.request(mode, "qwen" in args.text.name.lower(), heard))
        return (time.perf_counter() - start) * 1e3

    def undertone(clip):
        ours.stdin.write(clip["file"] + "\n")
        ours.stdin.flush()
        return json.loads(ours.stdout.readline())["ms"]

    turns = {"faster-whisper and llama-server": peers, "undertone": undertone}
    for turn in turns.values():  # loads the model, computes the prompt's beginning; not counted
        turn(clips[0])
    times = {name: {} for name in turns}
    for number, clip in enumerate(clips):
        for name, turn in list(turns.items())[:: 1 if number % 2 else -1]:
            times[name][clip["id"]] = round(turn(clip), 2)
    server.close()
    ours.stdin.close()
    ours.wait()

    found = {}
    for name, by_clip in times.items():
        ms = list(by_clip.values())
        found[name] = {"p50_ms": round(statistics.median(ms), 1), "p95_ms": round(statistics.quantiles(ms, n=20)[-1], 1)}
        print(f"{name:34}p50 {found[name]['p50_ms']:8.1f} ms   p95 {found[name]['p95_ms']:8.1f} ms")
    out = args.out or systems.ROOT / f"benches/runs/dictate-{args.model.name}-{args.text.stem}.json"
    out.write_text(json.dumps({
        "date": time.strftime("%Y-%m-%d"), "machine": platform.machine(), "threads": systems.THREADS,
        "load_average": os.getloadavg()[0], "clips": {clip["id"]: clip["duration_s"] for clip in clips},
        "measured": "milliseconds from the end of the recording to the clean text", **found, "all_ms": times,
    }, indent=1) + "\n")
    print(out)


if __name__ == "__main__":
    main()
