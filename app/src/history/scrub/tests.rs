use super::scrub;

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter(|(text, expected)| scrub(text) != *expected)
        .map(|(text, expected)| format!("{text:?}\n  gives    {:?}\n  expected {expected:?}", scrub(text)))
        .collect();
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn addresses_written_and_spoken() {
    check(&[
        ("Write to john.doe+news@mail.example.co.uk.", "Write to [email]."),
        ("Write to jörg@müller.de, please.", "Write to [email], please."),
        ("It's john @ example.com", "It's [email]"),
        ("send it to john dot doe at example dot com please", "send it to [email] please"),
        ("John.Doe at example.com", "[email]"),
        ("j underscore smith at my dash company dot org", "[email]"),
        ("mail anna dot bell forty two at g mail dot com", "mail [email]"),
        ("Schreib an max punkt muster ät beispiel punkt de", "Schreib an [email]"),
        // A letter before it may be a part of it that is spelled.
        ("écris à jean point dupont arobase exemple point fr", "écris [email]"),
        ("escribe a juan punto perez arroba ejemplo punto es", "escribe [email]"),
        ("scrivi a mario chiocciola esempio punto it", "scrivi [email]"),
        ("tom at example.com", "[email]"),
    ]);
}

#[test]
fn telephone_numbers() {
    check(&[
        ("Call 555-1234.", "Call [phone]."),
        ("Call (555) 123-4567 now", "Call [phone] now"),
        ("555.123.4567", "[phone]"),
        ("1-800-555-0199", "[phone]"),
        ("+1 415 555 0132", "[phone]"),
        ("+49 (0)30 1234567 is mine", "[phone] is mine"),
        ("030/1234567", "[phone]"),
        ("06 12 34 56 78", "[phone]"),
        ("call me at 5551234567 today", "call me at [phone] today"),
        ("my number is 8675309", "my number is [phone]"),
        ("01234 567890", "[phone]"),
        ("2024-01-15 555-123-4567", "2024-01-15 [phone]"),
        ("call five five five one two three four after six", "call [phone] after six"),
        ("five, five, five, one, two, three, four", "[phone]"),
        ("5, 5, 5, 1, 2, 3, 4", "[phone]"),
        ("5-5-5-1-2-3-4", "[phone]"),
        ("it is oh one seven one double five triple three four", "it is [phone]"),
        ("plus four nine one seven one five five five", "plus [phone]"),
        ("null eins sieben eins fünf fünf fünf zwei drei", "[phone]"),
        ("zéro six un deux trois quatre cinq six sept huit", "[phone]"),
    ]);
}

#[test]
fn cards_accounts_and_identities() {
    check(&[
        ("4111 1111 1111 1111", "[card]"),
        ("card 4111-1111-1111-1111, thanks", "card [card], thanks"),
        ("378282246310005", "[card]"),
        ("four one one one one one one one one one one one one one one one", "[card]"),
        ("4111 1111 1111 1112", "[number]"),
        ("DE89 3704 0044 0532 0130 00", "[iban]"),
        ("IBAN DE89370400440532013000.", "IBAN [iban]."),
        ("GB29 NWBK 6016 1331 9268 19 is it", "[iban] is it"),
        ("D E 8 9 3 7 0 4 0 0 4 4 0 5 3 2 0 1 3 0 0 0", "[iban]"),
        ("123-45-6789", "[id]"),
    ]);
}

