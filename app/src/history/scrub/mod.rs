//! Taking addresses, numbers and secrets out of a text.

mod digits;
#[cfg(test)]
mod tests;

use digits::replace_numbers;
use regex::{Captures, Regex};
use std::borrow::Cow;
use std::sync::LazyLock;

/// Replaces e-mail addresses (also spoken), telephone and card numbers (also spoken), IBANs, keys and passwords by
/// `[email]`, `[phone]`, `[card]`, `[iban]`, `[id]`, `[number]`, `[key]` and `[password]`.
///
/// English, German, French, Spanish and Italian words are known. It errs on the side of replacing, but leaves
/// dates, times, amounts, years, decimals, versions and lists of numbers.
pub(crate) fn scrub(text: &str) -> String {
    let text = SECRET.replace_all(text, secret);
    let text = KNOWN_KEY.replace_all(&text, "[key]");
    let text = TOKEN.replace_all(&text, token);
    let text = EMAIL.replace_all(&text, "[email]");
    let text = SPOKEN_EMAIL.replace_all(&text, spoken_email);
    replace_numbers(&text)
}

/// A pattern of this file; one that does not compile fails the first test.
fn pattern(source: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "constants of this file, compiled by every test")]
    Regex::new(source).expect("a valid pattern")
}

/// A word for a secret, and what links it to its value.
static SECRET: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)\b(?<name>pass ?words?|pass ?phrase|pass ?code|pass ?wort|kennwort|pin(?:[ -]?(?:code|number|nummer))?",
        r"|mot de passe|contraseña|api[ -]?key|access token|secret key|token)",
        r"(?:(?<whose>\s+(?:for|of|to|on|für|de|del|pour)(?:\s+[\p{L}\p{N}]+){1,4}?)?",
        r"(?<link>\s*[:=]\s*|\s+(?:is|was|are|ist|lautet|war|est|es|to)\b\s*:?\s*)|(?<bare>\s+))",
        r"(?<value>[^\s,;].*?)(?<end>[.!?]?(?:[.!?,;]\s|\s*\n|\s*$))",
    ))
});

/// What follows "the password is" when it is spoken about rather than told.
const NOT_A_SECRET: &[&str] = &[
    "a",
    "already",
    "also",
    "always",
    "an",
    "asked",
    "at",
    "bad",
    "because",
    "being",
    "blank",
    "by",
    "case",
    "changed",
    "das",
    "der",
    "die",
    "empty",
    "encrypted",
    "expired",
    "expiré",
    "falsch",
    "fine",
    "for",
    "from",
    "good",
    "hashed",
    "here",
    "hidden",
    "if",
    "im",
    "in",
    "incorrect",
    "invalid",
    "it",
    "jetzt",
    "la",
    "le",
    "long",
    "mandatory",
    "missing",
    "my",
    "needed",
    "never",
    "nicht",
    "no",
    "noch",
    "not",
    "now",
    "ok",
    "okay",
    "on",
    "only",
    "optional",
    "pas",
    "protected",
    "really",
    "required",
    "requis",
    "reset",
    "richtig",
    "safe",
    "same",
    "secure",
    "sent",
    "set",
    "short",
    "shown",
    "so",
    "something",
    "still",
    "stored",
    "strong",
    "that",
    "the",
    "there",
    "this",
    "to",
    "too",
    "un",
    "une",
    "ungültig",
    "unknown",
    "valid",
    "very",
    "visible",
    "weak",
    "what",
    "when",
    "which",
    "with",
    "without",
    "wrong",
    "your",
    "zu",
    "abgelaufen",
];

fn secret(found: &Captures<'_>) -> String {
    let (whole, name, value) = (&found[0], found["name"].to_lowercase(), &found["value"]);
    let words: Vec<&str> = value.split_whitespace().collect();
    let first = words.first().map_or(String::new(), |word| word.to_lowercase());
    let plain = |word: &str| word.chars().all(|c| c.is_alphabetic() || matches!(c, '\'' | '’' | '-'));
    let coded = |word: &str| !plain(word) || digits::digit_word(&word.to_lowercase()).is_some();
    let mixed = |word: &str| word.contains(char::is_alphabetic) && !plain(word);
    let link = found.name("link").or(found.name("bare")).map_or("", |link| link.as_str());
    let told = match link.trim().to_lowercase().as_str() {
        // "password hunter2", but not "password 3 times".
        "" | "to" => mixed(&first),
        ":" | "=" => true,
        _ if name.starts_with("pin") || name.ends_with("token") || name.ends_with("key") => coded(&first),
        _ => !NOT_A_SECRET.contains(&first.as_str()) && value.to_lowercase() != "correct",
    };
    if !told {
        return whole.to_owned();
    }
    // A value with digits or signs ends with them, one of words with the clause.
    let taken = match coded(&first) {
        true => words.iter().take_while(|word| coded(word)).count(),
        false => words.len(),
    };
    let rest: String = words[taken..].iter().flat_map(|word| [" ", *word]).collect();
    let label = if name.ends_with("token") || name.ends_with("key") { "[key]" } else { "[password]" };
    let whose = found.name("whose").map_or("", |w| w.as_str());
    format!("{}{whose}{link}{label}{}{}", &found["name"], scrub(&rest), &found["end"])
}

