//! iptables and ip6tables, for where nft is missing: the same rules in chains of our own.
//!
//! A table is replaced as one transaction, but there is none over tables and families. So the closed part (filter) is
//! in place before the redirect (nat), and goes after it: whatever ends the process in between leaves less open.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;

use rustix::fs::{Access, access};

use super::rules::{Chain, ChainName, Match, Rule, Ruleset, Verdict};
use super::tool::{ToolError, run, run_with};

/// Which families have rules, beside IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    /// IPv6 has.
    pub six: bool,
}

/// Closed first, redirected last.
const TABLES: [&str; 3] = ["filter", "mangle", "nat"];

/// Asks whether a family's tool would take the rules, and changes none.
pub fn check(ruleset: &Ruleset, six: bool) -> Result<(), ToolError> {
    for table in TABLES {
        let found = save(table, six)?;
        let text = render(ruleset, table, six, &found, &users());
        restore(&text, six, &["--test"])?;
    }
    Ok(())
}

/// Replaces our chains, table by table.
pub fn apply(ruleset: &Ruleset, families: Families) -> Result<(), ToolError> {
    for table in TABLES {
        for six in families.both() {
            let found = save(table, six)?;
            restore(&render(ruleset, table, six, &found, &users()), six, &[])?;
        }
    }
    Ok(())
}

/// Takes our chains away, the closed part last.
pub fn remove(families: Families) -> Result<(), ToolError> {
    for table in TABLES.into_iter().rev() {
        for six in families.both() {
            let text = removal(table, &save(table, six)?);
            if !text.is_empty() {
                restore(&text, six, &[])?;
            }
        }
    }
    Ok(())
}

/// `Err` says why a family's tool cannot be asked.
pub fn usable(six: bool) -> Result<(), ToolError> {
    save("filter", six).map(drop)
}

impl Families {
    fn both(self) -> impl Iterator<Item = bool> {
        [false, true].into_iter().filter(move |six| !six || self.six)
    }
}

fn restore(text: &str, six: bool, flags: &[&str]) -> Result<(), ToolError> {
    let program = if six { "ip6tables-restore" } else { "iptables-restore" };
    // Another tool may hold the lock for a moment.
    let arguments = [&["--noflush", "--wait", "10"], flags].concat();
    // The legacy kind keeps its lock in /run, which a container with a read-only root cannot write.
    let elsewhere = [("XTABLES_LOCKFILE", "/dev/shm/xtables.lock")];
    let is_ours = env::var_os("XTABLES_LOCKFILE").is_none() && access("/run", Access::WRITE_OK).is_err();
    run_with(program, &arguments, text, if is_ours { &elsewhere } else { &[] }).map(drop)
}

fn save(table: &str, six: bool) -> Result<String, ToolError> {
    run(if six { "ip6tables-save" } else { "iptables-save" }, &["-t", table], "")
}

/// What replaces our chains in a table in which `found` stands, and has them asked before all others.
fn render(ruleset: &Ruleset, table: &str, six: bool, found: &str, users: &[String]) -> String {
    let mut text = format!("*{table}\n");
    let chains: Vec<&Chain> = ruleset.chains.iter().filter(|chain| place(chain.name).0 == table).collect();
    for chain in &chains {
        let _ = writeln!(text, ":{} - [0:0]", name(chain.name));
    }
    for chain in &chains {
        for rule in chain.rules.iter().flat_map(|rule| spellings(rule, six, users)) {
            let _ = writeln!(text, "-A {} {rule}", name(chain.name));
        }
        if is_closed(chain.name) {
            let _ = writeln!(text, "-A {} -j DROP", name(chain.name));
        }
    }
    text.push_str(&deletions(found));
    for chain in &chains {
        if let Some(hook) = place(chain.name).1 {
            let _ = writeln!(text, "-I {hook} 1 -j {}", name(chain.name));
        }
    }
    text.push_str("COMMIT\n");
    text
}

/// What takes our chains out of a table in which `found` stands; nothing if it has none.
fn removal(table: &str, found: &str) -> String {
    let ours: Vec<&str> = found
        .lines()
        .filter_map(|line| line.strip_prefix(':')?.split(' ').next())
        .filter(|chain| chain.starts_with(PREFIX))
        .collect();
    if ours.is_empty() {
        return String::new();
    }
    let mut text = format!("*{table}\n{}", deletions(found));
    for (flag, chain) in [("-F", &ours), ("-X", &ours)].into_iter().flat_map(|(f, all)| all.iter().map(move |c| (f, c)))
    {
        let _ = writeln!(text, "{flag} {chain}");
    }
    text.push_str("COMMIT\n");
    text
}

