//! Patterns of paths: exact where they permit, looser where they restrict.

mod overlap;
pub mod regions;

use smallvec::SmallVec;

use crate::pipeline::message::{Malformed, parse_path, percent_byte};

/// A pattern of paths: `*` is one segment or part of it, a trailing `/*` everything below, `**` anything,
/// `{id}` exactly one segment, and a pattern without any of these that one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    exact: Glob,
    loose: Glob,
    specificity: (bool, usize),
    trail: Box<[Step]>,
}

/// One segment of the way along which a pattern's paths are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// This segment, in the looser spelling.
    Named(Box<str>),
    /// Any one segment.
    Any,
}

/// A request's path in the two spellings in which patterns meet it.
#[derive(Debug)]
pub struct PathView<'a> {
    exact: &'a str,
    loose: Loose,
    /// The looser spellings in which some parameters and blanks stay, where there are any.
    fuller: SmallVec<[Text; 2]>,
}

/// A path that is being rewritten, always in ASCII. Most are short.
type Text = SmallVec<[u8; 128]>;

#[derive(Debug)]
enum Loose {
    /// The exact one.
    Same,
    Other(Text),
}

impl<'a> PathView<'a> {
    /// Looks at the path of a request.
    pub fn of(path: &'a str) -> Self {
        let odd = |b: u8| matches!(b, b'%' | b';' | b'*' | b'{' | b'}' | b' ');
        if path.bytes().any(odd) || path.contains("//") {
            let plain = plain(path);
            let loose = spelled(as_str(&plain), false, Keeps::Nothing);
            let fuller = [Keeps::Bare, Keeps::Parameters].map(|keeps| spelled(as_str(&plain), false, keeps));
            let fuller = fuller.into_iter().filter(|text| *text != loose).collect();
            return Self { exact: path, fuller, loose: Loose::Other(loose) };
        }
        let bare = if path == "/" { path } else { path.strip_suffix('/').unwrap_or(path) };
        let loose = match bare.len() == path.len() && !path.bytes().any(|b| b.is_ascii_uppercase()) {
            true => Loose::Same,
            false => Loose::Other(bare.bytes().map(|b| b.to_ascii_lowercase()).collect()),
        };
        Self { exact: path, loose, fuller: SmallVec::new() }
    }

    /// The path as it goes out.
    pub fn exact(&self) -> &'a str {
        self.exact
    }

    /// The ways along which patterns that fit can be found.
    pub fn trails(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.loose()).chain(self.fuller.iter().map(as_str))
    }

    fn loose(&self) -> &str {
        match &self.loose {
            Loose::Same => self.exact,
            Loose::Other(text) => as_str(text),
        }
    }
}

/// Why a pattern of paths cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPathPattern {
    /// A path that no request could ever have.
    #[error("{0}, so no request can ever match it")]
    Malformed(#[from] Malformed),
    /// A query or fragment.
    #[error("a pattern of paths has no query or fragment: leave out `{0}`")]
    Query(String),
    /// A brace that does not enclose a whole segment's name.
    #[error("`{{name}}` stands for one whole segment, as in `/users/{{id}}/posts`")]
    Brace,
}

impl PathPattern {
    /// Reads a pattern as policy writes it.
    pub fn parse(text: &str) -> Result<Self, BadPathPattern> {
        if let Some(at) = text.find(['?', '#']) {
            return Err(BadPathPattern::Query(text.get(at..).unwrap_or_default().to_owned()));
        }
        for segment in text.split('/').filter(|s| s.contains(['{', '}'])) {
            let name = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
            if name.is_none_or(|n| n.is_empty() || n.contains(['{', '}', '*', ';', '%'])) {
                return Err(BadPathPattern::Brace);
            }
        }
        let normal = parse_path(text)?;
        let loose = spelled(as_str(&plain(&normal)), true, Keeps::Nothing);
        let trail = trail(&normal, as_str(&loose));
        Ok(Self::of(Glob::parse(&normal), Glob::parse(as_str(&loose)), trail))
    }

