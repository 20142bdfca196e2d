"""Voice activity of earshot and Silero v6 on the same clips: vad_peers.py DATA CLIPS EARSHOT_SCORES OUT.json NAME=SILERO.onnx ...

DATA holds audio/manifest.jsonl, CLIPS the repository's own WAVs; EARSHOT_SCORES is the built `scores` program; Silero
models are those that take (frames of 576 samples, h, c), as faster-whisper's silero_vad_v6.onnx does.
"""
import json, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np
import onnxruntime

HZ, MIN_RUN_MS = 16000, 100
data, clips, earshot, out = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:5]
models = dict(a.split("=") for a in sys.argv[5:])
rng = np.random.default_rng(0)


def decode(path):
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-f", "f32le", "-ac", "1", "-ar", str(HZ), "-"],
                         capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.float32)


def scaled(x, dbfs):
    return (x * 10 ** (dbfs / 20) / np.sqrt(np.mean(x**2) + 1e-20)).clip(-1, 1).astype(np.float32)


def cases():
    """(group, name, samples, labelled speech in seconds or None)"""
    speech, nonspeech = [], []
    for row in map(json.loads, open(data / "audio/manifest.jsonl")):
        if row["kind"] in ("vad", "nonspeech", "short"):
            pcm = decode(data / row["path"])
            (speech if row["kind"] == "short" else nonspeech).append((row["id"], pcm))
            yield row["kind"], row["id"], pcm, row.get("speech_segments")
    for path in sorted(clips.glob("*.wav")):
        group = "nonspeech" if path.stem in ("silence", "noise") else "short"
        yield group, "clip-" + path.stem, decode(path), None
    t = np.arange(20 * HZ) / HZ
    notes = 440 * 2 ** (rng.integers(-12, 13, 50) / 12)
    melody = np.sin(2 * np.pi * np.cumsum(np.repeat(notes, int(0.4 * HZ))) / HZ)
    harmonics = sum(np.sin(2 * np.pi * np.cumsum(np.repeat(notes, int(0.4 * HZ))) * k / HZ) / k for k in range(1, 9))
    typing = np.zeros(20 * HZ)
    for at in rng.integers(0, 20 * HZ - 800, 120):
        typing[at:at + 800] += rng.normal(size=800) * np.exp(-np.arange(800) / 100)
    breath = rng.normal(size=20 * HZ) * np.maximum(0, np.sin(2 * np.pi * t / 4)) ** 2
    synthetic = {
        "silence": np.zeros(20 * HZ, np.float32), "white-20dB": scaled(rng.normal(size=20 * HZ), -20),
        "white-40dB": scaled(rng.normal(size=20 * HZ), -40),
        "hum-40dB": scaled(sum(np.sin(2 * np.pi * 50 * k * t) / k for k in range(1, 6)), -40),
        "melody-sine": scaled(melody, -20), "melody-harmonics": scaled(harmonics, -20),
        "typing": scaled(typing, -35), "breath": scaled(breath, -40),
    }
    for name, pcm in synthetic.items():
        yield "synthetic", name, pcm, None
    for word in ("yes", "no", "stop", "hi", "okay", "six", "push", "delete", "new line", "thank you"):
        for voice in ("slt", "rms", "kal16"):
            with tempfile.NamedTemporaryFile(suffix=".wav") as wav:
                subprocess.run(["flite", "-voice", voice, "-t", word, "-o", wav.name], check=True)
                pcm = np.pad(decode(wav.name), 8000)
            yield "word", f"{voice}-{word}", scaled(pcm, -30), None
            yield "word-quiet", f"{voice}-{word}", scaled(pcm, -50), None
    noise = next(x for n, x in nonspeech if n == "ns-sb-noise1")
    for name, pcm in speech:
        yield "short-30dB", name, scaled(pcm, -50), None  # 30 dB below a usual -20 dBFS
        hiss = np.resize(noise, pcm.size)
        snr_5 = scaled(pcm, -23) + scaled(hiss, -28)
        yield "short-5dB-snr", name, snr_5.clip(-1, 1).astype(np.float32), None


def silero_scores(session, pcm):
    pcm = np.pad(pcm, (64, -pcm.size % 512))
    frames = np.stack([pcm[i:i + 576] for i in range(0, pcm.size - 64, 512)])
    h = c = np.zeros((1, 1, 128), np.float32)
    return session.run(None, {"input": frames, "h": h, "c": c})[0].reshape(-1)