/// Deletes every jump from a built-in chain to ours: one that was inserted before another rule may stand after it now.
fn deletions(found: &str) -> String {
    let jump = format!(" -j {PREFIX}");
    let jumps = found.lines().filter_map(|line| line.strip_prefix("-A "));
    let jumps = jumps.filter(|line| !line.starts_with(PREFIX) && line.contains(&jump));
    jumps.fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "-D {line}");
        text
    })
}

const PREFIX: &str = "ATTACHE_";

fn name(chain: ChainName) -> &'static str {
    match chain {
        ChainName::Redirect => "ATTACHE_REDIRECT",
        ChainName::Output => "ATTACHE_OUTPUT",
        ChainName::Envoy => "ATTACHE_ENVOY",
        ChainName::Refuse => "ATTACHE_REFUSE",
        ChainName::Input => "ATTACHE_INPUT",
        ChainName::Forward => "ATTACHE_FORWARD",
        ChainName::Leaving => "ATTACHE_LEAVING",
    }
}

/// The table a chain is in, and the built-in chain that leads to it.
fn place(chain: ChainName) -> (&'static str, Option<&'static str>) {
    match chain {
        ChainName::Redirect => ("nat", Some("OUTPUT")),
        ChainName::Leaving => ("mangle", Some("POSTROUTING")),
        ChainName::Output => ("filter", Some("OUTPUT")),
        ChainName::Input => ("filter", Some("INPUT")),
        ChainName::Forward => ("filter", Some("FORWARD")),
        ChainName::Envoy | ChainName::Refuse => ("filter", None),
    }
}

fn is_closed(chain: ChainName) -> bool {
    !matches!(chain, ChainName::Redirect | ChainName::Leaving)
}

/// One rule as lines: these tools know no sets.
fn spellings(rule: &Rule, six: bool, users: &[String]) -> Vec<String> {
    let mut lines = vec![String::new()];
    for matched in &rule.matches {
        let choices = spell(matched, six, users);
        lines = lines.iter().flat_map(|line| choices.iter().map(move |choice| format!("{line}{choice} "))).collect();
    }
    let comment = rule.counter.map_or_else(|| rule.comment.clone(), |c| format!("{}: {}", c.name(), rule.comment));
    let verdict = verdict(rule.verdict, six);
    lines.into_iter().map(|line| format!("{line}-m comment --comment \"{comment}\" {verdict}")).collect()
}

/// The ways to say one match, any of which may hold; none if the family has no such thing.
fn spell(matched: &Match, six: bool, users: &[String]) -> Vec<String> {
    let each = |prefix: &str, of: &[u16]| match of {
        [] => vec![prefix.to_owned()],
        ports => ports.iter().map(|port| format!("{prefix} --dport {port}")).collect(),
    };
    let one = |text: &str| vec![text.to_owned()];
    match matched {
        Match::Owner(owners) => owners.iter().map(|uid| format!("-m owner --uid-owner {uid}")).collect(),
        // `--socket-exists` would match what the kernel sends by a socket of its own, too.
        Match::AnyOwner => users.iter().map(|range| format!("-m owner --uid-owner {range}")).collect(),
        Match::Tcp(ports) => each("-p tcp -m tcp", ports),
        Match::Udp(ports) => each("-p udp -m udp", ports),
        Match::Syn => one("--syn"),
        Match::Icmp => one(if six { "-p ipv6-icmp" } else { "-p icmp" }),
        Match::Neighbours(_) if !six => Vec::new(),
        Match::Neighbours(types) => {
            types.iter().map(|kind| format!("-p ipv6-icmp -m icmp6 --icmpv6-type {kind}")).collect()
        }
        Match::OutLoopback => one("-o lo"),
        Match::OutElsewhere => one("! -o lo"),
        Match::InLoopback => one("-i lo"),
        Match::ToLoopback => one(if six { "-d ::1/128" } else { "-d 127.0.0.0/8" }),
        Match::Redirected => one("-m conntrack --ctstate DNAT"),
        Match::New => one("-m conntrack --ctstate NEW"),
        Match::Reply => one("-m conntrack --ctdir REPLY"),
        Match::Marked(mark) => vec![format!("-m connmark --mark {:#x}", mark.value())],
    }
}

