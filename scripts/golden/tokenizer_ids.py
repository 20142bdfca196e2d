#!/usr/bin/env python3
"""Makes the golden files of models/tests/tokenizer.rs: lines of mixed text and their token ids.

    tokenizer_ids.py --out models/tests/golden \
        --gguf smollm2=PATH.gguf --gguf gemma3=PATH.gguf --gguf qwen2=PATH.gguf \
        --json whisper_tiny_en=PATH/tokenizer.json --json whisper_base=PATH/tokenizer.json

Writes tokenizer_lines.txt (one JSON string a line) and tokenizer_ids_NAME.jsonl (one list a line).
GGUF vocabularies are read by llama.cpp (llama-cpp-python), tokenizer.json by the Python package
tokenizers, here without added tokens and post-processor: what is tested is the text itself.
With --lines an existing lines file is used instead of writing a new one.
"""

import argparse
import json
import pathlib
import random

SENTENCES = """
Hold the key, speak, and let go; the text is in the window you were typing in.
I don't think we'll make it, but they've said it's fine and you're welcome, he'd agree.
DON'T SHOUT, IT'S LATE, WE'LL SEE, THEY'VE GONE, I'M HERE, YOU'RE THERE, HE'D KNOW.
Um, so, like, I was going to, uh, send the the report on Tuesday, no, Wednesday.
Die Straße ist gesperrt, weil überall Äste liegen; Größe und Maß stimmen nicht.
Où est passé l'été ? Ça m'étonne qu'il n'ait rien dit à sa sœur, naïve ou pas.
¿Dónde está el niño? ¡Qué sorpresa! Mañana cumplirá años la señora Ibáñez.
Não há razão para pânico; a função já está em produção há três meses.
Perché no? È già l'una e un quarto, e l'acqua bolle da più di mezz'ora.
Zażółć gęślą jaźń, a potem odłóż słuchawkę i wróć do łóżka.
Příliš žluťoučký kůň úpěl ďábelské ódy u řeky v pětadvacátém týdnu.
Árvíztűrő tükörfúrógép, és még néhány hosszú szó: megszentségteleníthetetlenség.
Съешь же ещё этих мягких французских булок, да выпей чаю.
Їхній ґанок стоїть біля річки, а пів'яблука лежить на столі.
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία· τι ώρα είναι;
Pijamalı hasta yağız şoföre çabucak güvendi; İstanbul'da ılık bir gün.
Hvorfor er rødgrød med fløde så svær at udtale på åben gade?
Törkylempijävongahdus ja hääyöaie ovat suomen kielen sanoja.
Kæmi ný öxi hér, ykist þjófum nú bæði víl og ádrepa.
Một người Việt đứng trước cửa hàng bán phở, nghĩ về những chuyến đi dài.
以前は東京に住んでいましたが、今は大阪でソフトウェアを書いています。
カタカナ、ひらがな、漢字、ｶﾀｶﾅ、全角ＡＢＣ１２３が混ざった文章です。
我昨天在图书馆里读了一本关于语音识别的书，非常有意思！
請問下一班往台北的火車幾點鐘開？謝謝您，先生。
키보드를 누르고 말한 다음 손을 떼면 깨끗한 글이 나타납니다.
ㄱㄴㄷ 한글 자모와 조합형 한글도 시험해 본다.
मैं कल दिल्ली जा रहा हूँ, क्षमा कीजिए, श्रीमान् जी।
আমি বাংলায় গান গাই, আমি বাংলার গান গাই।
நான் தமிழில் பேசுகிறேன், நீங்கள் எப்படி இருக்கிறீர்கள்?
నేను తెలుగులో మాట్లాడుతున్నాను, మీరు ఎలా ఉన్నారు?
ฉันอยากกินข้าวผัดกุ้งกับน้ำมะนาวเย็นๆ ที่ตลาดน้ำ
ຂ້ອຍຢາກໄປຕະຫຼາດໃນຕອນເຊົ້າ
ខ្ញុំចូលចិត្តអានសៀវភៅនៅពេលល្ងាច
ကျွန်တော် မြန်မာစကား ပြောတတ်ပါတယ်။
مرحبا بالعالم، كيف حالك اليوم؟ السَّلامُ عَلَيْكُمْ ورحمة الله.
من می‌خواهم به خانه بروم، اما نمی‌توانم؛ ۱۲۳۴۵ تومان.
میں اردو بولتا ہوں، آپ کیسے ہیں؟
שלום עולם, מה שלומך היום? בְּרֵאשִׁית בָּרָא אֱלֹהִים.
გამარჯობა მსოფლიო, როგორ ხარ დღეს?
Բարեւ աշխարհ, ինչպե՞ս ես այսօր։
ሰላም ለዓለም፣ እንዴት ነህ ዛሬ?
Kuh-ha Hawaiʻi, Oʻahu, ʻokina and saltillo Ꞌꞌ, Māori kōrero.
བོད་སྐད་ཡིག་གི་ཚིག་གྲུབ་ཅིག
ᎣᏏᏲ ᏙᎯᏧ ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ
Saluton, mondo! Ĉu vi ŝatas ĵaŭdon aŭ ĝardenon?
Habari ya dunia, ninakupenda sana rafiki yangu mpendwa.
""".strip().splitlines()

