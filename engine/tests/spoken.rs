//! What comes before clean-up: vocabulary, spoken punctuation, figures.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::borrow::Cow;
use undertone_engine::clean::fidelity::{Policy, check};
use undertone_engine::clean::rules;
use undertone_engine::clean::spoken::{Replacement, Spoken};
use undertone_engine::clean::words::{Kind, words};

fn figures(text: &str) -> String {
    Spoken { figures: true, ..Spoken::default() }.apply(text, "en").into_owned()
}

fn punctuate(text: &str, lang: &str) -> String {
    Spoken { punctuation: true, ..Spoken::default() }.apply(text, lang).into_owned()
}

fn vocabulary(pairs: &[(&str, &str)]) -> Spoken {
    let replacements = pairs.iter().map(|p| Replacement { heard: p.0.into(), written: p.1.into() }).collect();
    Spoken { replacements, ..Spoken::default() }
}

const COMMANDS: &[(&str, &str)] = &[
    ("hello comma world", "hello, world"),
    ("hello, comma, world", "hello, world"),
    ("Hello. Comma. World", "Hello, World"),
    ("I came. Comma. And I saw", "I came, and I saw"),
    ("that is all period", "that is all."),
    ("That is all. Period.", "That is all."),
    ("that is all period then we left full stop", "that is all. Then we left."),
    ("are you there question mark", "are you there?"),
    ("Are you there, question mark?", "Are you there?"),
    ("who are you with question mark yes", "who are you with? Yes"),
    ("stop exclamation mark", "stop!"),
    ("what question mark exclamation point", "what?!"),
    ("dear john comma new line thank you", "dear john,\nThank you"),
    ("one thing new paragraph another", "one thing\n\nAnother"),
    ("One thing. New paragraph. Another.", "One thing.\n\nAnother."),
    ("one thing, new line, another", "one thing\nAnother"),
    ("he said comma open quote come in period close quote she did", "he said, \"come in.\" She did"),
    ("He said, open quote, hello, close quote, and left.", "He said, \"hello\" and left."),
    ("he said quote no way unquote and left", "he said \"no way\" and left"),
    ("the results open parenthesis see below close parenthesis are good", "the results (see below) are good"),
    ("well known hyphen author", "well known-author"),
    ("yes dash no", "yes – no"),
    ("he or she and slash or they", "he or she and/or they"),
    ("three things colon tea semicolon milk", "three things: tea; milk"),
    ("well dot dot dot maybe", "well… maybe"),
    ("fifty percent sign of it", "fifty% of it"),
    ("mail me john at sign example", "mail me john@example"),
    ("hashtag rust is trending", "#rust is trending"),
    ("ben ampersand jerry", "ben & jerry"),
    ("snake underscore case", "snake_case"),
    ("shopping colon new bullet milk new bullet eggs", "shopping:\n• Milk\n• Eggs"),
    ("Bullet milk. Bullet eggs.", "• Milk.\n• Eggs."),
    ("we met at 5 p.m. comma then left", "we met at 5 p.m., then left"),
    ("we met at 5 p.m. period then left", "we met at 5 p.m. Then left"),
    ("(hello comma world period)", "(hello, world.)"),
    ("I like it period", "I like it."),
    ("I like that comma but no", "I like that, but no"),
    ("a, comma, b", "a, b"),
    ("the, comma, well", "the, well"),
    ("hello new line new line world", "hello\n\nWorld"),
    ("Comma is the word comma is it not", "Comma is the word comma is it not"),
];

/// Texts in which every command is only a word.
const WORDS: &[&str] = &[
    "the comma is missing",
    "a period of time",
    "new line of products",
    "a new line of products",
    "literal comma",
    "the word comma",
    "the word, comma, is short",
    "Comma is missing.",
    "I forgot it. Comma is missing.",
    "remove comma and period",
    "without comma or question mark here",
    "put a full stop there",
    "a comma separated list",
    "use comma separated values",
    "the trial period ended",
    "we had a long period",
    "during the cold war period we left",
    "a two-week period",
    "a thirty day period",
    "it is a period drama",
    "colon cancer is curable",
    "his colon, my colon",
    "I dash to the shop",
    "slash and burn",
    "they slash prices",
    "he dodged bullet after bullet",
    "the bullet train",
    "hash browns and eggs",
    "quote unquote experts",
    "can you quote me on that",
    "these results underscore the need",
    "every new paragraph",
    "\"comma\" has five letters",
    "start new paragraph",
    "the question mark of history",
    "comma",
    "hashtag",
    "commas and periods and new lines",
    "the comma-separated file",
    "it bears an exclamation mark",
    "my period started",
];

