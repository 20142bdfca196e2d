#!/usr/bin/env python3
"""How long Undertone, faster-whisper and whisper.cpp take for the same clips with the same weights.

    speed.py --model CT2_DIR --undertone BINARY [--clips N] [--rounds 10]

The systems take turns, so that a machine that slows down slows all of them; the order changes every round.
Models stay loaded. faster-whisper and whisper.cpp: wall time of one call from samples to text. Undertone: the sum of
a file's timings_ms (decoding of the audio file included; load_ms left out), all clips in one process.
Prints and stores medians over the rounds.
"""
import json
import os
import platform
import random
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import systems

systems.ensure_environment()

from faster_whisper import decode_audio


def peer_round(peer, clips, samples):
    times = {}
    for clip in clips:
        start = time.perf_counter()
        peer(samples[clip["id"]], clip["lang"])
        times[clip["id"]] = (time.perf_counter() - start) * 1e3
    return times


def undertone_round(args, clips):
    found = systems.undertone(args.undertone, args.undertone_model or args.model, clips)
    return {clip["id"]: sum(ms for stage, ms in found[clip["file"]]["timings_ms"].items()
                            if isinstance(ms, (int, float)) and stage != "total") for clip in clips}


def main():
    parser = systems.arguments(__doc__)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, help="default: benches/runs/speed-MODEL-KIND-LANG.json")
    args = parser.parse_args()

    clips = systems.spread(systems.load_clips(args.data, args.kind, args.lang), args.clips)
    samples = {clip["id"]: decode_audio(clip["file"]) for clip in clips}
    peers = [systems.FasterWhisper(args.model, "float32"), systems.FasterWhisper(args.model, "int8"),
             *(systems.WhisperCpp(args.model, kind) for kind in ("f16", "q8_0", "q5_1")),
             systems.WhisperCpp(args.model, "q8_0", reduced=True)]
    turns = {peer.name: (lambda peer=peer: peer_round(peer, clips, samples)) for peer in peers}
    if args.undertone:
        turns["undertone"] = lambda: undertone_round(args, clips)

    for turn in turns.values():  # loads the models, warms the caches; not counted
        turn()
    times = {name: {clip["id"]: [] for clip in clips} for name in turns}
    order = list(turns)
    for number in range(args.rounds):
        random.Random(number).shuffle(order)
        for name in order:
            for clip, ms in turns[name]().items():
                times[name][clip].append(ms)

    audio_s = sum(clip["duration_s"] for clip in clips)
    print(f"{args.model.name}: {len(clips)} clips, {audio_s:.1f} s of audio, {args.rounds} rounds, "
          f"{systems.THREADS} threads, load {os.getloadavg()[0]:.1f}")
    print(f"{'system':26}{'median ms a clip':>18}{'slowest clip ms':>17}{'sum ms':>10}{'x real time':>13}")
    medians = {}
    for name, by_clip in times.items():
        medians[name] = {clip: round(statistics.median(ms), 2) for clip, ms in by_clip.items()}
        values = list(medians[name].values())
        print(f"{name:26}{statistics.median(values):18.1f}{max(values):17.1f}{sum(values):10.1f}"
              f"{audio_s * 1e3 / sum(values):13.1f}")

    out = args.out or systems.ROOT / f"benches/runs/speed-{args.model.name}-{args.kind}-{args.lang}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({
        "date": time.strftime("%Y-%m-%d"), "machine": platform.machine(), "cores": os.cpu_count(),
        "threads": systems.THREADS, "load_average": os.getloadavg()[0], "model": args.model.name,
        "rounds": args.rounds, "clips": [{"id": c["id"], "duration_s": c["duration_s"]} for c in clips],
        "measured": "peers: wall time samples to text; undertone: sum of timings_ms, audio decoding included",
        "median_ms": medians, "all_ms": {n: {c: [round(v, 2) for v in ms] for c, ms in t.items()}
                                         for n, t in times.items()},
    }, indent=1) + "\n")
    print(out)


if __name__ == "__main__":
    main()
