//! Spoken punctuation: "hello comma world" is "hello, world". A word that names a mark is a command
//! only where nothing says that it is meant itself: no article before it, no "of" behind it, a word
//! for the mark to stand at. In doubt it stays a word; no other word is ever lost.

use super::commands::{self, Command, Commands, Mark};
use super::lexicon::{self, Lexicon};
use super::numbers;
use super::words::fold;
use std::borrow::Cow;

/// How far back "during" makes "period" a word.
const SPAN_WORDS: usize = 5;
/// How far "quote" looks for its "unquote".
const QUOTED_WORDS: usize = 60;
/// How many loose marks may stand between a sign and the word it belongs to.
const LOOSE_MARKS: usize = 8;
/// What makes compounds.
const JOINS: [char; 5] = ['/', '\\', '-', '_', '@'];
/// What nothing can be closed behind.
const OPENERS: [char; 13] = ['(', '[', '{', '«', '„', '¿', '¡', '/', '\\', '_', '@', '#', '&'];
/// Words whose full stop is their own.
const ABBREVIATIONS: &[&str] =
    &["mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "etc", "vs", "approx", "bzw", "usw", "inc", "ltd"];

/// `text` in `lang` with its spoken punctuation written; unchanged in languages without commands.
/// Marks that the recogniser wrote for the pauses around a command are merged with it. Applied twice
/// it does what it does once. Linear in the text.
pub(super) fn punctuate<'t>(text: &'t str, lang: &str) -> Cow<'t, str> {
    let Some(commands) = commands::commands(lang) else { return Cow::Borrowed(text) };
    let tokens = tokens(text);
    let mut draft = Draft::new(commands.spaced, lexicon::lexicon(lang));
    let named: Vec<_> = (0..tokens.len()).map(|i| named(commands, &tokens[i..])).collect();
    let reader = Reader { tokens: &tokens, named: &named, commands, lang };
    let (mut i, mut changed) = (0, false);
    while let Some(token) = tokens.get(i) {
        match named[i] {
            Some((command, used)) if reader.is_command(&draft, command, i, used) => {
                draft.mark(command.mark, tokens[i + used - 1].trail);
                changed = true;
                i += used;
            }
            Some((_, used)) => {
                // Only the first word goes into a compound.
                let joined = draft.is_joined();
                let used = if joined { 1 } else { used };
                for token in &tokens[i..i + used] {
                    draft.word(token);
                }
                if !joined {
                    draft.named = draft.words.len();
                }
                i += used;
            }
            None => {
                draft.word(token);
                i += 1;
            }
        }
    }
    if changed { Cow::Owned(draft.out) } else { Cow::Borrowed(text) }
}

/// A stretch without white space, and the white space before it.
struct Token<'a> {
    gap: &'a str,
    lead: &'a str,
    core: &'a str,
    trail: &'a str,
    norm: String,
}

impl Token<'_> {
    /// A mark of the recogniser that stands by itself.
    fn is_loose(&self) -> bool {
        self.core.is_empty() && self.lead.chars().all(|c| is_pause(c) && !matches!(c, '-' | '–' | '—'))
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut from = 0;
    let mut all = Vec::new();
    for token in text.split_whitespace() {
        let at = token.as_ptr() as usize - text.as_ptr() as usize;
        let core = token.trim_start_matches(|c: char| !c.is_alphanumeric());
        let lead = &token[..token.len() - core.len()];
        let core = core.trim_end_matches(|c: char| !c.is_alphanumeric());
        let trail = &token[lead.len() + core.len()..];
        all.push(Token { gap: &text[from..at], lead, core, trail, norm: fold(core) });
        from = at + token.len();
    }
    all
}

fn is_pause(c: char) -> bool {
    matches!(c, ',' | '.' | ';' | ':' | '!' | '?' | '…' | '-' | '–' | '—')
}

fn is_end(c: char) -> bool {
    matches!(c, '.' | '!' | '?')
}

fn is_closer(c: char) -> bool {
    matches!(c, '"' | '”' | '“' | ')' | ']' | '»' | '’' | '\'')
}