    /// Reads a pattern of which one without wildcard is a prefix that ends at a segment's end: `/v1/models` is that
    /// path and all below it, not `/v1/models2`.
    pub fn prefix(text: &str) -> Result<Self, BadPathPattern> {
        let Self { exact, loose, trail, .. } = Self::parse(text)?;
        Ok(Self::of(exact.or_below(), loose.or_below(), trail))
    }

    fn of(exact: Glob, loose: Glob, trail: Box<[Step]>) -> Self {
        Self { specificity: (exact.is_literal(), exact.literal_len()), exact, loose, trail }
    }

    /// For lists that permit: the path as it is.
    pub fn permits(&self, path: &str) -> bool {
        self.exact.matches(path)
    }

    /// For lists that restrict: also with case folded, every escape undone, and `;parameters`, blanks at the end of
    /// segments, empty segments and a final slash removed, since some server takes those for the same path.
    pub fn restricts(&self, path: &PathView<'_>) -> bool {
        if self.exact.matches(path.exact) {
            return true;
        }
        // A final slash is there or not: `/a` is where `/a/**` begins.
        let fits =
            |spelling: &str| self.loose.matches(spelling) || (spelling != "/" && self.loose.matches_below(spelling));
        path.trails().any(fits)
    }

    /// The way along which every path that it fits is found.
    pub fn trail(&self) -> &[Step] {
        &self.trail
    }

    /// Orders patterns: exact before wildcard, more literal text before less.
    pub fn specificity(&self) -> (bool, usize) {
        self.specificity
    }

    /// False only where no path can match both.
    pub fn may_overlap(&self, other: &Self) -> bool {
        let (a, b) = (self.exact.literal_prefix(), other.exact.literal_prefix());
        match (self.exact.is_literal(), other.exact.is_literal()) {
            (true, true) => a == b,
            // Most pairs part here, at no cost.
            _ => (a.starts_with(b) || b.starts_with(a)) && overlap::overlap(&self.exact.0, &other.exact.0),
        }
    }
}

impl PathPattern {
    /// True only where this pattern permits every path that the other one permits.
    pub fn permits_all_of(&self, other: &Self) -> bool {
        regions::covers(&self.exact.0, &other.exact.0)
    }

    /// True only where this pattern restricts every path that the other one restricts.
    pub fn restricts_all_of(&self, other: &Self) -> bool {
        self.permits_all_of(other) && regions::covers(&self.loose.0, &other.loose.0)
    }

    /// False only where this pattern restricts no path that the other one permits.
    pub fn may_restrict(&self, permitting: &Self) -> bool {
        let literal = match permitting.exact.0.as_slice() {
            [Piece::Literal(path)] => return self.restricts(&PathView::of(path)),
            _ => permitting.loose.literal_prefix(),
        };
        // Of what stands for a wildcard the looser spelling may keep nothing, so only the whole segments before the
        // first one are sure to be there.
        let segments = literal.rsplit_once('/').map_or("", |(segments, _)| segments);
        let below = [Piece::Literal(segments.into()), Piece::Anything];
        let mut loose = self.loose.0.clone();
        loose.push(Piece::Below);
        overlap::overlap(&loose, &below)
    }

    /// Some path that it permits.
    pub fn sample(&self) -> String {
        let of = |piece: &Piece| match piece {
            Piece::Literal(text) => text.to_string(),
            Piece::Below => String::new(),
            _ => "x".to_owned(),
        };
        self.exact.0.iter().map(of).collect()
    }

    /// True if no path but one matches it.
    pub fn is_one_path(&self) -> bool {
        self.exact.is_literal()
    }

    /// True for a pattern of every path.
    pub fn is_every_path(&self) -> bool {
        matches!(self.exact.0.as_slice(), [Piece::Literal(slash), Piece::Anything] if &**slash == "/")
    }
}

/// What a spelling keeps of `;parameters` and of the blanks at the end of segments, since some servers drop them and
/// some do not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Nothing,
    /// Segments of which nothing would be left stay whole.
    Bare,
    /// Every parameter, but no blank.
    Parameters,
}