#[test]
fn commands_are_written_as_what_they_name() {
    for (said, written) in COMMANDS {
        assert_eq!(punctuate(said, "en"), *written, "{said}");
        assert_eq!(punctuate(written, "en"), *written, "twice: {said}");
    }
}

#[test]
fn words_that_only_mention_punctuation_stay() {
    for said in WORDS {
        assert_eq!(punctuate(said, "en"), *said);
    }
}

#[test]
fn other_languages_have_commands_of_their_own() {
    let table = [
        ("de", "Hallo Komma Welt Punkt wie geht es Fragezeichen", "Hallo, Welt. Wie geht es?"),
        ("de", "Liebe Anna Komma neue Zeile danke Ausrufezeichen", "Liebe Anna,\nDanke!"),
        ("de", "er sagte Doppelpunkt Anführungszeichen auf nein Anführungszeichen zu", "er sagte: „nein“"),
        ("de", "drei Komma fünf Prozent", "drei Komma fünf Prozent"),
        ("de", "das ist der Punkt", "das ist der Punkt"),
        ("de", "auf den Punkt gebracht", "auf den Punkt gebracht"),
        ("de", "Punkt acht Uhr", "Punkt acht Uhr"),
        ("fr", "bonjour virgule ça va point d'interrogation", "bonjour, ça va ?"),
        ("fr", "il dit deux points ouvrez les guillemets non fermez les guillemets", "il dit : « non »"),
        ("fr", "un point de vue", "un point de vue"),
        ("fr", "trois virgule cinq", "trois virgule cinq"),
        ("fr", "aller à la ligne", "aller à la ligne"),
        ("fr", "c'est fini point merci à la ligne au revoir", "c'est fini. Merci\nAu revoir"),
        (
            "es",
            "hola coma abre interrogación qué tal cierra interrogación bien punto",
            "hola, ¿qué tal? Bien.",
        ),
        ("es", "está en coma", "está en coma"),
        ("es", "el punto de vista", "el punto de vista"),
        ("es", "tres coma cinco", "tres coma cinco"),
        ("es", "fin punto y aparte otra vez", "fin.\nOtra vez"),
        ("it", "ciao virgola mondo", "ciao virgola mondo"),
    ];
    for (lang, said, written) in table {
        assert_eq!(punctuate(said, lang), written);
        assert_eq!(punctuate(written, lang), written);
    }
}

#[test]
fn numbers_are_written_in_figures() {
    let table = [
        ("twenty three people", "23 people"),
        ("Twenty-three people, ten dogs.", "23 people, 10 dogs."),
        ("five percent", "5%"),
        ("five per cent of it", "5% of it"),
        ("5 percent", "5%"),
        ("fifty dollars", "$50"),
        ("a twenty dollar bill", "a $20 bill"),
        ("five point two million dollars", "$5.2 million"),
        ("twenty nine dollars and fifty cents", "29 dollars and 50 cents"),
        ("at three thirty p m.", "at 3:30 p.m."),
        ("three thirty PM today", "3:30 p.m. today"),
        ("let us meet at eight fifteen tomorrow", "let us meet at 8:15 tomorrow"),
        ("at eleven o six", "at 11:06"),
        ("nine a.m.", "9 a.m."),
        ("at five o'clock", "at 5 o'clock"),
        ("half past twelve", "half past twelve"),
        ("three point one four", "3.14"),
        ("zero point five", "0.5"),
        ("version three point two", "version 3.2"),
        ("chapter five", "chapter 5"),
        ("the twenty first century", "the 21st century"),
        ("July twenty fifth twenty twelve", "July 25 2012"),
        ("the third of may", "the 3rd of may"),
        ("in nineteen eighty four", "in 1984"),
        ("the nineteen eighties", "the 1980s"),
        ("twenty twenty five", "2025"),
        ("call five five five one two three four now", "call 5551234 now"),
        ("two one two five five five one two three four", "212-555-1234"),
        ("eight kilometers", "8 km"),
        ("sixty miles per hour", "60 mph"),
        ("two square meters", "2 m²"),
        ("minus twenty five", "-25"),
        ("a twenty-five-year-old", "a 25-year-old"),
        ("between one hundred and two hundred", "between 100 and 200"),
        ("one hundred and one dogs", "101 dogs"),
        ("one hundred and two thousand", "102000"),
        ("nine billion", "9 billion"),
    ];
    for (said, written) in table {
        assert_eq!(figures(said), written, "{said}");
        assert_eq!(figures(written), written, "twice: {said}");
        assert_eq!(check(said, written, "en", Policy::Standard), Ok(()), "{said}");
    }
}

