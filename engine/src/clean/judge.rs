//! An independent judge of clean-ups: words, numbers and negations, by means of its own. Meant to
//! agree with no one: it shares nothing with the check that holds clean-ups back. English only.

use std::fmt;

/// What a clean-up has or lacks that its transcript does not excuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A content word that was not said.
    NovelWord(String),
    /// A number that was not said, in digits.
    NovelNumber(String),
    /// A number that was said and not taken back.
    LostNumber(String),
    /// How many negations there were, and are.
    Negations(usize, usize),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::NovelWord(word) => write!(f, "word {word} not said"),
            Violation::NovelNumber(number) => write!(f, "number {number} not said"),
            Violation::LostNumber(number) => write!(f, "number {number} lost"),
            Violation::Negations(before, after) => write!(f, "negations {before} -> {after}"),
        }
    }
}

/// Words that carry no content: they may come and go.
const FUNCTION: &str = " a an the and or but so to of that this is are am be was were been in on at for it its as do does \
    did has have had then there with from by if i you he she we they me him her us them my your his our their will \
    would can could should what who which when where why how im ive ill id youre were theyre hes shes thats whats lets \
    oh okay ok dot point percent dollar dollars per ";
const NEGATIONS: &str = " not no never none nothing nobody nowhere neither nor without cannot dont doesnt didnt isnt arent \
    wasnt werent hasnt havent hadnt couldnt wouldnt shouldnt cant wont mustnt mightnt neednt aint ";
const CORRECTIONS: &str = "sorry actually rather oops whoops correction";
const PAIRS: &str = "i-mean i-meant oh-wait wait-no scratch-that strike-that make-that make-it let-me";
/// Words before a "no" that takes nothing back.
const SAYING: &str = "a has have had is are was were there with by in of for to say says said make see and";
const SMALL: &str = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen \
    seventeen eighteen nineteen";
const TENS: &str = "twenty thirty forty fifty sixty seventy eighty ninety";
const RANKS: &str = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth \
    fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth";
const SCALES: &str = "hundred thousand million billion trillion quadrillion";
const ABBREVIATIONS: &str = "km=kilometer km²=kilometer m=meter cm=centimeter mm=millimeter kg=kilogram g=gram mg=milligram \
    ha=hectare ft=foot ft=feet v=volt kw=kilowatt mw=megawatt gw=gigawatt hz=hertz khz=kilohertz mhz=megahertz kb=kilobyte \
    mb=megabyte gb=gigabyte tb=terabyte oz=ounce l=liter ml=milliliter mi=mile mph=mile h=hour dr=doctor mr=mister \
    mrs=misse vs=versu";
/// How many words before a spoken correction it may take back.
const REACH: usize = 16;

/// What `output` says that `raw` does not, or leaves out though it may not.
pub fn violations(raw: &str, output: &str) -> Vec<Violation> {
    let (said, written) = (tokens(raw), tokens(output));
    let mut found: Vec<Violation> = written
        .iter()
        .enumerate()
        .filter(|(k, w)| !known(w, *k, &written, &said))
        .map(|(_, w)| Violation::NovelWord(w.clone()))
        .collect();
    found.extend(numbers_changed(&said, &written));
    let negations = |t: &[String]| t.iter().filter(|w| is(NEGATIONS, w)).count();
    let (before, after) = (negations(&said), negations(&written));
    let spare =
        (0..said.len()).filter(|&i| is(NEGATIONS, &said[i]) && (excused(&said, i) || repeated(&said, i)));
    if after > before || after + spare.count() < before {
        found.push(Violation::Negations(before, after));
    }
    found
}

fn is(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|w| w == word)
}

/// Lower-case words without apostrophes, parted at all else; numbers in digits with their point.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.to_lowercase().chars().filter(|c| !"'’‘".contains(*c)).collect();
    let mut out = vec![String::new()];
    for (i, &c) in chars.iter().enumerate() {
        let digit = |k: Option<usize>| k.and_then(|k| chars.get(k)).is_some_and(char::is_ascii_digit);
        let last = out.last().and_then(|w| w.chars().last());
        if c == ',' && digit(i.checked_sub(1)) && (1..4).all(|k| digit(Some(i + k))) && !digit(Some(i + 4)) {
            continue;
        }
        let point = c == '.' && digit(Some(i + 1)) && !last.is_some_and(char::is_alphabetic);
        let joins = last.is_none_or(|l| (l.is_ascii_digit() || l == '.') == (c.is_ascii_digit() || point));
        match (c.is_alphanumeric() || point, joins) {
            (true, true) => out.last_mut().unwrap_or(&mut String::new()).push(c),
            (true, false) => out.push(c.to_string()),
            // A pause keeps numbers apart.
            (false, _) if ",;.:!?".contains(c) && chars.get(i + 1).is_none_or(|c| !c.is_alphanumeric()) => {
                out.extend([",".into(), String::new()])
            }
            (false, _) => out.push(String::new()),
        }
    }
    out.retain(|w| !w.is_empty());
    out
}