/// The spelling in which restricting patterns and paths meet. The signs that patterns give a meaning stay, or are
/// put, in escapes, so that neither a path nor an escape in a pattern can be taken for a wildcard.
///
/// `path` has no escape that is undone.
fn spelled(path: &str, is_pattern: bool, keeps: Keeps) -> Text {
    let mut text = Text::with_capacity(path.len());
    for whole in path.split('/').skip(1) {
        let segment = match whole.split(';').next().unwrap_or_default().trim_end_matches(' ') {
            _ if keeps == Keeps::Parameters => whole.trim_end_matches(' '),
            "" if keeps == Keeps::Bare => whole,
            segment => segment,
        };
        if segment.is_empty() {
            continue;
        }
        text.push(b'/');
        for byte in segment.bytes() {
            match byte {
                b'*' if !is_pattern => text.extend_from_slice(b"%2a"),
                b'{' if !is_pattern => text.extend_from_slice(b"%7b"),
                b'}' if !is_pattern => text.extend_from_slice(b"%7d"),
                byte => text.push(byte.to_ascii_lowercase()),
            }
        }
    }
    if text.is_empty() {
        text.push(b'/');
    }
    text
}

/// [`parse_path`] lets nothing through that is not ASCII, and nothing else is put in.
fn as_str(text: &Text) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

/// The way to a pattern's paths: as many of its first segments as stand for exactly one segment each.
fn trail(normal: &str, loose: &str) -> Box<[Step]> {
    let segments = |text: &str| text.split('/').skip(1).filter(|s| !s.is_empty()).count();
    // A segment that the looser spelling drops is there in the exact one: no single way leads to both.
    if segments(normal) != segments(loose) {
        return Box::default();
    }
    let mut steps = Vec::new();
    let mut rest = loose.split('/').skip(1).filter(|s| !s.is_empty()).peekable();
    while let Some(segment) = rest.next() {
        let whole = segment.starts_with('{') || (segment == "*" && rest.peek().is_some());
        steps.push(match segment.contains(['*', '{']) {
            false => Step::Named(segment.into()),
            true if whole => Step::Any,
            true => break,
        });
    }
    steps.into()
}

/// A path as a server sees it that decodes twice, to which `%2561` is `a`. Deeper ones are malformed.
fn plain(path: &str) -> Text {
    unescaped(as_str(&unescaped(path)))
}

/// One layer of escapes undone, but for bytes that are not printable and signs that patterns give a meaning.
fn unescaped(path: &str) -> Text {
    let mut out = Text::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.extend_from_slice(before.as_bytes());
        let next = after.get(2..).unwrap_or_default();
        rest = match percent_byte(after) {
            Some(b'%') if percent_byte(next).is_none() => {
                out.extend_from_slice(b"%25");
                next
            }
            Some(byte @ 0x20..0x7f) if !matches!(byte, b'/' | b'\\' | b'*' | b'{' | b'}') => {
                out.push(byte);
                next
            }
            _ => {
                out.push(b'%');
                after
            }
        };
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// A pattern as its pieces. Matching follows every possibility at once, so its cost is bounded by the product of
/// the two lengths, whatever the pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Glob(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    /// Any run without a slash, possibly empty.
    WithinSegment,
    /// One whole segment, not empty.
    Segment,
    /// Anything, possibly empty.
    Anything,
    /// Anything of at least one byte.
    Something,
    /// Nothing, or a slash and anything; only at the end.
    Below,
}