/// The parts of a compound, so that "and/or" is two words.
fn parts(norm: &str) -> impl DoubleEndedIterator<Item = &str> {
    norm.split(|c: char| !c.is_alphanumeric() && !matches!(c, '\'' | '.')).filter(|p| !p.is_empty())
}

/// The command whose words begin `tokens`, and how many they are.
fn named(commands: &Commands, tokens: &[Token]) -> Option<(&'static Command, usize)> {
    commands.all.iter().find_map(|command| {
        let used = command.said.split(' ').count();
        let tokens = tokens.get(..used)?;
        let alike = command.said.split(' ').zip(tokens).all(|(word, token)| token.norm == word);
        let together = tokens
            .windows(2)
            .all(|t| t[0].trail.is_empty() && t[1].lead.is_empty() && !t[1].gap.contains('\n'));
        (alike && together).then_some((command, used))
    })
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    /// The command named at each token.
    named: &'a [Option<(&'static Command, usize)>],
    commands: &'static Commands,
    lang: &'a str,
}

impl Reader<'_> {
    /// Whether the command named at `i` is meant as one, behind what is written so far.
    fn is_command(&self, draft: &Draft, command: &Command, i: usize, used: usize) -> bool {
        let (first, last) = (&self.tokens[i], &self.tokens[i + used - 1]);
        let next = self.tokens.get(i + used);
        let broken = first.gap.contains('\n');
        let same_phrase =
            last.trail.is_empty() && next.is_some_and(|n| n.lead.is_empty() && !n.gap.contains('\n'));
        let after = next.filter(|_| same_phrase).and_then(|n| parts(&n.norm).next()).unwrap_or("");
        let before = if broken || !first.lead.is_empty() { "" } else { draft.before() };
        let (needs_left, needs_right) = match command.mark {
            Mark::End(_) | Mark::Pause(_) | Mark::Suffix(_) | Mark::Close(_) => (true, false),
            Mark::Join(_) | Mark::Between(_) => (true, true),
            Mark::Prefix(_) => (false, true),
            Mark::Open(_) | Mark::Break(_) => (false, false),
        };
        let fresh = draft.fresh || broken;
        let quoted = !first.lead.chars().all(is_pause);
        let named = quoted || draft.is_literal(self.commands) || draft.is_listed();
        let alone = needs_left && fresh
            || needs_right && !self.word_follows(i + used)
            || command.apart && !fresh && !draft.pause;
        let determined = self.commands.determiners.contains(&before) || command.before.contains(&before);
        let described = !matches!(command.mark, Mark::Suffix(_)) && self.commands.after.contains(&after)
            || command.after.contains(&after);
        let subject = needs_left && draft.ended && self.commands.verbs.contains(&after);
        let a_word = named || alone || determined || described || subject;
        !(a_word || self.is_decimal(command, before, after))
            && (command.said != "period" || !self.is_time(draft))
            && (command.said != "quote" || self.unquoted(i + used))
    }

    /// Whether the next token that is more than a pause has letters.
    fn word_follows(&self, i: usize) -> bool {
        let mut near = self.tokens.iter().skip(i).take(LOOSE_MARKS);
        near.find(|t| !t.is_loose()).is_some_and(|t| !t.core.is_empty())
    }

    fn is_number(&self, word: &str) -> bool {
        word.starts_with(|c: char| c.is_ascii_digit()) || numbers::is_number_word(word, self.lang)
    }

    /// "drei Komma fünf"
    fn is_decimal(&self, command: &Command, before: &str, after: &str) -> bool {
        self.commands.decimal.contains(&command.said)
            && (self.is_number(after)
                && (self.is_number(before)
                    || command.said != "komma" && command.said != "coma" && command.said != "virgule"))
    }

    /// "during the cold war period", "a two-week period"
    fn is_time(&self, draft: &Draft) -> bool {
        const DURING: &[&str] = &["during", "throughout", "within", "over"];
        const TIMES: &[&str] = &["second", "minute", "hour", "day", "week", "month", "year"];
        let phrase = &draft.words[draft.phrase..];
        let near = &phrase[phrase.len().saturating_sub(SPAN_WORDS)..];
        let counted = matches!(near, [.., n, unit] if self.is_number(n) && TIMES.contains(&unit.as_str()));
        counted || near.iter().any(|w| DURING.contains(&w.as_str()))
    }

    /// Whether what is opened at `i` is closed later on.
    fn unquoted(&self, i: usize) -> bool {
        let near = self.named.iter().skip(i + 1).take(QUOTED_WORDS);
        near.flatten().any(|(command, _)| matches!(command.mark, Mark::Close("\"")))
    }
}