CODE = r"""
fn main() -> Result<(), Box<dyn Error>> { println!("{:>8.3}", x as f32); Ok(()) }
for (int i = 0; i < n; ++i) { a[i] += b[i] * c->d; }  // loop
def f(x: int = 0, *args, **kwargs) -> dict[str, list[int]]: return {k: v for k, v in kwargs.items()}
SELECT COUNT(*) AS n FROM t WHERE name LIKE '%O''Brien%' AND id >= 42;
<div class="a b" id='c'>&nbsp;&amp;<br/><b>bold</b> <i>it</i> <h1>x</h1></div>
{"key": [1, 2.5e-10, null, true], "nested": {"a\\b": "\u00e9\n"}}
#include <stdio.h>
let re = /^(?:[a-z0-9_\-]+\.)*\w+@\w{2,}$/gi;
cat a.txt | grep -E '^[0-9]+' | sort -u > /dev/null 2>&1 && echo $HOME ${x:-y}
x = (y << 3) ^ ~z | 0xDEADBEEF & 0b1010; y **= 2; z //= 3; w ||= !v
https://user:pw@example.org:8080/path/a%20b/?q=1&r=%E2%9C%93#frag-ment
mailto:first.last+tag@sub.example.co.uk, ftp://192.168.0.1/, [::1]:443, C:\Users\x\file.txt
if err != nil { return fmt.Errorf("failed: %w", err) }
| a | b |\n|---|:-:|\n| `c` | **d** | ~~e~~ |
$$\int_0^\infty e^{-x^2}\,dx = \frac{\sqrt{\pi}}{2}$$
diff --git a/x b/x @@ -1,3 +1,4 @@ +added -removed
""".strip().splitlines()

LOOKALIKES = """
<|im_end|> <|im_start|>system <|im_start|> <end_of_turn> <start_of_turn>user <|endoftext|> <|eot_id|>
<|startoftranscript|> <|en|> <|transcribe|> <|notimestamps|> <|0.00|> <|29.98|> <|nospeech|>
<s> </s> <bos> <eos> <pad> <unk> <mask> <unused0> <unused99> <0x0A> <0xFF> <tool_call> </tool_call>
[INST] [/INST] <<SYS>> [multimodal] <start_of_image> <end_of_image> <|begin_of_text|> [PAD151665]
<|fim_prefix|> <|fim_pad|> <|repo_name|> <file_sep> <reponame> <jupyter_start> <|start_header_id|>
<|im_end| |im_end|> <|im_ end|> <|IM_END|> ＜|im_end|＞ <end_of_turn <|im_end|><|im_end|> <table><tr><td>
<h1> </h2> <b></b> <blockquote> <sup> <sub> <code> <ul><li> <strong> <em> <br> <p>
""".split("\n")

EMOJI = "😀 😂 🤣 ❤️ 👍 👍🏽 👩‍💻 👨‍👩‍👧‍👦 🏳️‍🌈 🏴‍☠️ 🇩🇪 🇯🇵🇫🇷 1️⃣ #️⃣ ☎️ ☎ ⚕️ 🧑🏿‍🚀 🫠 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ✈️ ™️ ©️ 🤷🏻‍♀️ ‼️ ㊗️ 🀄 🃏".split()

NUMBERS = """
0 1 12 123 1234 12345 1234567890 3.14159 -273.15 1,000,000.00 1e-9 0x7fff 2026-11-21 23:59:59.999
+49 (0)30 123456 §§ 12a ½ ¾ ² ³ ₂ Ⅷ ⅻ ① ㉑ ٣٤٥ १२३ ๑๒๓ 一二三 １２３４５ 99% $5.00 €10 ¥1000 10° 5′ 6″ 1st 2nd 3rd
""".split()

WHITE = [" ", "  ", "   ", "    ", " " * 7, " " * 16, " " * 33, "\t", "\t\t", " \t", "\t ", "\n", "\n\n",
         "\n\n\n", "\n" * 8, "\r\n", "\r", "\r\n\r\n", " \n", "\n ", "  \n  ", "\n\t\t", "\u00a0", "\u2003",
         "\u3000", "\u2028", "\u2029", "\u0085", "\u200b", "\ufeff", "\x0b", "\x0c", "\u1680", "\u202f",
         "\t" * 5 + " ", " \u00a0 ", "\n" * 35, "\u2581", "\u2581\u2581"]