def energy_span(pcm):
    """First and last second with energy above both the clip's floor + 12 dB and its peak - 35 dB."""
    frames = pcm[:pcm.size // 160 * 160].reshape(-1, 160)
    db = 10 * np.log10(np.mean(frames**2, 1) + 1e-10)
    loud = np.flatnonzero(db > max(np.percentile(db, 5) + 12, np.percentile(db, 99) - 35))
    return (loud[0] / 100, (loud[-1] + 1) / 100) if loud.size else None


def spans(scores, on, frame):
    """Runs of speech with hysteresis 0.15 of at least MIN_RUN_MS, in seconds."""
    runs, begin, at = [], None, 0
    for at, p in enumerate(scores):
        if begin is None and p >= on:
            begin = at
        elif begin is not None and p < on - 0.15:
            runs.append((begin, at)); begin = None
    if begin is not None:
        runs.append((begin, at + 1))
    return [(a * frame / HZ, b * frame / HZ) for a, b in runs if (b - a) * frame * 1000 / HZ >= MIN_RUN_MS]


def figures(scored, frame, on):
    table = {}
    for group in dict.fromkeys(g for g, *_ in scored):
        rows = [r for r in scored if r[0] == group]
        found = {n: spans(s, on, frame) for _, n, _, _, s in rows}
        hit = [n for n in found if found[n]]
        row = {"clips": len(rows), "flagged_clips": len(hit),
               "flagged_s": round(sum(b - a for n in hit for a, b in found[n]), 1),
               "total_s": round(sum(p.size for _, _, p, _, _ in rows) / HZ, 1)}
        if group in ("nonspeech", "synthetic"):
            row["flagged"] = {n: round(sum(b - a for a, b in found[n]), 2) for n in hit}
        else:
            row["missed"] = [n for n in found if not found[n]]
            ends = [(found[n], labels[0] if (labels and group == "vad" and n.startswith("vad")) else energy_span(p))
                    for _, n, p, labels, _ in rows if found[n]]
            for what, i, j in (("onset", 0, 0), ("offset", -1, 1)):
                ms = [1000 * (f[i][j] - e[j]) for f, e in ends if e]
                row[what + "_ms_p5_p50_p95"] = [round(float(q)) for q in np.percentile(ms, (5, 50, 95))]
        table[group] = row
    return table


def segmented(all_cases, segments):
    """What the segmenter keeps with its default settings, and what the gate over the whole clip says."""
    table = {}
    for (group, name, pcm, _), (*bounds, speech_ms, has_speech) in zip(all_cases, segments):
        row = table.setdefault(group, {"clips": 0, "gate_passes": 0, "with_segments": 0, "segments": 0, "total_s": 0,
                                       "kept_s": 0, "least_speech_ms": 10**9, "loud_s_lost": 0, "names": []})
        pairs = list(zip(bounds[::2], bounds[1::2]))
        row["clips"] += 1
        row["gate_passes"] += has_speech
        row["with_segments"] += bool(pairs)
        row["segments"] += len(pairs)
        row["total_s"] += pcm.size / HZ
        row["kept_s"] += sum(b - a for a, b in pairs) / HZ
        row["least_speech_ms"] = min(row["least_speech_ms"], speech_ms)
        if bool(pairs) == (group in ("nonspeech", "synthetic")):
            row["names"].append(name)  # wrong ones
        if group not in ("nonspeech", "synthetic") and (span := energy_span(pcm)):
            lost = max(0, pairs[0][0] / HZ - span[0]) + max(0, span[1] - pairs[-1][1] / HZ) if pairs else span[1] - span[0]
            row["loud_s_lost"] += lost
    return {g: {k: round(v, 2) if isinstance(v, float) else v for k, v in r.items()} for g, r in table.items()}


def main():
    all_cases = list(cases())
    seconds = sum(c[2].size for c in all_cases) / HZ
    scores, factor = {}, {}
    with tempfile.TemporaryDirectory() as tmp:
        paths = [Path(tmp) / f"{i}.f32" for i in range(len(all_cases))]
        for path, (_, _, pcm, _) in zip(paths, all_cases):
            path.write_bytes(np.asarray(pcm, np.float32).tobytes())
        run = subprocess.run([earshot], input="\n".join(map(str, paths)), capture_output=True, text=True, check=True)
        for name, value in zip(("earshot", "ours", "segmenter"), run.stdout.split()):
            factor[name] = float(f"{float(value):.2g}")
        scores["earshot"] = [np.fromfile(str(p) + ".earshot", np.float32) for p in paths]
        scores["ours"] = [np.fromfile(str(p) + ".silero", np.float32) for p in paths]
        segments = [list(map(int, Path(str(p) + ".segments").read_text().split())) for p in paths]
    for name, path in models.items():
        session, begun = onnxruntime.InferenceSession(path), time.perf_counter()
        scores[name] = [silero_scores(session, c[2]) for c in all_cases]
        factor[name] = float(f"{(time.perf_counter() - begun) / seconds:.2g}")
    report = {"command": "vad_peers.py DATA CLIPS scores vad.json NAME=MODEL.onnx ...", "audio_s": round(seconds),
              "real_time_factor": factor}
    report["ours_against_onnxruntime_max_abs"] = max(
        float(np.abs(a - b).max()) for a, b in zip(scores["ours"], scores["silero_v6.0"]))
    report["segmenter"] = segmented(all_cases, segments)
    for name in scores:
        scored = [(*c, s) for c, s in zip(all_cases, scores[name])]
        frame = 256 if name == "earshot" else 512
        report[name] = {f"threshold_{on}": figures(scored, frame, on) for on in (0.3, 0.5, 0.7, 0.9)}
    Path(out).write_text(json.dumps(report, indent=1) + "\n")


main()