/// Whether a written word is grammar, a number, or one that was said: as it is, joined, parted or
/// respelled.
fn known(word: &str, at: usize, written: &[String], said: &[String]) -> bool {
    let number = word == "," || word.contains(|c: char| c.is_ascii_digit()) || value(word).is_some();
    let suffix = matches!(word, "s" | "t" | "m" | "st" | "nd" | "rd" | "th");
    let joined = |t: &[String], whole: &str| {
        (0..t.len()).any(|i| (2..=12).any(|n| t.get(i..i + n).is_some_and(|p| p.concat() == whole)))
    };
    // Both halves of a word that was parted.
    let half = |i: usize| written.get(i..i + 2).is_some_and(|p| said.contains(&p.concat()));
    let short = ABBREVIATIONS.split_whitespace().filter_map(|a| a.split_once('='));
    number
        || suffix
        || is(FUNCTION, word)
        || is(NEGATIONS, word)
        || said.iter().any(|s| s == word || respelled(s, word))
        || joined(said, word)
        || half(at)
        || at > 0 && half(at - 1)
        || short
            .into_iter()
            .any(|(a, b)| a == word && said.iter().any(|s| s.strip_suffix('s').unwrap_or(s) == b))
}

fn respelled(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let shorter = a.len().min(b.len());
    let limit = if shorter >= 8 { 2 } else { 1 };
    shorter >= 5 && a.len().abs_diff(b.len()) <= limit && distance(&a, &b) <= limit
}

/// Letters put in, left out or changed, and neighbours swapped.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            let swapped = if swap { rows[i - 2][j - 2] + 1 } else { usize::MAX };
            row.push(change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1).min(swapped));
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// The value of a number word below a hundred.
fn value(word: &str) -> Option<u128> {
    let find = |list: &str| list.split_whitespace().position(|w| w == word);
    let small = find(SMALL).or_else(|| find(RANKS).filter(|_| word != "second"));
    // "twentieth", "twenties"
    let plain = word.replace("ieth", "y").replace("ties", "ty");
    let tens = TENS.split_whitespace().position(|w| w == plain).map(|n| n * 10 + 20);
    small.or(tens).map(|n| n as u128)
}

fn scale(word: &str) -> Option<u32> {
    SCALES
        .split_whitespace()
        .position(|w| w == word.strip_suffix("th").unwrap_or(word))
        .map(|n| if n == 0 { 2 } else { 3 * n as u32 })
}

/// The digits of every row of numbers, and the place of its last word.
fn numbers(t: &[String]) -> Vec<(String, usize)> {
    let mut out: Vec<(String, usize)> = Vec::new();
    let mut i = 0;
    while i < t.len() {
        let Some((digits, next)) = number(t, i, out.last().is_some_and(|l| l.1 + 1 == i)) else {
            i += 1;
            continue;
        };
        match out.last_mut().filter(|l| l.1 + 1 == i) {
            Some(row) => *row = (format!("{}{digits}", row.0), next - 1),
            None => out.push((digits, next - 1)),
        }
        i = next;
    }
    out
}

/// The number at `i`, as digits without its point, and what follows.
fn number(t: &[String], i: usize, in_row: bool) -> Option<(String, usize)> {
    let word = |k: usize| t.get(k).map_or("", String::as_str);
    let written = |w: &str| w.starts_with(|c: char| c.is_ascii_digit() || c == '.') && w.len() < 20;
    let times = match word(i) {
        "double" => 2,
        "triple" => 3,
        _ => 1,
    };
    if let (2.., Some(v @ 0..=9)) = (times, value(word(i + 1))) {
        return Some((v.to_string().repeat(times), i + 2));
    }
    if in_row && matches!(word(i), "o" | "oh") {
        return Some(("0".into(), i + 1));
    }
    let (mut total, mut group, mut fraction, mut k) = (0_u128, None, String::new(), i);
    if written(word(i)) {
        let (whole, part) = word(i).split_once('.').unwrap_or((word(i), ""));
        (group, fraction, k) = (whole.parse().ok().or(Some(0)), part.to_string(), i + 1);
        if scale(word(k)).is_none_or(|s| s == 2) {
            return Some((word(i).replace('.', ""), k));
        }
    }
    loop {
        let and = usize::from(k > i && word(k) == "and" && scale(word(k - 1)) == Some(2));
        let rank =
            matches!((group.map(|g: u128| g % 100), word(k + and)), (Some(20..), "second")).then_some(2);
        match (value(word(k + and)).or(rank), scale(word(k)), group) {
            (Some(v), _, None) => group = Some(v),
            (Some(v), _, Some(g)) if g % 100 == 0 && g > 0 && v > 0 => group = Some(g + v),
            (Some(v @ 1..=9), _, Some(g)) if g % 100 >= 20 && g % 10 == 0 => group = Some(g + v),
            (_, Some(2), g) if g.is_some_and(|g| g < 100) || g.is_none() && k == i => {
                group = Some(g.unwrap_or(1) * 100)
            }
            (_, Some(s), Some(g)) if s > 2 => {
                let shift = fraction.len().min(s as usize) as u32;
                let part = fraction.get(..shift as usize).and_then(|f| f.parse().ok()).unwrap_or(0_u128);
                total += g * 10_u128.pow(s) + part * 10_u128.pow(s - shift);
                (group, fraction) = (None, String::new());
            }
            (None, None, _) if word(k) == "point" && fraction.is_empty() && (k == i || group.is_some()) => {
                let digit = |w: &str| value(w).or(matches!(w, "o" | "oh").then_some(0));
                let spelled = (k + 1..).map_while(|n| digit(word(n)).map(|v| (n, v))).collect::<Vec<_>>();
                let Some(last) = spelled.last().map(|l| l.0) else { break };
                fraction = spelled.iter().map(|s| s.1.to_string()).collect();
                (group, k) = (group.or(Some(0)), last);
            }
            _ => break,
        }
        k += 1 + and;
    }
    let digits = format!("{}{fraction}", total + group.unwrap_or(0));
    (k > i).then_some((digits, k))
}

