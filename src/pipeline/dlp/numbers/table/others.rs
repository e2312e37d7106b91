//! What is found in other ways than by a shape, and listed with the rest.

use super::super::super::finding::Confidence;
use super::{Kind, NumberRule};

pub(super) const RULES: &[NumberRule] = &[MRZ, EMAIL, PHONE, SEED_PHRASE];

pub(in super::super) const MRZ: NumberRule =
    other("pii-passport-mrz", Kind::GovId, "Passport or identity card, machine-readable").examples(
        &["P<FRADUPONT<<JEANNE<MARIE<<<<<<<<<<<<<<<<<<<\n12AB345673FRA7408122F3004157<<<<<<<<<<<<<<04"],
        &["P<FRADUPONT<<JEANNE<MARIE<<<<<<<<<<<<<<<<<<<\n12AB345674FRA7408122F3004157<<<<<<<<<<<<<<04"],
    );

pub(in super::super) const EMAIL: NumberRule = other("pii-email", Kind::Contact, "E-mail address").examples(
    &["write to jane.doe+x@mail.acme-corp.co.uk.", "\"a_b@c.io\"", "mailto:j@d.org"],
    &["git@github.com:a/b", "icon@2x.png", "https://u:pw@host.com/", "left-pad@1.3.0", "@scope/a.b", "a@b"],
);

pub(in super::super) const PHONE: NumberRule = other("pii-phone", Kind::Contact, "Telephone number").examples(
    &["+44 20 7123 4567", "(415) 867-5309", "415-867-5309", "tel: 030 901820", "+14158675309", "Mobile 07911123456"],
    &["415.867.5309", "1415-867-53091", "030 901820", "2024-01-02 10:00", "a+4158675309", "192.168.1.100"],
);

pub(in crate::pipeline::dlp) const SEED_PHRASE: NumberRule =
    other("seed-phrase", Kind::Crypto, "Seed phrase of a wallet (BIP-39)").examples(
        &["army van defense carry jealous true garbage claim echo media make crunch"],
        &[
            "army van defense carry jealous true garbage claim echo media make",
            "a word and a word and a word and a word and a word",
        ],
    );

const fn other(id: &'static str, kind: Kind, title: &'static str) -> NumberRule {
    NumberRule {
        id,
        kind,
        title,
        check: None,
        shapes: &[],
        words: &[],
        named: Confidence::High,
        documented: &[],
        matches: &[],
        no_match: &[],
    }
}
