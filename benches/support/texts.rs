//! Texts to look at, made up: the same in every run.

use std::sync::Arc;

use attache::pipeline::dlp::built_in;
use attache::pipeline::dlp::finding::Action;
use attache::pipeline::dlp::known::Known;
use attache::pipeline::dlp::profile::Profile;
use attache::pipeline::dlp::scan::Lens;

/// What they are looked at with: what holds for an agent of which no policy says anything else.
pub fn lens() -> Lens {
    Lens {
        detector: built_in().unwrap().clone(),
        actions: Profile::default_profile().requests,
        exemptions: Vec::new(),
        examples_pass: false,
        enforced: true,
        known: Arc::new(Known::default()),
        on_known: Action::Block,
        on_canary: Action::Block,
        key: Arc::new([0; 32]),
    }
}

/// What agents send and are sent, of about this many bytes each.
pub fn usual(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    vec![
        ("chat JSON", chat(&mut random, size).into_bytes()),
        ("API JSON", api(&mut random, size).into_bytes()),
        ("base64", base64(&mut random, size).into_bytes()),
        ("binary", (0..size).map(|_| random.next() as u8).collect()),
    ]
}

/// What somebody would send to keep the scanner busy.
pub fn crafted(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut many = |unit: &mut dyn FnMut(&mut Random) -> String| {
        let mut text = String::with_capacity(size + 100);
        while text.len() < size {
            text.push_str(&unit(&mut random));
        }
        text.truncate(size);
        text.into_bytes()
    };
    let fixed = |text: &'static str| move |_: &mut Random| text.to_owned();
    let mut nested = b"nothing to see here, move along please. ".repeat(size / 40 / 3);
    for _ in 0..4 {
        nested = encoded(&nested).into_bytes();
        nested.truncate(size);
    }
    vec![
        ("one keyword", many(&mut fixed("ghp_"))),
        ("names", many(&mut fixed("secret token key password api_key "))),
        ("assignments", many(&mut |random| format!("github_token={} ", random.word(ALNUM, 20)))),
        ("services", many(&mut |random| format!("{} ", random.of(&SERVICES)))),
        ("card keywords", many(&mut fixed("card 4012 "))),
        ("digits", many(&mut |random| format!("{} ", random.word("0123456789", 16)))),
        ("digit pairs", many(&mut fixed("12-34-56-78-90-"))),
        ("tokens", many(&mut |random| format!("ghp_{} ", random.word(ALNUM, 36)))),
        ("base64 of base64", nested),
        ("base64 words", many(&mut |random| format!("{} ", random.word(ALNUM, 24)))),
        ("gzip heads", many(&mut fixed("\u{1f}\u{8}\u{0}"))),
        ("zlib heads", many(&mut fixed("x\u{1}x^x"))),
        ("percent runs", many(&mut fixed("%25"))),
        ("escapes", many(&mut fixed("\\u0061"))),
        ("backslashes", many(&mut fixed("\\"))),
        ("entities", many(&mut fixed("&amp;"))),
        ("hex pairs", many(&mut fixed("61:62:63 "))),
        ("dumps in a line", many(&mut |random| format!("\"{}: 6162 6364\", ", random.word("0123456789abcdef", 8)))),
        ("groups", many(&mut |random| format!("{} ", random.word(ALNUM, 5)))),
        ("groups with hyphens", many(&mut |random| format!("{}-", random.word(ALNUM, 5)))),
        ("bits", many(&mut |random| format!("{} ", random.word("01", 128)))),
        ("character codes", many(&mut |random| format!("{},", 32 + random.below(95)))),
        ("one letter", many(&mut fixed("a"))),
        ("zero widths", many(&mut fixed("a\u{200b}"))),
        ("tags", many(&mut fixed("a\u{e0041}"))),
        ("look-alikes", many(&mut fixed("gh\u{440}_\u{430}b"))),
        ("at signs", many(&mut fixed("a@b.c "))),
        ("key heads", many(&mut fixed("-----BEGIN RSA PRIVATE KEY-----\n"))),
        ("web tokens", many(&mut fixed("eyJhbGciOiJIUzI1NiJ9."))),
        ("seed words", many(&mut fixed("abandon ability able about "))),
    ]
}

const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const WORDS: &str = "the of and to in that is was for it with as his on be at by this had not are but from or have an \
    they which one you were all her she there would their we him been has when who will no more if out so up said what \
    its about than into them can only other time new some could these two may first then do any like my now over such \
    our man me even most made after also did many off before must well back through years where much your way down \
    should because long each just state people those too mr how little good world make very year still see own work men \
    day get here old life both between being under three never know same last another while us might great go come \
    since against right came take used himself few house use place during high without again home around small however \
    found part school once general thought went say every don't does got united left number course war until always \
    public something fact hand water less enough almost think took night system better head far form point going set \
    looked government order eyes program nothing next function return value string request response error file line \
    update branch commit merge server client message session address pattern path parse test table column query index";