impl Glob {
    fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let (piece, len) = if rest == "*" && literal.ends_with('/') {
                (Piece::Something, 1)
            } else if rest.starts_with("**") {
                (Piece::Anything, 2)
            } else if c == '*' {
                (Piece::WithinSegment, 1)
            } else if let Some(end) = rest.strip_prefix('{').and_then(|r| r.find('}')) {
                (Piece::Segment, end + 2)
            } else {
                literal.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
                continue;
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
            }
            pieces.push(piece);
            rest = rest.get(len..).unwrap_or_default();
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        Self(pieces)
    }

    fn matches(&self, path: &str) -> bool {
        match self.0.as_slice() {
            [] => path.is_empty(),
            [Piece::Literal(literal)] => **literal == *path,
            [Piece::Literal(prefix), Piece::Something] => path.len() > prefix.len() && path.starts_with(&**prefix),
            [Piece::Literal(prefix), Piece::Anything] => path.starts_with(&**prefix),
            [Piece::Literal(prefix), Piece::Below] => {
                path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            pieces => follow(pieces, path.as_bytes()),
        }
    }

    /// Whether it matches the path with a slash behind it.
    fn matches_below(&self, path: &str) -> bool {
        match self.0.as_slice() {
            // A pattern's looser spelling has no final slash but that of the root.
            [] | [Piece::Literal(_)] => false,
            [Piece::Literal(prefix), Piece::Something] => path.len() + 1 > prefix.len() && path.starts_with(&**prefix),
            [Piece::Literal(prefix), Piece::Anything] => {
                path.starts_with(&**prefix) || prefix.strip_suffix('/') == Some(path)
            }
            pieces => {
                let with_slash: SmallVec<[u8; 256]> = path.bytes().chain(*b"/").collect();
                follow(pieces, &with_slash)
            }
        }
    }

    fn is_literal(&self) -> bool {
        matches!(self.0.as_slice(), [] | [Piece::Literal(_)])
    }

    /// The same for what lies below it too, if it is one path.
    fn or_below(mut self) -> Self {
        if self.is_literal() {
            // Below `/v1/` is what begins with it.
            let at_slash = matches!(self.0.last(), Some(Piece::Literal(path)) if path.ends_with('/'));
            self.0.push(if at_slash { Piece::Anything } else { Piece::Below });
        }
        self
    }

    fn literal_prefix(&self) -> &str {
        match self.0.first() {
            Some(Piece::Literal(literal)) => literal,
            _ => "",
        }
    }

    fn literal_len(&self) -> usize {
        self.0.iter().map(|p| if let Piece::Literal(l) = p { l.len() } else { 0 }).sum()
    }
}

/// For each offset, whether the pieces so far can end there. Most paths are shorter, in bytes.
type Reached = SmallVec<[bool; 256]>;