#[test]
fn keys() {
    check(&[
        ("use sk-proj-abcdefghijklmnop1234 here", "use [key] here"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[key]"),
        ("AKIAIOSFODNN7EXAMPLE", "[key]"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXA3mP2LE9K5EY", "[key]"),
        ("d41d8cd98f00b204e9800998ecf8427e", "[key]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-def", "[key]"),
        ("550e8400-e29b-41d4-a716-446655440000", "[key]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY----- ok", "[key] ok"),
        ("the API key is abc123", "the API key is [key]"),
    ]);
}

#[test]
fn passwords() {
    check(&[
        ("the password is hunter2 and the user is bob", "the password is [password] and the user is bob"),
        ("My password is correct horse battery staple.", "My password is [password]."),
        ("My password is swordfish.", "My password is [password]."),
        ("password: swordfish", "password: [password]"),
        (
            "the password for the router is blue monkey, I think",
            "the password for the router is [password], I think",
        ),
        ("change the password to hunter2", "change the password to [password]"),
        ("password hunter2!", "password [password]!"),
        ("the PIN is 4711.", "the PIN is [password]."),
        ("the pin is four seven one one", "the pin is [password]"),
        ("Das Passwort ist Geheim123.", "Das Passwort ist [password]."),
        ("le mot de passe est soleil", "le mot de passe est [password]"),
    ]);
}

#[test]
fn ordinary_text_stays() {
    let texts = [
        "We meet on 2024-01-15 at 10:30, or on 15.01.2024 or 01/15/2024.",
        "The meeting is from 10.30-11.45 on 3/4.",
        "From 2019-2024 we sold 1,234,567 units for $1,000,000.00.",
        "Es kostet 1.000.000 Euro, also 1 000 000 € und nicht 12 500.",
        "Years like 1999, 2003 and 2024 and 1914-1918.",
        "Pi is 3.14159265358979 and e is 2.718281828.",
        "Version 10.15.7 runs on 192.168.100.200.",
        "One two three four five six seven eight nine ten.",
        "ten nine eight seven six five four three two one",
        "1 2 3 4 5 6 7 8 9 10",
        "10, 20, 30, 40, 50 and 100, 250, 375, 400",
        "They won 6-4 6-3 7-5 6-2.",
        "There are 12 15 18 22 apples in 7 boxes.",
        "It took 1234567 tokens and 12345678 bytes.",
        "ISBN 978-3-16-148410-0, page 12.",
        "I live in 90210, or 12345-6789 if you like.",
        "nineteen eighty four and twenty twenty four",
        "one hundred twenty three thousand four hundred fifty six",
        "Two of the three are at home at five.",
        "Look at example.com, it is hosted at example.org.",
        "We were at this point looking at the dot on the map.",
        "The password is wrong. This password is correct. Your password has expired and the password is required.",
        "Enter the password 3 times; the token is short.",
        "The pin is in the drawer, and the key is under the mat.",
        "The Donaudampfschifffahrtsgesellschaftskapitän calls getElementByIdAndThenSomething.",
        "It is in /usr/lib/x86_64-linux-gnu/libsomething and in src/history/scrub/mod.rs.",
        "See https://example.com/2024/01/15/some-post-with-a-long-title-2 for more.",
        "At 9 a.m. 45 people, 3 dogs and 2 cats walked 5 km.",
        "Room 101, floor 3, seat 42B, gate A12, flight LH1234.",
        "She is 1.75 m tall, weighs 62 kg and was born in 1990.",
        "漢字 and emoji 👍 3️⃣ stay, as do ½ and ².",
        "",
    ];
    let cases: Vec<(&str, &str)> = texts.iter().map(|text| (*text, *text)).collect();
    check(&cases);
}

#[test]
fn scrubbing_twice_changes_nothing_and_any_text_is_taken() {
    let pieces = [
        "password is ",
        "a@b.c ",
        "5",
        "+",
        "(",
        "é",
        "👍",
        "DE89",
        " at x dot y ",
        "\n",
        "[",
        "漢",
        "٣",
        "-----BEGIN ",
    ];
    let mut seed = 7_u64;
    for _ in 0..2000 {
        let mut text = String::new();
        for _ in 0..12 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            text += pieces[(seed >> 33) as usize % pieces.len()];
        }
        let once = scrub(&text);
        assert!(once.len() <= text.len() + 120, "{text:?}");
    }
    for text in
        ["Call 555-123-4567, password is x9, mail a.b@c.de", "4111 1111 1111 1111 ghp_abcdefghijklmnopqrst12"]
    {
        assert_eq!(scrub(&scrub(text)), scrub(text));
    }
}
