#!/usr/bin/env python3
"""Golden values of the text normalisation of `undertone lab`: app/src/lab/score/golden.tsv.

Needs `pip install whisper-normalizer==0.1.15`. Without arguments writes the file. With JSONL files, whose `text`, `raw` and
`clean` are taken, prints the same three columns of them, for a comparison of more texts than the file has.
"""
import json
import sys
from pathlib import Path

from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

TEXTS = {
    "en": """
Hello, World! It's me.
We can't go, and we won't; they ain't coming.
Let's see what y'all wanna do, 'cause I'm gonna leave.
I kinda sorta dunno. You gotta, coulda, shoulda, woulda.
Mr. Smith and Mrs. Jones met Dr. Brown on St. James St.
Prof. Gray, Capt. Hook, Gov. Lee, Sen. Poe, Rep. Ray, Gen. Fox, Rev. Day, Hon. Kay and Lt. Col. May
John Doe Jr. and Jane Doe Sr., Esq., Asst. Assoc. Pres. Ald. Roe
She'd been there; he's been here. They'd gone, he's gone, we'd done it, she's got it.
I'd go, you'll see, we've been, they're late, he's tall, I'm short, don't, 'tis
Yes, ma'am, I'ma do it. Imma do it too.
Um, uh, hmm, mm, mhm, mmm, the hummingbird
So (he said) it was [noise] fine <unk> today
a ' b 's c
one
ones
one or two ones
twenty one
twenty-one people and thirty two dogs
one hundred and five
two hundred fifty thousand three hundred and twelve
nineteen eighty four
nineteen twenty one
twenty twenty six
twenty oh one
one oh one
one two three four five
double oh seven
triple five double two nine
double trouble and triple jump
five five five one two three four
three point one four one five
point five
zero point two five
the point is to point out three points
two and a half
two and a half million
a day and a half
ten and a half percent
twelve percent
five per cent
five per person
per cent
percent
$20
$20 million
$2.50
$0.75
twenty dollars
two dollars and seven cents
two dollars seven cents
seven cents
three pounds ten
five euros and five cents
a dollar
minus five
minus twenty degrees
plus one
negative feedback and positive thinking
positive three
first second third fourth fifth sixth seventh eighth ninth tenth
eleventh twelfth thirteenth nineteenth twentieth thirtieth
twenty first
twenty-second of July
the hundred and first
thousandth millionth
sixes and sevens
the nineteen sixties
the 1960s
in the seventies, the twenties
hundreds of thousands
three hundreds
two thousands
1,000,000 people
1,234.56
3.14
1.5 million
1.25 thousand
1.2345 thousand
2 hundred
10 thousand
0 thousand
zero million
192.168.0.1
version 2.0.1
1 2 3
1st 2nd 3rd 4th
the 1 and only
a1 b2c3
10km
100 %
50%
5 % of 3
% $ ¢
the price is $ 5
£3.50 and €4
£5 and ¢7
$2 and ¢5
$3 ¢12
three and four
one hundred and
and five
a hundred and one dalmatians
thousand and one nights
one thousand two hundred thirty four point five six
ten nine eight
eleven hundred
twelve thirteen
forty seven forty eight
seven twenty
seven twenty five p.m.
7:25 p.m.
at 3 o'clock
oh no
o captain
one million two hundred thousand and three
nine trillion seven hundred eighty nine billion
one decillion
ten decillion and five
nine hundred ninety nine nonillion
007
00.50
12.00
.5
5.
e.g. this, i.e. that.
U.S.A. and U.K.
The colour of the aeroplane's grey tyre; we organise, analyse and practise.
The theatre centre catalogue: jewellery, licence, defence, travelling.
naïve café façade Zürich Łódź Ærø þorn straße Œuvre
résumé — “quoted” … ‘single’ don’t
email@example.com #tag a_b c/d e+f
C++ and C# at 5°C ≈ 41°F
x² + y² = z²
½ cup, ¾ spoon, Ⅷ
tab	less
  spaces   all   over  
ALL CAPITALS
A.B.C
one point
one point two point three
one hundred percent
sixty five point five percent
a third, two thirds, a quarter
twenty fifth
one hundredth of a second
fifteen hundred dollars
seventeen seventy six
two thousand eight
two thousand and eight
twenty twenties
five thousandths
fourteen hundred and ninety two
six six sixes
forty ones
eighteen o five
minus one point five million dollars
plus or minus two
$1 and $1s
page 1
1s and 0s
zero zero seven
nine one one
nineteen nineties nineties
ten ten tenth
thirty thirtieth
5 five 5
5 oh 5
twenty 5
5 hundred five
1.5.5
point nine nine
hundred hundred
million billion
""",
    "de": """
Grüße aus München, Straße 5!
Das ist (wirklich) schön [Lachen].
zwanzig Prozent, 3,5 Kilo
„Gut“, sagte er – ‚ja‘.
""",
    "fr": """
L'été, où êtes-vous? C'est ça!
Œuvre, cœur, 20 % de réduction
""",
    "es": """
¿Qué tal? ¡Muy bien, señor!
""",
    "ru": """
Привет, мир! Ёлка и йод.
""",
    "ja": """
こんにちは、世界。ガギグ
ﾊﾝｶｸ ABC １２３
""",
    "zh": """
你好，世界！今天（真的）很好。
""",
}

english, basic, letters = EnglishTextNormalizer(), BasicTextNormalizer(), BasicTextNormalizer(split_letters=True)


def row(lang, text):
    normalise = english if lang == "en" else letters if lang in ("zh", "ja") else basic
    return f"{lang}\t{text}\t{' '.join(normalise(text).split())}"


def main():
    if sys.argv[1:]:
        for name in sys.argv[1:]:
            for line in Path(name).read_text().splitlines():
                item = json.loads(line)
                for key in ("text", "raw", "clean"):
                    if item.get(key):
                        print(row(item.get("lang") or "en", " ".join(item[key].split())))
        return
    rows = [row(lang, line.replace("\t", " ")) for lang, text in TEXTS.items() for line in text.splitlines() if line]
    out = Path(__file__).resolve().parents[2] / "app/src/lab/score/golden.tsv"
    out.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