#[test]
fn prose_keeps_its_small_numbers_and_what_is_in_doubt() {
    for said in [
        "I have two questions",
        "one should know",
        "this one is mine",
        "no one came",
        "first things first",
        "wait a second",
        "one of the three",
        "fifty fifty",
        "one two three four five",
        "one, two, three, four",
        "a thirty second video",
        "at this point five people left",
        "a hundred people",
        "thousands of people",
        "one hundredth of a second",
        "two and a half",
        "one-on-one",
        "may two of us come",
        "twenty twelve year olds",
        "quarter to twelve",
        "I am fine",
        "oh no",
        "zero tolerance",
        "two hours and five minutes",
        "3:30 p.m. on the 2nd",
        "$5 and 5% and 2nd and 1,250",
    ] {
        assert_eq!(figures(said), said);
    }
    let german = Spoken { figures: true, ..Spoken::default() };
    assert!(matches!(german.apply("zwanzig Leute", "de"), Cow::Borrowed("zwanzig Leute")));
}

#[test]
fn vocabulary_is_written_as_it_should_be() {
    let spoken = vocabulary(&[
        ("k eight s", "k8s"),
        ("post gress", "Postgres"),
        ("postgres", "Postgres"),
        ("sequel", "SQL"),
        ("my sequel", "MySQL"),
        ("sequel light", "SQLite"),
        ("c plus plus", "C++"),
        ("zoë", "Zoë"),
        ("address", "email address"),
        ("node.js", "Node.js"),
        ("", "never"),
        ("  ", "never"),
        ("ab", "a b"),
        ("a b", "ab"),
        ("東京", "Tokyo"),
    ]);
    for (said, written) in [
        ("I run K eight S, daily", "I run k8s, daily"),
        ("post gress's tables", "Postgres's tables"),
        ("Post-Gress’s", "Postgres’s"),
        ("postgresql stays", "postgresql stays"),
        ("My sequel light", "MySQL light"),
        ("(sequel light) \"sequel\"", "(SQLite) \"SQL\""),
        ("I like c plus plus.", "I like C++."),
        ("ZOË and zoës", "Zoë and zoës"),
        ("my address and my email address", "my email address and my email address"),
        ("NODE.JS!", "Node.js!"),
        ("ab a b ab", "a b ab a b"),
        ("k, eight s", "k, eight s"),
        ("k\neight s", "k\neight s"),
        ("我在東京住", "我在Tokyo住"),
        ("", ""),
    ] {
        assert_eq!(spoken.apply(said, "en"), written, "{said}");
    }
}

#[test]
fn options_are_read_strictly() {
    let spoken: Spoken =
        toml::from_str("figures = true\n[[replacements]]\nheard = \"k eight s\"\nwritten = \"k8s\"").unwrap();
    assert_eq!(spoken, Spoken { figures: true, ..vocabulary(&[("k eight s", "k8s")]) });
    assert_eq!(toml::from_str::<Spoken>("").unwrap(), Spoken::default());
    assert!(toml::from_str::<Spoken>("figure = true").is_err());
    assert!(toml::from_str::<Spoken>("[[replacements]]\nheard = \"a\"").is_err());
    assert!(matches!(Spoken::default().apply("five comma", "en"), Cow::Borrowed("five comma")));
}

#[test]
fn steps_work_together_and_before_the_rules() {
    let spoken = Spoken { punctuation: true, figures: true, ..vocabulary(&[("k eight s", "k8s")]) };
    let said = "um we run k eight s on twenty five nodes comma at five percent sign load period new line \
                is that okay question mark";
    let written = "um we run k8s on 25 nodes, at 5% load.\nIs that okay?";
    assert_eq!(spoken.apply(said, "en"), written);
    assert_eq!(rules::clean(written, "en"), "We run k8s on 25 nodes, at 5% load.\nIs that okay?");
    assert_eq!(rules::clean("One.\n\n• Two\n• Three", "en"), "One.\n\n• Two\n• Three");
}

