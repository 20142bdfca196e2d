"""The systems that wer.py and speed.py set side by side, and what both need: a Python environment and the clips."""
import argparse
import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ["faster-whisper==1.2.1", "ctranslate2==4.8.5", "pywhispercpp==1.5.1", "jiwer==4.0.0",
                "whisper-normalizer==0.1.15"]
THREADS = 2


def ensure_environment():
    """Runs this script again inside target/peers-venv, made on the first call, unless the packages are already here."""
    try:
        import faster_whisper, jiwer, pywhispercpp, whisper_normalizer  # noqa: F401
        return
    except ImportError:
        folder = ROOT / "target/peers-venv"
        python = folder / "bin/python"
        if Path(sys.prefix) == folder:
            raise
        if not (folder / "complete").exists():
            print(f"setting up {folder} ({', '.join(REQUIREMENTS)})", file=sys.stderr)
            venv.create(folder, with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
            (folder / "complete").touch()
        os.execv(python, [str(python), *sys.argv])


def arguments(description):
    """A parser with the options the commands share: models, binary and which clips."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="CTranslate2 Whisper folder, for all systems")
    parser.add_argument("--undertone", type=Path, help="the built binary; left out: peers only")
    parser.add_argument("--undertone-model", help="what --speech-model gets; default: --model")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--kind", default="short")
    parser.add_argument("--lang", default="en", help="a code, `all`, or `other` for everything but English")
    return parser


def load_clips(data, kind, lang):
    """Rows of audio/manifest.jsonl; lang is a code, `all`, or `other` (everything but English)."""
    rows = []
    for line in (data / "audio/manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        wanted = lang == "all" or (row["lang"] != "en" if lang == "other" else row["lang"] == lang)
        if row["kind"] == kind and wanted:
            row["file"] = str(data / row["path"])
            rows.append(row)
    if not rows:
        sys.exit(f"no clip of kind {kind} and language {lang} in {data}")
    return rows


def spread(clips, count):
    """`count` clips evenly spread over the durations."""
    ordered = sorted(clips, key=lambda clip: clip["duration_s"])
    step = (len(ordered) - 1) / max(count - 1, 1)
    return [ordered[round(i * step)] for i in range(min(count, len(ordered)))]


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def ggml_variant(ct2_dir, kind="f16"):
    """The same weights as a whisper.cpp file, made once under target/."""
    folder = ROOT / "target/peers-models" / digest(Path(ct2_dir) / "model.bin")
    path = folder / f"ggml-{kind}.bin"
    if not path.exists():
        script = ROOT / "scripts/make_whisper_variants.py"
        subprocess.run([sys.executable, script, ct2_dir, folder, "--only", f"ggml-{kind}"], check=True,
                       stdout=subprocess.DEVNULL)
    return path


class FasterWhisper:
    """Beam 1, no voice detection, default thresholds, conditioned on the previous text."""

    def __init__(self, ct2_dir, compute_type="float32"):
        import faster_whisper
        self.name = f"faster-whisper {compute_type}"
        self.key = f"{self.name} {faster_whisper.__version__} {digest(Path(ct2_dir) / 'model.bin')} beam1 cond"
        self.model_args = (ct2_dir, compute_type)
        self.model = None

    def __call__(self, samples, language):
        import ctranslate2
        from faster_whisper import WhisperModel
        if self.model is None:
            self.model = WhisperModel(str(self.model_args[0]), device="cpu", compute_type=self.model_args[1],
                                      cpu_threads=THREADS)
        ctranslate2.set_random_seed(1)  # fallback temperatures sample
        segments, _ = self.model.transcribe(samples, language=language, beam_size=1, vad_filter=False,
                                            condition_on_previous_text=True)
        return "".join(segment.text for segment in segments)


class WhisperCpp:
    """Greedy, whisper.cpp's default thresholds, the same weights as `kind`. With `reduced` only the utterance
    and 512 positions behind it are encoded (`audio_ctx`), which whisper.cpp leaves to its user."""

    def __init__(self, ct2_dir, kind="f16", reduced=False):
        from importlib.metadata import version
        self.name = f"whisper.cpp {kind}" + (" reduced" if reduced else "")
        self.kind, self.reduced = kind, reduced
        self.key = f"{self.name} {version('pywhispercpp')} {digest(Path(ct2_dir) / 'model.bin')} greedy"
        self.ct2_dir = ct2_dir
        self.model = None

    def __call__(self, samples, language):
        from pywhispercpp.model import Model
        if self.model is None:
            self.model = Model(str(ggml_variant(self.ct2_dir, self.kind)), n_threads=THREADS, params_sampling_strategy=0,
                               redirect_whispercpp_logs_to=None, print_progress=False, print_realtime=False)
        context = min(1500, len(samples) // 320 + 512) if self.reduced else 0
        found = self.model.transcribe(samples, language=language, audio_ctx=context)
        return " ".join(segment.text.strip() for segment in found)


def undertone(binary, model, clips, extra=()):
    """`undertone transcribe`, one process a language: {file: its JSON object}."""
    results = {}
    for language in sorted({clip["lang"] for clip in clips}):
        files = [clip["file"] for clip in clips if clip["lang"] == language]
        command = [str(binary), "transcribe", "--mode", "raw", "--format", "json", "--speech-model", str(model),
                   "--language", language, "--threads", str(THREADS), *extra, *files]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if run.returncode != 0:
            sys.exit(f"undertone failed with exit code {run.returncode}: {' '.join(command[:12])} ...")
        decoder, rest, objects = json.JSONDecoder(), run.stdout.strip(), []
        while rest:
            value, end = decoder.raw_decode(rest)
            objects.append(value)
            rest = rest[end:].strip()
        if len(objects) != len(files):
            sys.exit(f"undertone printed {len(objects)} results for {len(files)} files")
        results.update(zip(files, objects))
    return results
