#!/usr/bin/env python3
"""Golden values of a Whisper model, by CTranslate2 and faster-whisper.

    whisper.py CT2_DIR NAME [--clips DIR] [--out DIR]

Writes NAME.safetensors and NAME.transcripts.json into models/tests/golden; its README.md says what is in them.
Needs: pip install faster-whisper==1.2.1 safetensors==0.8.0
"""
import argparse
import json
from pathlib import Path

import ctranslate2
import faster_whisper
import numpy as np
from faster_whisper import WhisperModel, decode_audio
from faster_whisper.feature_extractor import FeatureExtractor
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 3000  # 30 s


def padded(mel):
    """[n_mels, frames] -> [n_mels, 3000], zeros behind, as faster-whisper's pad_or_trim does."""
    out = np.zeros((mel.shape[0], FRAMES), np.float32)
    out[:, :mel.shape[1]] = mel[:, :FRAMES]
    return out


def mels(audio):
    """The two ways to fill a window: zeros in the mel (faster-whisper), silence in the audio (OpenAI, whisper.cpp)."""
    extract = FeatureExtractor()
    content = extract(audio)[:, :-1]  # faster-whisper never feeds the frame of its 160 padding samples
    silence = extract(np.pad(audio, (0, 480000 - len(audio))), padding=0)
    return content, padded(content), padded(silence)


def numeric(model, audio, multilingual):
    content, zero_filled, silence_filled = mels(audio)
    frames = np.r_[0:content.shape[1]:7, content.shape[1] - 1:content.shape[1] + 1, 1000:FRAMES:250]
    frames_silence = np.r_[0:content.shape[1]:70, content.shape[1] - 4:content.shape[1] + 4, 1000:FRAMES:250]

    def encode(mel):
        return model.encode(ctranslate2.StorageView.from_array(np.ascontiguousarray(mel[None])))

    encoded = encode(zero_filled)
    rows = np.unique(np.r_[np.linspace(0, 1499, 63).round(), content.shape[1] // 2]).astype(int)
    rows_silence = np.linspace(0, 1499, 12).round().astype(int)

    prompt = [50258, 50259, 50359, 50363] if multilingual else [50257, 50362]  # ..., <|notimestamps|>
    result = model.generate(encoded, [prompt], beam_size=1, return_logits_vocab=True,
                            suppress_blank=False, suppress_tokens=[])[0]
    tokens = result.sequences_ids[0] + [50257 if multilingual else 50256]  # CTranslate2 leaves <|endoftext|> out
    logits = np.stack([np.array(step).reshape(-1) for step in result.logits[0]]).astype(np.float64)
    assert len(tokens) == len(logits) >= 20 and np.isfinite(logits).all()
    assert (logits.argmax(1) == tokens).all()  # nothing was suppressed: these are the decoder's own logits
    peak = logits.max(1)
    logsumexp = peak + np.log(np.exp(logits - peak[:, None]).sum(1))
    top = np.argsort(-logits, axis=1)[:, :32]
    sample = np.unique(np.linspace(0, logits.shape[1] - 1, 256).round().astype(int))
    f32, i32 = (lambda a: np.ascontiguousarray(a, np.float32)), (lambda a: np.ascontiguousarray(a, np.int32))
    return {
        "mel_frames": i32(frames), "mel": f32(zero_filled[:, frames]),
        "mel_silence_frames": i32(frames_silence), "mel_silence": f32(silence_filled[:, frames_silence]),
        "encoder_rows": i32(rows), "encoder": f32(np.array(encoded)[0, rows]),
        "encoder_silence_rows": i32(rows_silence),
        "encoder_silence": f32(np.array(encode(silence_filled))[0, rows_silence]),
        "decoder_prompt": i32(prompt), "decoder_tokens": i32(tokens),
        "decoder_top_ids": i32(top), "decoder_top_logits": f32(np.take_along_axis(logits, top, 1)),
        "decoder_logsumexp": f32(logsumexp),
        "decoder_sample_ids": i32(sample), "decoder_sample_logits": f32(logits[:, sample]),
    }


def transcripts(model, clips):
    runs = []
    for clip in ("dictation.wav", "question.wav", "long.wav", "silence.wav", "noise.wav"):
        for beam_size in (1, 5):
            for condition in (True, False):
                segments, _ = model.transcribe(str(clips / clip), language="en", beam_size=beam_size, temperature=0.0,
                                               condition_on_previous_text=condition, vad_filter=False)
                segments = [{"seek": s.seek, "start": round(s.start, 2), "end": round(s.end, 2), "text": s.text,
                             "tokens": s.tokens, "avg_logprob": round(s.avg_logprob, 5),
                             "no_speech_prob": round(s.no_speech_prob, 7),
                             "compression_ratio": round(s.compression_ratio, 5)} for s in segments]
                runs.append({"file": clip, "beam_size": beam_size, "condition_on_previous_text": condition,
                             "text": "".join(s["text"] for s in segments).strip(), "segments": segments})
    return runs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct2_dir")
    parser.add_argument("name")
    parser.add_argument("--clips", type=Path, default=ROOT / "engine/tests/clips")
    parser.add_argument("--out", type=Path, default=ROOT / "models/tests/golden")
    args = parser.parse_args()
    whisper = WhisperModel(args.ct2_dir, device="cpu", compute_type="float32", cpu_threads=2)
    tensors = numeric(whisper.model, decode_audio(str(args.clips / "dictation.wav")), whisper.model.is_multilingual)
    save_file(tensors, args.out / f"{args.name}.safetensors")
    document = {"runtime": f"faster-whisper {faster_whisper.__version__}, ctranslate2 {ctranslate2.__version__}, float32",
                "temperature": 0.0, "language": "en", "runs": transcripts(whisper, args.clips)}
    with open(args.out / f"{args.name}.transcripts.json", "w") as out:
        # one run a line: differences stay readable
        runs = ",\n".join(json.dumps(run, ensure_ascii=False) for run in document.pop("runs"))
        out.write(json.dumps(document)[:-1] + ', "runs": [\n' + runs + "\n]}\n")
    print(args.name, {k: v.shape for k, v in tensors.items()})


if __name__ == "__main__":
    main()
