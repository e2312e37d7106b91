//! nftables: one table, put in place as one transaction.

use std::fmt::Write as _;

use super::rules::{Chain, ChainName, Counter, Match, Rule, Ruleset, Verdict};
use super::tool::{ToolError, run};

/// Asks the kernel whether it would take the ruleset, and changes nothing.
pub fn check(ruleset: &Ruleset) -> Result<(), ToolError> {
    run("nft", &["--check", "--file", "-"], &render(ruleset)).map(drop)
}

/// Replaces the table, at once or not at all.
pub fn apply(ruleset: &Ruleset) -> Result<(), ToolError> {
    run("nft", &["--file", "-"], &render(ruleset)).map(drop)
}

/// Takes the table away, if it is there.
pub fn remove() -> Result<(), ToolError> {
    run("nft", &["--file", "-"], REMOVE).map(drop)
}

/// `Err` says why nft cannot be asked.
pub fn usable() -> Result<(), ToolError> {
    run("nft", &["list", "tables"], "").map(drop)
}

// A table that is not there cannot be deleted, and one that is there can be added.
const REMOVE: &str = "add table inet attache\ndelete table inet attache\n";

/// The transaction that replaces the table.
pub fn render(ruleset: &Ruleset) -> String {
    let mut text = format!("{REMOVE}table inet attache {{\n");
    for counter in Counter::ALL {
        let _ = writeln!(text, "\tcounter {} {{\n\t}}", counter.name());
    }
    // A chain is declared before another leads to it.
    for chain in ruleset.chains.iter().filter(|chain| hook(chain.name).is_none()).rev() {
        render_chain(&mut text, chain);
    }
    for chain in ruleset.chains.iter().filter(|chain| hook(chain.name).is_some()) {
        render_chain(&mut text, chain);
    }
    text.push_str("}\n");
    text
}

fn render_chain(text: &mut String, chain: &Chain) {
    let _ = writeln!(text, "\n\tchain {} {{", name(chain.name));
    if let Some(hook) = hook(chain.name) {
        let _ = writeln!(text, "\t\t{hook}");
    }
    for rule in &chain.rules {
        for matches in spellings(rule) {
            let counter = rule.counter.map_or(String::new(), |counter| format!("counter name {} ", counter.name()));
            let verdict = verdict(rule.verdict);
            let _ = writeln!(text, "\t\t{matches}{counter}{verdict} comment \"{}\"", rule.comment);
        }
    }
    text.push_str("\t}\n");
}

fn name(chain: ChainName) -> &'static str {
    match chain {
        ChainName::Redirect => "redirect_out",
        ChainName::Output => "output",
        ChainName::Envoy => "envoy",
        ChainName::Refuse => "refuse",
        ChainName::Input => "input",
        ChainName::Forward => "forward",
        ChainName::Leaving => "leaving",
    }
}

fn hook(chain: ChainName) -> Option<&'static str> {
    match chain {
        ChainName::Redirect => Some("type nat hook output priority -100; policy accept;"),
        ChainName::Output => Some("type filter hook output priority 0; policy drop;"),
        ChainName::Input => Some("type filter hook input priority 0; policy drop;"),
        ChainName::Forward => Some("type filter hook forward priority 0; policy drop;"),
        ChainName::Leaving => Some("type filter hook postrouting priority 0; policy accept;"),
        ChainName::Envoy | ChainName::Refuse => None,
    }
}

/// The matches as text; an address needs a rule for each family.
fn spellings(rule: &Rule) -> Vec<String> {
    let families: &[&str] = match rule.matches.contains(&Match::ToLoopback) {
        true => &["ip daddr 127.0.0.0/8 ", "ip6 daddr ::1 "],
        false => &[""],
    };
    let spelling = |family: &&str| {
        let matches =
            rule.matches.iter().map(|m| if *m == Match::ToLoopback { (*family).to_owned() } else { spell(m) });
        matches.collect()
    };
    families.iter().map(spelling).collect()
}

fn spell(matched: &Match) -> String {
    match matched {
        Match::Owner(users) => format!("meta skuid {} ", set(users)),
        // Matches whoever it is, as long as there is someone.
        Match::AnyOwner => "meta skuid >= 0 ".to_owned(),
        Match::Tcp(ports) if ports.is_empty() => "meta l4proto tcp ".to_owned(),
        Match::Udp(ports) if ports.is_empty() => "meta l4proto udp ".to_owned(),
        Match::Tcp(ports) => format!("tcp dport {} ", set(ports)),
        Match::Udp(ports) => format!("udp dport {} ", set(ports)),
        Match::Syn => "tcp flags & (fin | syn | rst | ack) == syn ".to_owned(),
        Match::Icmp => "meta l4proto { icmp, ipv6-icmp } ".to_owned(),
        Match::Neighbours(types) => format!("icmpv6 type {} ", set(types)),
        Match::OutLoopback => "oifname \"lo\" ".to_owned(),
        Match::OutElsewhere => "oifname != \"lo\" ".to_owned(),
        Match::InLoopback => "iifname \"lo\" ".to_owned(),
        Match::ToLoopback => String::new(),
        Match::Redirected => "ct status dnat ".to_owned(),
        Match::New => "ct state new ".to_owned(),
        Match::Reply => "ct direction reply ".to_owned(),
        Match::Marked(mark) => format!("ct mark {:#x} ", mark.value()),
    }
}

fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Reject => "reject with icmpx admin-prohibited".to_owned(),
        Verdict::Reset => "reject with tcp reset".to_owned(),
        Verdict::Return => "return".to_owned(),
        Verdict::Redirect(port) => format!("redirect to :{port}"),
        Verdict::Mark(mark) => format!("ct mark set {:#x}", mark.value()),
        Verdict::Goto(chain) => format!("goto {}", name(chain)),
    }
}

fn set(members: &[impl ToString]) -> String {
    let members: Vec<String> = members.iter().map(ToString::to_string).collect();
    match members.as_slice() {
        [one] => one.clone(),
        several => format!("{{ {} }}", several.join(", ")),
    }
}