const NAMES: [&str; 8] = ["Maria", "O'Neill", "Jensen", "Nakamura", "Priya", "Kowalski", "Okafor", "Lindqvist"];
const CODE: [&str; 6] = [
    "fn main() {\\n    let total: usize = items.iter().map(|item| item.len()).sum();\\n    println!(\\\"{total}\\\");\\n}\\n",
    "```python\\nimport os\\n\\ndef load(path: str) -> dict:\\n    with open(path) as f:\\n        return json.load(f)\\n```\\n",
    "SELECT id, name FROM users WHERE created_at > '2024-03-01' ORDER BY name LIMIT 50;\\n",
    "$ git log --oneline -5\\n4f1c2aa Fix the parser\\n9b0e7d1 Add a test for empty input\\n",
    "{\\\"name\\\": \\\"build\\\", \\\"on\\\": [\\\"push\\\"], \\\"timeout\\\": 30}\\n",
    "curl -s https://api.github.com/repos/acme/tools/issues?state=open | jq '.[].title'\\n",
];
const SERVICES: [&str; 8] =
    ["twitter", "twilio", "mailgun", "discord", "okta", "linkedin", "ngrok", "heroku=0123456789"];

fn chat(random: &mut Random, size: usize) -> String {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut text = String::from("{\"model\":\"large\",\"temperature\":0.7,\"messages\":[");
    while text.len() < size {
        let role = random.of(&["user", "assistant"]);
        text.push_str(&format!("{{\"role\":\"{role}\",\"content\":\""));
        for _ in 0..2 + random.below(6) {
            match random.below(8) {
                0 => text.push_str(random.of(&CODE)),
                1 => text.push_str(&format!("It took {} ms, {} in all.\\n", random.below(5000), random.below(90_000))),
                2 => text.push_str(&format!("\\\"{}\\\" asked {}: ", random.of(&NAMES), random.of(&NAMES))),
                _ => {
                    for _ in 0..20 + random.below(60) {
                        text.push_str(random.often(&words));
                        text.push_str(random.of(&[" ", " ", " ", " ", " ", " ", ", ", ". "]));
                    }
                    text.push_str("\\n\\n");
                }
            }
        }
        text.push_str("\"},");
    }
    text.push_str("{}]}");
    text
}

fn api(random: &mut Random, size: usize) -> String {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut text = String::from("[");
    while text.len() < size {
        let (id, number, login) = (random.below(1 << 31), random.below(9000), random.word(ALNUM, 9));
        let (sha, title) = (random.word("0123456789abcdef", 40), random.of(&words));
        text.push_str(&format!(
            "{{\"url\":\"https://api.github.com/repos/acme/tools/issues/{number}\",\"id\":{id},\"node_id\":\
             \"I_kwDO{}\",\"number\":{number},\"title\":\"{title} {}\",\"user\":{{\"login\":\"{login}\",\"id\":{},\
             \"avatar_url\":\"https://avatars.githubusercontent.com/u/{}?v=4\",\"gravatar_id\":\"\",\"type\":\"User\",\
             \"site_admin\":false}},\"labels\":[],\"state\":\"open\",\"locked\":false,\"assignee\":null,\"comments\":{},\
             \"created_at\":\"2025-0{}-1{}T0{}:12:45Z\",\"sha\":\"{sha}\",\"author_association\":\"NONE\"}},",
            random.word(ALNUM, 12),
            random.of(&words),
            random.below(1 << 27),
            random.below(1 << 27),
            random.below(40),
            1 + random.below(9),
            random.below(10),
            random.below(10),
        ));
    }
    text.push_str("{}]");
    text
}

fn base64(random: &mut Random, size: usize) -> String {
    encoded(&(0..size / 4 * 3).map(|_| random.next() as u8).collect::<Vec<_>>())
}

fn encoded(bytes: &[u8]) -> String {
    use ::base64::Engine;
    ::base64::prelude::BASE64_STANDARD.encode(bytes)
}

/// Xorshift (Marsaglia 2003): the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }

    /// The first more often than the last, as words are (Zipf 1935): drawn evenly, the words of a seed phrase would follow
    /// each other, which they do in no text.
    fn often<'a>(&mut self, all: &[&'a str]) -> &'a str {
        let count = all.len() as u64;
        all[(self.below(count) * self.below(count) / count) as usize]
    }

    fn word(&mut self, alphabet: &str, length: usize) -> String {
        (0..length).map(|_| char::from(alphabet.as_bytes()[self.below(alphabet.len() as u64) as usize])).collect()
    }
}