/// The text as it is written.
struct Draft {
    out: String,
    lex: &'static Lexicon,
    /// French spacing.
    spaced: bool,
    /// The words so far, and where the phrase at hand begins.
    words: Vec<String>,
    phrase: usize,
    /// How many words there were when a command was last meant as a word.
    named: usize,
    /// Up to here marks were asked for; what follows is the recogniser's.
    asked: usize,
    /// No space before what comes next.
    glue: bool,
    /// Nothing here yet that a mark could stand at.
    fresh: bool,
    /// A pause, or the end of a sentence, is right before.
    pause: bool,
    ended: bool,
    /// The next word begins a sentence, or no longer does.
    capital: bool,
    lower: bool,
}

impl Draft {
    fn new(spaced: bool, lex: &'static Lexicon) -> Draft {
        Draft {
            out: String::new(),
            lex,
            spaced,
            words: Vec::new(),
            phrase: 0,
            named: usize::MAX,
            asked: 0,
            glue: false,
            fresh: true,
            pause: false,
            ended: false,
            capital: false,
            lower: false,
        }
    }

    /// The word right before, if it belongs to the same phrase.
    fn before(&self) -> &str {
        self.words[self.phrase..].last().map_or("", String::as_str)
    }

    /// The next word is part of a compound.
    fn is_joined(&self) -> bool {
        self.glue && self.out.ends_with(JOINS)
    }

    fn is_literal(&self, commands: &Commands) -> bool {
        let [.., a, b] = &self.words[..] else {
            return self.words.first().is_some_and(|w| commands.literal.contains(&w.as_str()));
        };
        commands.literal.iter().any(|l| match l.split_once(' ') {
            Some((first, second)) => (first, second) == (a, b),
            None => l == b,
        })
    }

    /// "the comma and period": a list of marks.
    fn is_listed(&self) -> bool {
        const AND: &[&str] = &["and", "or", "und", "oder", "et", "ou", "y", "o"];
        self.words.len() == self.named.saturating_add(1) && !self.pause && AND.contains(&self.before())
    }

    fn word(&mut self, token: &Token) {
        if self.glue && token.is_loose() {
            return;
        }
        let gap = if self.glue { "" } else { token.gap };
        if gap.contains('\n') {
            (self.fresh, self.phrase) = (true, self.words.len());
        }
        self.out += gap;
        self.out += token.lead;
        let plain = token.core.chars().all(|c| c.is_alphabetic() || matches!(c, '\'' | '’' | '-'));
        let function =
            self.lex.light.contains(&token.norm.as_str()) || self.lex.function.contains(&token.norm.as_str());
        let lower = self.lower && function && token.norm != "i";
        if plain && self.capital && token.core.starts_with(char::is_lowercase) {
            self.out.extend(recased(token.core, |c| c.to_uppercase().collect()));
        } else if plain && lower {
            self.out.extend(recased(token.core, |c| c.to_lowercase().collect()));
        } else {
            self.out += token.core;
        }
        self.out += token.trail;
        self.glue = false;
        if token.core.is_empty() {
            // A loose mark of the recogniser, or something that belongs to the next word.
            self.fresh |= !token.is_loose();
            self.paused(token.lead.contains(is_end));
            return;
        }
        (self.fresh, self.capital, self.lower) = (token.trail.ends_with(OPENERS), false, false);
        if !token.lead.is_empty() {
            self.phrase = self.words.len();
        }
        self.words.extend(parts(&token.norm).map(String::from));
        (self.pause, self.ended) = (false, false);
        if !token.trail.is_empty() {
            self.paused(token.trail.contains(is_end));
        }
    }