fn verdict(verdict: Verdict, six: bool) -> String {
    match verdict {
        Verdict::Accept => "-j ACCEPT".to_owned(),
        Verdict::Drop => "-j DROP".to_owned(),
        Verdict::Reject if six => "-j REJECT --reject-with icmp6-adm-prohibited".to_owned(),
        Verdict::Reject => "-j REJECT --reject-with icmp-admin-prohibited".to_owned(),
        Verdict::Reset => "-j REJECT --reject-with tcp-reset".to_owned(),
        Verdict::Return => "-j RETURN".to_owned(),
        Verdict::Redirect(port) => format!("-j REDIRECT --to-ports {port}"),
        Verdict::Mark(mark) => format!("-j CONNMARK --set-mark {:#x}", mark.value()),
        Verdict::Goto(chain) => format!("-g {}", name(chain)),
    }
}

/// All users there are here, as ranges: the kernel refuses a rule that names one it does not know.
fn users() -> Vec<String> {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let ranges = ranges(&map);
    // Without the map, all: too many is an error that is said, too few would be a hole.
    if ranges.is_empty() { vec!["0-4294967294".to_owned()] } else { ranges }
}

/// user_namespaces(7): first user inside, first outside, how many.
fn ranges(map: &str) -> Vec<String> {
    let mut ranges = BTreeMap::new();
    for line in map.lines() {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        if let [first, _, count] = numbers.as_slice() {
            ranges.insert(*first, format!("{first}-{}", (first + count - 1).min(u64::from(u32::MAX) - 1)));
        }
    }
    ranges.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::layout::InboundPort;
    use crate::net::layout::tests::layout;

    #[test]
    fn every_user_is_named_as_the_namespace_knows_it() {
        assert_eq!(ranges("         0          0 4294967295\n"), ["0-4294967294"]);
        assert_eq!(ranges("0 100000 65536\n70000 1000 1\n"), ["0-65535", "70000-70000"]);
    }

    #[test]
    fn jumps_are_first_and_once_wherever_they_stood() {
        let found = "*filter\n:OUTPUT ACCEPT [0:0]\n:ATTACHE_OUTPUT - [0:0]\n-A OUTPUT -j ACCEPT\n\
                     -A OUTPUT -j ATTACHE_OUTPUT\n-A OUTPUT -j ATTACHE_OUTPUT\n-A ATTACHE_OUTPUT -j DROP\nCOMMIT\n";
        let text = render(&Ruleset::new(&layout(&[])), "filter", false, found, &["0-9".to_owned()]);
        assert_eq!(text.matches("-D OUTPUT -j ATTACHE_OUTPUT\n").count(), 2);
        assert_eq!(text.matches("-I OUTPUT 1 -j ATTACHE_OUTPUT\n").count(), 1);
        assert!(!text.contains("-D ATTACHE"), "{text}");
        let removed = "*filter\n-D OUTPUT -j ATTACHE_OUTPUT\n-D OUTPUT -j ATTACHE_OUTPUT\n-F ATTACHE_OUTPUT\n\
                       -X ATTACHE_OUTPUT\nCOMMIT\n";
        assert_eq!(removal("filter", found), removed);
        assert_eq!(removal("filter", "*filter\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"), "");
    }

    #[test]
    fn sets_are_lines_and_neighbours_are_of_ipv6() {
        let ruleset = Ruleset::new(&layout(&[InboundPort::Tcp(8080), InboundPort::Udp(9000)]));
        let four = render(&ruleset, "filter", false, "", &["0-9".to_owned()]);
        let six = render(&ruleset, "filter", true, "", &["0-9".to_owned()]);
        assert!(!four.contains("icmp6") && six.matches("--icmpv6-type").count() == 6);
        let inbound = "-A ATTACHE_INPUT -p tcp -m tcp --dport 8080 --syn -m conntrack --ctstate NEW";
        assert!(four.contains(inbound), "{four}");
        let nat = render(&ruleset, "nat", false, "", &[]);
        assert_eq!(nat.matches("-j REDIRECT --to-ports 10443").count(), 2);
        assert_eq!(nat.matches("-m owner --uid-owner").count(), 2);
    }
}
