//! What is known of somebody's health: insurance, records, birthdays.

use super::super::super::finding::Confidence;
use super::super::super::validate::Validator;
use super::{Kind, MEDIUM, NAMED, NumberRule, state};

pub(super) const RULES: &[NumberRule] = &[
    state(
        "pii-us-npi",
        "United States, national provider identifier",
        Validator::Npi,
        &[("9999999999", NAMED)],
        &["npi", "npi number", "national provider", "national provider identifier"],
    )
    .of(Kind::Health)
    .documented(&["1234567893"])
    .examples(&["NPI 1245319599"], &["1245319599", "NPI 1245319598"]),
    state(
        "pii-us-dea",
        "United States, DEA registration",
        Validator::Dea,
        &[("AA9999999", MEDIUM), ("A99999999", NAMED)],
        &["dea", "dea number", "dea no", "dea registration"],
    )
    .of(Kind::Health)
    .examples(&["DEA: BB1388568"], &["DEA BB1388567"]),
    state(
        "pii-uk-nhs",
        "United Kingdom, NHS number",
        Validator::UkNhs,
        &[("999 999 9999", MEDIUM), ("999-999-9999", NAMED), ("9999999999", NAMED)],
        &["nhs", "nhs number", "nhs no", "nhs id", "nhs num", "national health service"],
    )
    .of(Kind::Health)
    .examples(&["NHS number 943 476 5919", "nhs_no: 4010232137"], &["NHS 943 476 5918", "4010232137"]),
    state(
        "pii-australia-medicare",
        "Australia, Medicare card",
        Validator::AustraliaMedicare,
        &[("9999 99999 9", MEDIUM), ("9999-99999-9", MEDIUM), ("9999999999", NAMED), ("99999999999", NAMED)],
        &["medicare", "medicare card", "medicare number", "medicare no"],
    )
    .of(Kind::Health)
    .examples(&["Medicare 2123 45670 1"], &["Medicare 2123 45671 1", "2123456701"]),
    state(
        "pii-medical-record",
        "Medical record number",
        Validator::Luhn,
        &[
            ("999999", NAMED),
            ("9999999", NAMED),
            ("99999999", NAMED),
            ("999999999", NAMED),
            ("9999999999", NAMED),
            ("999-99-99", NAMED),
            ("99-99-99", NAMED),
            ("A9999999", NAMED),
            ("A999999", NAMED),
            ("AA999999", NAMED),
            ("AAA-999999", NAMED),
            ("AAA-9999999", NAMED),
            ("AAA-99999999", NAMED),
            ("AAA999999", NAMED),
            ("AAA9999999", NAMED),
        ],
        &[
            "mrn",
            "mrn number",
            "medical record",
            "medical record number",
            "medical record no",
            "medical records number",
            "patient id",
            "patient number",
            "patient no",
            "hospital number",
            "chart number",
            "patientennummer",
            "health record number",
        ],
    )
    .unchecked()
    .of(Kind::Health)
    .examples(&["MRN: 00482913", "patient_id=8823114"], &["00482913", "order 00482913"]),
    state(
        "pii-health-insurance",
        "Health insurance number",
        Validator::Luhn,
        &[
            ("A999999999", NAMED),
            ("AAA999999999", NAMED),
            ("999999999", NAMED),
            ("9999999999", NAMED),
            ("99999999999", NAMED),
            ("999999999A", NAMED),
            ("AA99999A", NAMED),
        ],
        &[
            "health insurance",
            "health insurance number",
            "health insurance id",
            "health insurance claim number",
            "hicn",
            "insurance member id",
            "medicaid",
            "medicaid id",
            "medicaid number",
            "health plan id",
            "health card",
            "health card number",
            "krankenversichertennummer",
            "krankenversicherungsnummer",
            "kvnr",
            "ehic",
            "ohip",
        ],
    )
    .unchecked()
    .of(Kind::Health)
    .examples(&["KVNR A123456780", "Medicaid ID: 123456780"], &["A123456780", "insurance"]),
    state(
        "pii-date-of-birth",
        "Date of birth",
        Validator::Luhn,
        &[
            ("99/99/9999", NAMED),
            ("99-99-9999", NAMED),
            ("99.99.9999", NAMED),
            ("9999-99-99", NAMED),
            ("9999/99/99", NAMED),
            ("9/9/9999", NAMED),
            ("99/9/9999", NAMED),
            ("9/99/9999", NAMED),
            ("9.9.9999", NAMED),
            ("99/99/99", NAMED),
        ],
        &[
            "dob",
            "date of birth",
            "birth date",
            "birthdate",
            "birthday",
            "born",
            "born on",
            "d o b",
            "geburtsdatum",
            "geboren",
            "geboren am",
            "date de naissance",
            "ne le",
            "né le",
            "née le",
            "fecha de nacimiento",
            "data di nascita",
            "nato il",
            "data de nascimento",
            "geboortedatum",
            "fodelsedatum",
            "födelsedatum",
            "fødselsdato",
            "data urodzenia",
            "出生日期",
            "生年月日",
            "дата рождения",
        ],
    )
    .unchecked()
    .of(Kind::Health)
    // A birthday alone says little: it goes on record.
    .named(Confidence::Medium)
    .examples(&["DOB: 03/14/1985", "\"dateOfBirth\": \"1985-03-14\""], &["03/14/1985", "created 1985-03-14"]),
];