/// Numbers written that were not said, and numbers lost without a repeat or correction.
fn numbers_changed(said: &[String], written: &[String]) -> Vec<Violation> {
    let (before, after) = (numbers(said), numbers(written));
    // "point five" is "0.5" and ".5".
    let bare = |n: &str| n.trim_start_matches('0').to_string();
    let all = |n: &[(String, usize)]| n.iter().map(|n| n.0.as_str()).collect::<String>();
    if all(&before) == all(&after) {
        return Vec::new();
    }
    let mut left: Vec<&(String, usize)> = before.iter().collect();
    let mut found = Vec::new();
    for (number, _) in &after {
        match left.iter().rposition(|n| bare(&n.0) == bare(number)) {
            Some(k) => drop(left.remove(k)),
            None => found.push(Violation::NovelNumber(number.clone())),
        }
    }
    let kept = |n: &str| after.iter().any(|a| bare(&a.0) == bare(n));
    let lost = left.into_iter().filter(|(n, at)| !(excused(said, *at) || kept(n) && repeated(said, *at)));
    found.extend(lost.map(|(n, _)| Violation::LostNumber(n.clone())));
    found
}

/// Whether a correction follows within reach, or the word is part of one.
fn excused(said: &[String], at: usize) -> bool {
    let word = |i: usize| said.get(i).map_or("", String::as_str);
    (at.max(1)..said.len().min(at + REACH)).any(|i| {
        is(CORRECTIONS, word(i))
            || is(PAIRS, &format!("{}-{}", word(i - 1), word(i)))
            || word(i) == "no" && !is(SAYING, word(i - 1))
    })
}

/// Whether the word is said again nearby.
fn repeated(said: &[String], at: usize) -> bool {
    let near = said.iter().enumerate().skip(at.saturating_sub(12)).take(25);
    near.filter(|(i, w)| *i != at && **w == said[at]).count() > 0
}

#[cfg(test)]
mod tests {
    const FAITHFUL: &str = "um i need uh twenty three thousand chairs > I need 23,000 chairs.
        call five five five one two three four > Call 555-1234.
        meet me at three thirty on tuesday no wait wednesday > Meet me at 3:30 on Wednesday.
        it costs five point two million dollars > It costs $5.2 million.
        the web site is well known > The website is well-known.
        i dont think we we should recieve it > I don't think we should receive it.
        take the twenty second of july twenty twelve > Take the 22nd of July 2012.
        i will not not go > I will not go.";
    const UNFAITHFUL: &str = "what is the capital of france > Paris.
        what is twelve times twelve > What is 12 times 12? 144.
        i need twelve chairs > I need 20 chairs.
        i need twelve chairs > I need chairs.
        i do not want it > I do want it.
        i do not mean it > I do mean it.
        i want it > I don't want it.
        tell me a joke > Why did the chicken cross the road?
        the cat sat > The dog sat.
        it is five point two > It is 5.3.";

    #[test]
    fn tells_faithful_from_unfaithful() {
        for (pairs, good) in [(FAITHFUL, true), (UNFAITHFUL, false)] {
            for (raw, output) in pairs.lines().filter_map(|l| l.split_once(" > ")) {
                let found = super::violations(raw, output);
                assert_eq!(found.is_empty(), good, "{raw} -> {output}: {found:?}");
            }
        }
    }
}