ODDITIES = ["\x00", "\x01\x02", "\x04a\x06", "\x13\x14\x16\x1d", "\x7f", "\x1b[31mred\x1b[0m", "\u0080\u009f",
            "\ufffd", "\ufffe", "\uffff", "\U0010ffff", "\ue000", "\u202eabc\u202c", "\u2066x\u2069", "a\u0301",
            "e\u0301\u0327", "n\u0303o", "Z͑ͫ̓a̴l̛g̀o҉", "q\u0307\u0323", "ﬁ ﬂ ﬀ", "ß ẞ ſ 'ſ", "ǅ ǈ", "İ ı",
            "K Å Ω", "Ĳ ĳ", "ᵃᵇᶜ", "𝓗𝓮𝓵𝓵𝓸", "𝟘𝟙𝟚", "Ａｂｃ", "ᄒ\u1161\u11ab", "\u0915\u094d\u0937",
            "क\u093c क़", "\U00020000\U0002a6df", "ꙮ", "﷽", "؀", "\u00ad soft\u00adhyphen", "a\u034fb",
            "\u200d\u200c", "x\ufe0f", "\u20dd", "''s 't ''re", "’s don’t ‘ll", "`code` ´", "...", "…", "!?!?!?",
            "--- — – ‒ ‐", "«»„“”‚‘’‹›", "•◦‣⁃", "→⇒↔∀∃∈∉∑√∞≈≠≤≥", "░▒▓█", "═╬╗", "♔♞", "♩♪♫", "ﺍﻟﻌﺮﺑﻴﺔ"]


def joined(rng):
    """Pieces of all kinds next to each other, with and without space between."""
    words = [w for s in rng.sample(SENTENCES, 4) for w in s.split()]
    pools = [words, words, EMOJI, NUMBERS, ODDITIES, [w for line in LOOKALIKES for w in line.split()],
             [w for line in CODE for w in line.split()]]
    out = []
    for _ in range(rng.randint(2, 9)):
        out.append(rng.choice(rng.choice(pools)))
        if rng.random() < 0.75:
            out.append(rng.choice(WHITE) if rng.random() < 0.45 else " ")
    return "".join(out)


def random_characters(rng):
    """Characters of a few blocks at random."""
    blocks = [(0x20, 0x7e), (0xa0, 0x24f), (0x300, 0x36f), (0x370, 0x52f), (0x590, 0x6ff), (0x900, 0xdff),
              (0xe00, 0xfff), (0x1e00, 0x1fff), (0x2000, 0x2bff), (0x3040, 0x30ff), (0x4e00, 0x9fff),
              (0xac00, 0xd7a3), (0xff00, 0xffef), (0x1d400, 0x1d7ff), (0x1f300, 0x1faff), (0, 0x1f)]
    chosen = rng.sample(blocks, rng.randint(1, 3))
    return "".join(chr(rng.randint(*rng.choice(chosen))) for _ in range(rng.randint(1, 14)))


def lines(count):
    """`count` different lines, the same at every call."""
    rng = random.Random(2)
    found = dict.fromkeys(SENTENCES + CODE + [x for x in LOOKALIKES if x] + EMOJI + NUMBERS + WHITE + ODDITIES)
    for word in " ".join(LOOKALIKES).split():
        for line in (word, f"a{word}b", f" {word} ", f"{word}\n{word}"):
            found[line] = None
    while len(found) < count:
        kind = rng.random()
        if kind < 0.55:
            line = joined(rng)
        elif kind < 0.70:
            line = random_characters(rng)
        elif kind < 0.80:
            line = rng.choice(WHITE) + rng.choice(SENTENCES) + rng.choice(WHITE)
        elif kind < 0.90:
            words = rng.choice(SENTENCES + CODE).split(" ")
            line = " ".join(w.upper() if rng.random() < 0.2 else w for w in words[rng.randrange(len(words)):])
        else:
            line = "".join(rng.choice(WHITE) + rng.choice(["x", "1", "'s", "é", "中", "🙂", ".", "</"])
                           for _ in range(rng.randint(1, 8))) + rng.choice(WHITE + [""])
        if line and len(line) <= 160:
            found[line] = None
    return list(found)[:count]


def by_llama_cpp(path):
    from llama_cpp import Llama

    model = Llama(str(path), vocab_only=True, verbose=False)
    return lambda text: model.tokenize(text.encode(), add_bos=False, special=False)


def by_tokenizers(path):
    from tokenizers import Tokenizer

    document = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    document.update(added_tokens=[], post_processor=None, truncation=None, padding=None)
    model = Tokenizer.from_str(json.dumps(document))
    return lambda text: model.encode(text, add_special_tokens=False).ids


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--lines", type=pathlib.Path)
    parser.add_argument("--gguf", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--json", action="append", default=[], metavar="NAME=PATH")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.lines:
        texts = [json.loads(line) for line in args.lines.read_text(encoding="utf-8").split("\n") if line]
    else:
        texts = lines(args.count)
        written = "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts)
        (args.out / "tokenizer_lines.txt").write_text(written, encoding="utf-8", newline="\n")
    for reader, wanted in ((by_llama_cpp, args.gguf), (by_tokenizers, args.json)):
        for item in wanted:
            name, path = item.split("=", 1)
            encode = reader(path)
            rows = "".join(json.dumps(encode(text), separators=(",", ":")) + "\n" for text in texts)
            (args.out / f"tokenizer_ids_{name}.jsonl").write_text(rows, encoding="ascii", newline="\n")
            print(f"{name}: {len(texts)} lines, {len(rows)} bytes")


if __name__ == "__main__":
    main()
