#!/usr/bin/env python3
"""Word error rate of Undertone, faster-whisper and whisper.cpp on the same clips with the same weights.

    wer.py --model CT2_DIR [--undertone BINARY] [--kind short|long] [--lang en|other|CODE] [--show]

Texts are normalised as in the Whisper paper (EnglishTextNormalizer, BasicTextNormalizer); Chinese and Japanese are
scored by character. Words that a reference has in brackets count: they are spoken. Insertions or deletions of five
words in a row are listed: a doubled or lost segment.
Peer results are kept in target/peers-cache.json, so a second run transcribes with Undertone only.
"""
import json
import sys
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import systems

systems.ensure_environment()

import jiwer
from faster_whisper import decode_audio
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

BY_CHARACTER = {"zh", "ja", "th", "lo", "my", "yue"}
RUN_WORDS = 5
english, basic, letters = EnglishTextNormalizer(), BasicTextNormalizer(), BasicTextNormalizer(split_letters=True)


def normalise(text, lang):
    """Text -> words, or single letters where words are not separated."""
    return (english if lang == "en" else letters if lang in BY_CHARACTER else basic)(text).split()


def score(reference, hypothesis, lang):
    """(errors by kind, [(kind, words) of suspicious runs])"""
    # The normaliser drops what stands in brackets, as noise marks. In these references the words there are spoken.
    reference = reference.translate(str.maketrans("()[]", "    "))
    ref, hyp = normalise(reference, lang), normalise(hypothesis, lang)
    if not hyp:
        return {"words": len(ref), "sub": 0, "del": len(ref), "ins": 0}, [("delete", " ".join(ref))]
    result = jiwer.process_words(" ".join(ref), " ".join(hyp))
    runs, last = [], None
    for chunk in result.alignments[0]:
        if chunk.type in ("insert", "delete"):
            words = ref[chunk.ref_start_idx:chunk.ref_end_idx] or hyp[chunk.hyp_start_idx:chunk.hyp_end_idx]
            # one matching word inside a doubled or lost sentence is chance, not an end
            if last and last[0] == chunk.type and chunk.ref_start_idx - last[2] <= 1 \
                    and chunk.hyp_start_idx - last[3] <= 1:
                last[1].extend(words)
                last[2], last[3] = chunk.ref_end_idx, chunk.hyp_end_idx
            else:
                last = [chunk.type, list(words), chunk.ref_end_idx, chunk.hyp_end_idx]
                runs.append(last)
    counts = {"words": len(ref), "sub": result.substitutions, "del": result.deletions, "ins": result.insertions}
    return counts, [(run[0], " ".join(run[1])) for run in runs if len(run[1]) >= RUN_WORDS]


def peer_texts(peers, clips, cache_path):
    """{system name: {clip id: text}}, from the cache where it has them."""
    cache = json.loads(cache_path.read_text()) if cache_path.exists() else {}
    texts = defaultdict(dict)
    for peer in peers:
        for clip in clips:
            key = f"{peer.key} | {systems.digest(clip['file'])} | {clip['lang']}"
            if key not in cache:
                cache[key] = peer(decode_audio(clip["file"]), clip["lang"]).strip()
                cache_path.parent.mkdir(parents=True, exist_ok=True)
                cache_path.write_text(json.dumps(cache, ensure_ascii=False, indent=0))
            texts[peer.name][clip["id"]] = cache[key]
    return texts


def percent(counts):
    return 100.0 * (counts["sub"] + counts["del"] + counts["ins"]) / max(counts["words"], 1)


def main():
    parser = systems.arguments(__doc__)
    parser.add_argument("--cache", type=Path, default=systems.ROOT / "target/peers-cache.json")
    parser.add_argument("--out", type=Path, help="default: benches/runs/wer-MODEL-KIND-LANG.json")
    parser.add_argument("--show", action="store_true", help="print the texts that differ from faster-whisper's")
    args = parser.parse_args()

    clips = systems.load_clips(args.data, args.kind, args.lang)
    peers = [systems.FasterWhisper(args.model), systems.WhisperCpp(args.model)]
    texts = peer_texts(peers, clips, args.cache)
    if args.undertone:
        found = systems.undertone(args.undertone, args.undertone_model or args.model, clips)
        texts["undertone"] = {clip["id"]: found[clip["file"]]["raw_text"] for clip in clips}
        found = systems.undertone(args.undertone, args.undertone_model or args.model, clips,
                                  ["--conventions", "faster-whisper", "--beam", "1"])
        texts["undertone as faster-wh."] = {clip["id"]: found[clip["file"]]["raw_text"] for clip in clips}

    totals, per_clip, suspicious = {}, {clip["id"]: {} for clip in clips}, []
    for name, by_clip in texts.items():
        groups = defaultdict(lambda: dict.fromkeys(("words", "sub", "del", "ins"), 0))
        for clip in clips:
            counts, runs = score(clip["text"], by_clip[clip["id"]], clip["lang"])
            per_clip[clip["id"]][name] = counts
            unit = "characters" if clip["lang"] in BY_CHARACTER else "words"
            for group in {f"all {unit}", clip["lang"]}:
                for kind, value in counts.items():
                    groups[group][kind] += value
            suspicious += [{"system": name, "clip": clip["id"], "kind": k, "words": len(w.split())} for k, w in runs]
            for kind, words in runs:
                print(f"{name}: {clip['id']}: {kind} of {len(words.split())}: {words}")
        totals[name] = dict(groups)

    reference = totals[peers[0].name]
    print(f"{args.model.name}, kind {args.kind}, lang {args.lang}: {len(clips)} clips, "
          f"{sum(clip['duration_s'] for clip in clips):.0f} s")
    print(f"{'group':16}{'system':26}{'words':>7}{'sub':>6}{'del':>6}{'ins':>6}{'error %':>9}{'difference':>12}")
    for group in sorted(reference, key=lambda g: (not g.startswith("all"), g)):
        for name, groups in totals.items():
            counts = groups[group]
            counts["error_percent"] = round(percent(counts), 3)
            print(f"{group:16}{name:26}{counts['words']:7}{counts['sub']:6}{counts['del']:6}{counts['ins']:6}"
                  f"{percent(counts):9.2f}{percent(counts) - percent(reference[group]):+12.2f}")
    if args.show:
        for clip in clips:
            base = texts[peers[0].name][clip["id"]]
            for name, by_clip in texts.items():
                if normalise(by_clip[clip["id"]], clip["lang"]) != normalise(base, clip["lang"]):
                    print(f"{clip['id']}\n  reference      {clip['text']}\n  faster-whisper {base}\n  {name:14} "
                          f"{by_clip[clip['id']]}")

    out = args.out or systems.ROOT / f"benches/runs/wer-{args.model.name}-{args.kind}-{args.lang}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    # counts only: the clips' texts stay with the clips
    out.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "model": args.model.name, "kind": args.kind,
                               "lang": args.lang, "clips": len(clips), "totals": totals,
                               "long_runs": suspicious, "per_clip": per_clip}, indent=1) + "\n")
    print(out)


if __name__ == "__main__":
    main()
