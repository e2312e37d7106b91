//! Patterns of hosts, and hosts and methods as agents write them. First line: a pattern; second: a host; third: a method.
#![no_main]

use attache::pipeline::message::{Authority, Host};
use attache::pipeline::policy::matcher::{HostPattern, HostTable, Methods, NamePattern};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let [pattern, authority, method] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let authority = Authority::parse(authority.as_bytes());
    if let Ok(authority) = &authority {
        let again = Authority::parse(authority.to_string().as_bytes());
        assert_eq!(again.as_ref(), Ok(authority), "an authority has one normal form");
    }
    if let Ok(pattern) = HostPattern::parse(pattern) {
        assert_eq!(HostPattern::parse(&pattern.to_string()).as_ref(), Ok(&pattern), "a pattern has one normal form");
        if let Ok(authority) = &authority {
            let mut table = HostTable::default();
            table.insert(&pattern.name, ());
            let found = table.matches(&authority.host).next().is_some();
            assert_eq!(found, fits(&pattern.name, &authority.host), "{pattern} and {authority}");
        }
    }
    if let Ok(methods) = Methods::parse([method]) {
        assert!(!methods.permits(method) || methods.restricts(method));
        assert!(methods.restricts(&method.to_ascii_uppercase()) == methods.restricts(&method.to_ascii_lowercase()));
    }
});

/// The same as text.
fn fits(pattern: &NamePattern, host: &Host) -> bool {
    match (pattern, host) {
        (NamePattern::Exact(one), other) => one == other,
        (_, Host::Address(_)) => false,
        (NamePattern::Below(parent), Host::Name(name)) => {
            name.strip_suffix(&**parent).is_some_and(|rest| rest.ends_with('.'))
        }
        (NamePattern::Any, Host::Name(_)) => true,
    }
}