/// Keeps the set of offsets that the pieces so far can have reached.
fn follow(pieces: &[Piece], bytes: &[u8]) -> bool {
    let mut reached: Reached = smallvec::smallvec![false; bytes.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for piece in pieces {
        reached = advance(piece, bytes, &reached);
    }
    reached.last().copied().unwrap_or(false)
}

/// The offsets that one more piece reaches, in one pass over the path.
fn advance(piece: &Piece, bytes: &[u8], reached: &[bool]) -> Reached {
    let mut next: Reached = smallvec::smallvec![false; reached.len()];
    match piece {
        Piece::Literal(literal) => {
            for (start, _) in reached.iter().enumerate().filter(|(_, r)| **r) {
                let here = bytes.get(start..).is_some_and(|rest| rest.starts_with(literal.as_bytes()));
                if let Some(end) = next.get_mut(start + literal.len()).filter(|_| here) {
                    *end = true;
                }
            }
        }
        Piece::Anything | Piece::Something => {
            let least = usize::from(*piece == Piece::Something);
            if let Some(first) = reached.iter().position(|r| *r) {
                next.iter_mut().skip(first + least).for_each(|end| *end = true);
            }
        }
        Piece::Below => {
            let ends = |(at, reached): (usize, &bool)| *reached && matches!(bytes.get(at), None | Some(b'/'));
            if let Some(end) = next.last_mut() {
                *end = reached.iter().enumerate().any(ends);
            }
        }
        Piece::WithinSegment => {
            let mut inside = false;
            let mut before = None;
            for (at, end) in next.iter_mut().enumerate() {
                inside = reached.get(at) == Some(&true) || (inside && before != Some(b'/'));
                *end = inside;
                before = bytes.get(at).copied();
            }
        }
        Piece::Segment => {
            let mut inside = false;
            let mut before = Some(b'/');
            for (at, end) in next.iter_mut().enumerate() {
                match bytes.get(at).copied() {
                    None | Some(b'/') => *end = std::mem::take(&mut inside),
                    Some(_) => inside |= reached.get(at) == Some(&true) && before == Some(b'/'),
                }
                before = bytes.get(at).copied();
            }
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn restricts(pattern: &PathPattern, path: &str) -> bool {
        pattern.restricts(&PathView::of(path))
    }

    #[test]
    fn paths_that_permit_match_exactly() {
        for (pattern, path, expected) in [
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a", "/A", false),
            ("/a/", "/a/", true),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c", true),
            ("/a/*", "/a/", false),
            ("/a/*", "/a", false),
            ("/a/*", "/ab", false),
            ("/a*", "/abc", true),
            ("/a*", "/a/b", false),
            ("/a*", "/a", true),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/b/b/c", false),
            ("/a/*/c", "/a//c", true),
            ("/a/*.json", "/a/x.json", true),
            ("/a/*.json", "/a/x/y.json", false),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/a", false),
            ("/**/z", "/a/b/z", true),
            ("/**", "/", true),
            ("/u/{id}", "/u/1", true),
            ("/u/{id}", "/u/1/2", false),
            ("/u/{id}", "/u/", false),
            ("/u/{id}/p", "/u/1/p", true),
            ("/a%20b", "/a%20b", true),
            ("/%61", "/a", true),
            ("/", "/", true),
            ("/*", "/", false),
            ("/*", "/x", true),
        ] {
            assert_eq!(PathPattern::parse(pattern).unwrap().permits(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn paths_that_restrict_match_what_a_lenient_server_would() {
        let restricted = PathPattern::parse("/v1/Users/*").unwrap();
        for path in
            ["/v1/Users/1", "/V1/users/1", "/v1/users/1/", "/v1;x/users;y/1;z", "/v1/users/1%20", "/v1/users/1%20/%09"]
        {
            assert!(restricts(&restricted, path), "{path}");
        }
        assert!(!restricts(&restricted, "/v1/orders/1"));
        let restricted = PathPattern::parse("/admin").unwrap();
        for path in ["/admin", "/ADMIN/", "/admin;a=b", "/admin%20"] {
            assert!(restricts(&restricted, path), "{path}");
        }
        assert!(!restricts(&restricted, "/admin/x") && !restricts(&restricted, "/adminx"));
        assert!(restricts(&PathPattern::parse("/admin/").unwrap(), "/admin"));
        assert!(restricts(&PathPattern::parse("/").unwrap(), "/"));
        let below = PathPattern::parse("/a/**").unwrap();
        for path in ["/a/", "/A/", "/a", "/A;x", "/a%20/"] {
            assert!(restricts(&below, path), "{path}");
        }
        assert!(!restricts(&below, "/ab") && !restricts(&PathPattern::parse("/a/*").unwrap(), "/a"));
        assert!(
            !restricts(&PathPattern::parse("/*").unwrap(), "/") && restricts(&PathPattern::parse("/**").unwrap(), "/")
        );
        let nested = PathPattern::parse("/api/admin").unwrap();
        for path in ["/;/api/admin", "/api/;x/admin", "/api/%20/admin", "/api%20/admin", "/api/;x;y/admin%3Bz"] {
            assert!(restricts(&nested, path), "{path}");
        }
        let verb = PathPattern::parse("/v1/*:cancel").unwrap();
        for path in ["/v1/7:cancel", "/v1/7%3Acancel", "/v1/7%3acanc%65l", "/v1/7:c%2561ncel"] {
            assert!(restricts(&verb, path), "{path}");
        }
        assert!(restricts(&PathPattern::parse("/a%2Cb").unwrap(), "/a,b"));
        assert!(restricts(&PathPattern::parse("/a%2Ab").unwrap(), "/a*b"));
        assert!(!restricts(&PathPattern::parse("/a%2Ab").unwrap(), "/axb"));
    }

    #[test]
    fn what_stands_in_parameters_is_met_in_any_case() {
        let pattern = PathPattern::parse("/**secret**").unwrap();
        for path in ["/x;secret", "/x;SECRET", "/a/b;v=%53ecret/c", "/;Secret/x;y", "/x;SECRET%20"] {
            assert!(restricts(&pattern, path), "{path}");
        }
        assert!(!restricts(&pattern, "/x;secre/t"));
    }

    #[test]
    fn a_segment_of_parameters_alone_is_dropped_or_kept_in_any_case() {
        let below = PathPattern::parse("/v1/*").unwrap();
        for path in ["/v1/;b", "/V1/;B", "/V1/%20", "/V1/x/;B"] {
            assert!(restricts(&below, path), "{path}");
        }
        let one = PathPattern::parse("/v1/{id}/x").unwrap();
        assert!(restricts(&one, "/V1/;B/X") && !restricts(&one, "/V1/x"));
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        for (pattern, path, matches) in [
            ("/v1/models", "/v1/models", true),
            ("/v1/models", "/v1/models/", true),
            ("/v1/models", "/v1/models/gpt/x", true),
            ("/v1/models", "/v1/models2", false),
            ("/v1/models", "/v1/models;x", false),
            ("/v1/models", "/V1/models", false),
            ("/v1/models", "/v1", false),
            ("/v1/", "/v1/models", true),
            ("/v1/", "/v1/", true),
            ("/v1/", "/v1", false),
            ("/", "/anything", true),
            ("/repos/*", "/repos/a/b", true),
            ("/repos/*", "/repos", false),
            ("/repos/{owner}", "/repos/a", true),
            ("/repos/{owner}", "/repos/a/b", false),
            ("/**/end", "/a/end/x", false),
        ] {
            assert_eq!(PathPattern::prefix(pattern).unwrap().permits(path), matches, "{pattern} {path}");
        }
        assert!(restricts(&PathPattern::prefix("/a").unwrap(), "/A;x/b"));
        assert!(PathPattern::prefix("a").is_err());
    }

    #[test]
    fn impossible_path_patterns_are_errors() {
        for text in
            ["", "a", "/a?b", "/a#b", "/a/../b", "/a//b", "/a%2fb", "/u/{id", "/u/x{id}", "/u/{}", "/u/{*}", "/ü"]
        {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }

    /// Agents choose paths of up to 64 KiB: with a cost in the square of that, one request would hold a worker for minutes.
    #[test]
    fn the_cost_of_a_match_is_linear_in_the_path() {
        let path = "/a".repeat(32 * 1024);
        let pattern = PathPattern::parse(&"/**/a*".repeat(16)).unwrap();
        assert!(pattern.permits(&path));
        assert!(!restricts(&PathPattern::parse(&format!("{}/z", "/**/a*".repeat(16))).unwrap(), &path));
    }

    proptest! {
        /// The matcher against a regular expression of the same meaning.
        #[test]
        fn globs_mean_what_the_regex_means(pattern in "(/(a|b|\\*|\\*\\*|\\{i\\}|a\\*|\\*b)){1,4}", path in "(/(a|b|ab|aab)?){1,5}") {
            let mut regex = String::from("^");
            let mut rest = pattern.as_str();
            while let Some(c) = rest.chars().next() {
                let (piece, len) = match rest {
                    "*" if regex.ends_with('/') => (".+".to_owned(), 1),
                    _ if rest.starts_with("**") => (".*".to_owned(), 2),
                    _ if c == '*' => ("[^/]*".to_owned(), 1),
                    _ if c == '{' => ("[^/]+".to_owned(), 3),
                    _ => (c.to_string(), 1),
                };
                regex.push_str(&piece);
                rest = &rest[len..];
            }
            regex.push('$');
            let expected = regex::Regex::new(&regex).unwrap().is_match(&path);
            prop_assert_eq!(Glob::parse(&pattern).matches(&path), expected, "{} as {} on {}", pattern, regex, path);
        }

        #[test]
        fn what_permits_also_restricts(pattern in "(/(a|B|\\*|\\*\\*|\\{i\\})){1,4}", path in "(/(a|B|aB)?){1,5}") {
            let pattern = PathPattern::parse(&pattern).unwrap();
            prop_assert!(!pattern.permits(&path) || restricts(&pattern, &path));
        }
    }
}