/// Keys by the marks their issuers give them.
static KNOWN_KEY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END[A-Z ]*-----|$)",
        r"|\b(?:[spr]k[-_](?:[A-Za-z]+[-_])*[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}",
        r"|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{30,}|hf_\w{20,}|npm_\w{20,}",
        r"|eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]+)?)",
    ))
});

/// What may be a hexadecimal or base64 token.
static TOKEN: LazyLock<Regex> = LazyLock::new(|| pattern(r"[A-Za-z0-9_+/=-]{20,}"));

/// Random tokens mix letters and digits; words, paths and identifiers hardly do.
fn token(found: &Captures<'_>) -> String {
    let bytes = found[0].as_bytes();
    let mixes = |pair: &&[u8]| {
        pair[0].is_ascii_digit() && pair[1].is_ascii_alphabetic()
            || pair[0].is_ascii_alphabetic() && pair[1].is_ascii_digit()
    };
    // An IBAN has spaces in print and few letters; it is found by its check digits.
    let random = bytes.windows(2).filter(mixes).count() >= 4 && !digits::is_iban(&found[0]);
    if random { "[key]".into() } else { found[0].to_owned() }
}

static EMAIL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[\p{L}\p{N}._%+'-]+\s?@\s?[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+"));

/// Local part, "at" and domain, each as spoken or written; `dot` shows that the domain was spoken.
static SPOKEN_EMAIL: LazyLock<Regex> = LazyLock::new(|| {
    let word = r"[\p{L}\p{N}]+";
    let number = "(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|twenty|thirty|forty|fifty|sixty|seventy\
                  |eighty|ninety|[0-9]+)";
    let join = r"(?:[._+-]|\s+(?:dot|period|point|punkt|punto|under ?score|dash|hyphen|minus|plus|unterstrich|bindestrich|tiret|guion|guión|trattino)\s+)";
    let local = format!(r"(?<local>(?:\b\p{{L}}\s+)*\b{word}(?:{join}{word})*(?:\s+{number}\b)*)");
    let hyphen = r"(?:-|\s+(?:dash|hyphen|minus|bindestrich)\s+)";
    let label = format!(r"(?:\p{{L}}\s+)?{word}(?:{hyphen}{word})*");
    let germanic = format!(
        r"\s+(?:at(?:\s+sign)?|ät|klammeraffe|\(at\)|\[at\])\s+(?<host>{label})(?:(?:\.|(?<dot>\s+(?:dot|punkt)\s+)){word}(?:-{word})*)+"
    );
    let romance =
        format!(r"\s+(?:arobase|arroba|chiocciola)\s+{label}(?:(?:\.|\s+(?:dot|point|punto)\s+){word})+");
    pattern(&format!(r"(?i){local}(?:{germanic}|(?<romance>{romance}))\b"))
});

/// Words before "at example.com" that are no name.
const NOT_A_NAME: &[&str] = &[
    "are", "arrive", "be", "found", "go", "hosted", "i", "is", "it", "live", "look", "lives", "looks", "me",
    "meet", "more", "online", "only", "or", "page", "people", "read", "run", "runs", "see", "shop", "site",
    "start", "stay", "them", "there", "us", "was", "we", "website", "were", "work", "works", "you",
];

/// What a dot is seen at.
const NOT_A_HOST: &[&str] = &["a", "an", "each", "every", "that", "the", "this"];

fn spoken_email(found: &Captures<'_>) -> Cow<'static, str> {
    let local = found["local"].to_lowercase();
    let is_word = local.chars().all(char::is_alphabetic);
    let ends = ["ing", "able", "ed", "ly"].iter().any(|end| local.len() > 5 && local.ends_with(end));
    let thing =
        found.name("host").is_some_and(|host| NOT_A_HOST.contains(&host.as_str().to_lowercase().as_str()));
    let spoken = found.name("dot").is_some() || found.name("romance").is_some();
    if thing || !spoken && is_word && (ends || NOT_A_NAME.contains(&local.as_str())) {
        return found[0].to_owned().into();
    }
    "[email]".into()
}