    fn paused(&mut self, ended: bool) {
        (self.pause, self.ended, self.phrase) = (true, ended, self.words.len());
    }

    /// Takes off the recogniser's own marks; whether a sentence ended with them.
    fn strip(&mut self, mark: impl Fn(char) -> bool) -> bool {
        let own = self.words.last().is_some_and(|w| w.contains('.') || ABBREVIATIONS.contains(&w.as_str()));
        let mut ended = false;
        while let Some(c) = self.out[self.asked..].chars().next_back() {
            let abbreviates = c == '.' && own && !self.out[..self.out.len() - 1].ends_with(is_pause);
            if !(mark(c) && !abbreviates || c.is_whitespace() && c != '\n') {
                break;
            }
            ended |= is_end(c);
            self.out.pop();
        }
        ended
    }

    /// Writes a mark in place of a command that the recogniser followed by `trail`.
    fn mark(&mut self, mark: Mark, trail: &str) {
        let closers: String = trail.chars().filter(|c| is_closer(*c)).collect();
        let ended = match mark {
            Mark::End(_) | Mark::Pause(_) | Mark::Join(_) | Mark::Between(_) | Mark::Suffix(_) => {
                self.strip(is_pause)
            }
            Mark::Break(line) if line.starts_with('.') => self.strip(is_pause),
            Mark::Close(_) | Mark::Break(_) => {
                self.strip(|c| c == ',');
                false
            }
            Mark::Open(_) | Mark::Prefix(_) => false,
        };
        match mark {
            Mark::End(end) => {
                if !(end == "." && self.out.ends_with('.')) || self.asked == self.out.len() {
                    self.space_french(end);
                    self.out += end;
                }
                self.out += &closers;
                self.capital = true;
            }
            Mark::Pause(pause) => {
                self.space_french(pause);
                self.out += pause;
                self.out += &closers;
                (self.lower, self.capital) = (ended, false);
            }
            Mark::Suffix(suffix) => {
                self.out += suffix;
                self.out += trail;
            }
            Mark::Close(close) => {
                self.space_french(close);
                self.out += close;
                self.out.extend(trail.chars().filter(|c| is_end(*c) || is_closer(*c)));
            }
            Mark::Open(open) | Mark::Prefix(open) => {
                if !self.glue && !self.out.is_empty() && !self.out.ends_with('\n') {
                    self.out.push(' ');
                }
                self.out += open;
                if open == "«" {
                    self.out.push(' ');
                }
            }
            Mark::Join(join) => {
                self.out += join;
                self.lower = ended;
            }
            Mark::Between(between) => {
                self.out.push(' ');
                self.out += between;
                self.out.push(' ');
                self.lower = ended;
            }
            Mark::Break(line) => {
                self.out += &closers;
                let begun = self.out.is_empty() || self.out.ends_with('\n');
                self.out += if begun && line.ends_with(' ') { line.trim_start() } else { line };
                self.capital = true;
            }
        }
        self.glue = !matches!(mark, Mark::End(_) | Mark::Pause(_) | Mark::Suffix(_) | Mark::Close(_));
        self.fresh = self.glue;
        (self.asked, self.named) = (self.out.len(), usize::MAX);
        self.paused(self.capital);
    }

    /// French sets its high marks apart.
    fn space_french(&mut self, mark: &str) {
        if self.spaced && matches!(mark, "?" | "!" | ";" | ":" | "»") && !self.out.ends_with(' ') {
            self.out.push(' ');
        }
    }
}

/// A word with its first letter changed.
fn recased(word: &str, change: impl Fn(char) -> String) -> impl Iterator<Item = char> {
    let mut chars = word.chars();
    let first: Vec<char> = chars.next().map(|c| change(c).chars().collect()).unwrap_or_default();
    first.into_iter().chain(chars)
}