const VOCABULARY: &[&str] = &[
    "comma",
    "period",
    "full",
    "stop",
    "new",
    "line",
    "paragraph",
    "question",
    "mark",
    "colon",
    "semi",
    "open",
    "close",
    "quote",
    "unquote",
    "end",
    "of",
    "dash",
    "slash",
    "hyphen",
    "bullet",
    "point",
    "hash",
    "sign",
    "hashtag",
    "percent",
    "the",
    "a",
    "and",
    "literal",
    "word",
    "is",
    "that",
    "I",
    "hello",
    "Mr.",
    "etc.",
    "5",
    "two",
    "week",
    ",",
    ".",
    "-",
    "\n",
    "hello,",
    "end.",
    "\"so",
    "it\"",
    "(",
    "p.m.",
    "underscore",
    "during",
    "ampersand",
    "at",
    "dot",
    "comma,",
    "period.",
    "Comma",
    "“",
    "•",
    "&",
    "x/y",
];

/// Words that are neither commands nor marks.
fn kept(text: &str) -> Vec<String> {
    let names: Vec<&str> = VOCABULARY[..32].to_vec();
    text.split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .filter(|w| {
            !w.is_empty()
                && !names.contains(&w.as_str())
                && w != "underscore"
                && w != "ampersand"
                && w != "dot"
                && w != "at"
        })
        .collect()
}

#[test]
fn punctuation_is_idempotent_and_loses_no_word() {
    let mut rng = SmallRng::seed_from_u64(5);
    for lang in ["en", "fr"] {
        for _ in 0..30_000 {
            let n = rng.random_range(1..12);
            let said: Vec<&str> = (0..n).filter_map(|_| VOCABULARY.choose(&mut rng).copied()).collect();
            let said = said.join(" ");
            let once = punctuate(&said, lang);
            assert_eq!(punctuate(&once, lang), once, "{said:?}");
            assert_eq!(kept(&once), kept(&said), "{said:?} {once:?}");
        }
    }
}

#[test]
fn figures_are_idempotent_and_change_no_value() {
    const NUMBERS: &str = "zero one two five nine ten twelve thirteen nineteen twenty thirty ninety hundred thousand \
        million billion and point o oh double first second third twentieth eighties hundredth percent \
        per cent cents dollars euros yen pounds kilometers square meters miles hour a p m pm am may june \
        of the at minus plus to past quarter version year people 12 5 3.5 1,250 $5 2nd 3:30 five, ten. \
        twenty- twenty-five dot o'clock";
    let numbers: Vec<&str> = NUMBERS.split_whitespace().collect();
    let mut rng = SmallRng::seed_from_u64(6);
    for _ in 0..100_000 {
        let n = rng.random_range(1..9);
        let said: Vec<&str> = (0..n).filter_map(|_| numbers.choose(&mut rng).copied()).collect();
        let said = said.join(" ");
        let once = figures(&said);
        assert_eq!(digits(&once), digits(&said), "{said:?} {once:?}");
        assert_eq!(figures(&once), once, "{said:?}");
    }
}

#[test]
fn hostile_texts_are_harmless() {
    let spoken = Spoken {
        punctuation: true,
        figures: true,
        ..vocabulary(&[("comma comma comma", "x"), ("a a b", "c")])
    };
    for piece in [
        "comma ",
        "new line ",
        "quote ",
        "quote um ",
        "five ",
        "twenty five ",
        "point ",
        "minus ",
        "o ",
        "double ",
        "million ",
        "a ",
        "x",
        "👩‍👩‍👧",
        "\u{301}",
        "'",
        "-",
        ". ",
        "\n",
        "\u{0}",
        "open quote ",
        "hash ",
        "comma, ",
        "’s ",
        "p m ",
        "$ ",
        "% ",
        "five.five",
        "二",
    ] {
        let text = piece.repeat(400_000 / piece.len());
        for lang in ["en", "fr"] {
            let once = spoken.apply(&text, lang);
            assert!(once.len() <= 2 * text.len());
        }
    }
}

#[test]
fn a_thousand_replacements_in_ten_thousand_words() {
    let pairs: Vec<(String, String)> =
        (0..1000).map(|i| (format!("the word number {i}"), format!("w{i}"))).collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|p| (p.0.as_str(), p.1.as_str())).collect();
    let text: Vec<String> = (0..2500).map(|i| format!("The word Number {i}")).collect();
    let written = vocabulary(&pairs).apply(&text.join(" "), "en").into_owned();
    assert!(written.starts_with("w0 w1 w2 ") && written.contains("w999 The word Number 1000 "));
}

fn digits(text: &str) -> String {
    let words = words(text, "en");
    words
        .iter()
        .filter(|w| w.kind == Kind::Number)
        .flat_map(|w| w.norm.chars())
        .filter(char::is_ascii_digit)
        .collect()
}
