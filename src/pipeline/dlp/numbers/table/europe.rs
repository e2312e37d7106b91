//! Europe, but for the north and the east.

use super::super::super::validate::Validator;
use super::{DRIVING, HIGH, MEDIUM, NAMED, NumberRule, state};

pub(super) const RULES: &[NumberRule] = &[
    state(
        "pii-uk-nino",
        "United Kingdom, national insurance number",
        Validator::UkNino,
        &[("AA999999A", HIGH), ("AA 99 99 99 A", HIGH), ("AA-99-99-99-A", HIGH), ("AA 999999 A", HIGH)],
        &["nino", "national insurance", "national insurance number", "ni number", "ni no", "nat ins", "ni"],
    )
    .examples(&["AB 12 34 56 C", "JG103759A", "nino jg103759a"], &["QQ123456C", "AB123456E", "jg103759a"]),
    state(
        "pii-uk-driving-licence",
        "United Kingdom, driving licence",
        Validator::UkDrivingLicence,
        // A short name and a missing initial are filled up with 9.
        &[
            ("AAAAA999999AA9AA", HIGH),
            ("AAAAA 999999 AA9AA", HIGH),
            ("AAAAA999999A99AA", HIGH),
            ("AAAAA 999999 A99AA", HIGH),
            ("AAAAA999999999AA", HIGH),
            ("AAAAA 999999 999AA", HIGH),
            ("AAAA9999999AA9AA", HIGH),
            ("AAAA9 999999 AA9AA", HIGH),
            ("AAAA9999999A99AA", HIGH),
            ("AAAA9 999999 A99AA", HIGH),
            ("AAAA9999999999AA", HIGH),
            ("AAAA9 999999 999AA", HIGH),
            ("AAA99999999AA9AA", HIGH),
            ("AAA99 999999 AA9AA", HIGH),
            ("AAA99999999A99AA", HIGH),
            ("AAA99 999999 A99AA", HIGH),
            ("AAA99999999999AA", HIGH),
            ("AAA99 999999 999AA", HIGH),
            ("AA999999999AA9AA", HIGH),
            ("AA999 999999 AA9AA", HIGH),
            ("AA999999999A99AA", HIGH),
            ("AA999 999999 A99AA", HIGH),
            ("AA999999999999AA", HIGH),
            ("AA999 999999 999AA", HIGH),
            ("A9999999999AA9AA", HIGH),
            ("A9999 999999 AA9AA", HIGH),
            ("A9999999999A99AA", HIGH),
            ("A9999 999999 A99AA", HIGH),
            ("A9999999999999AA", HIGH),
            ("A9999 999999 999AA", HIGH),
        ],
        DRIVING,
    )
    .documented(&["MORGA657054SM9IJ", "MORGA753116SM9IJ"])
    .examples(
        &["BAKER801125J99AB", "FOX99 503157 KL9CD", "driving licence baker801125j99ab"],
        &["BAKER831125J99AB", "BAKER801325J99AB", "baker801125j99ab"],
    ),
    state(
        "pii-ireland-pps",
        "Ireland, PPS number",
        Validator::IrelandPps,
        &[("9999999A", MEDIUM), ("9999999AA", MEDIUM), ("9999999 A", NAMED)],
        &["pps", "ppsn", "pps number", "pps no", "personal public service", "personal public service number"],
    )
    .examples(&["PPS: 6433435F", "PPSN 6433435OA"], &["PPS 6433435E"]),
    state(
        "pii-germany-tax-id",
        "Germany, Steuer-Identifikationsnummer",
        Validator::GermanyTaxId,
        &[("99 999 999 999", HIGH), ("99/999/999/999", HIGH), ("99999999999", MEDIUM)],
        &[
            "steuer id",
            "steuerid",
            "steuer identifikationsnummer",
            "steueridentifikationsnummer",
            "steueridnr",
            "idnr",
            "steuer identnummer",
            "steuernummer",
            "steuerliche identifikationsnummer",
            "identifikationsnummer",
            "tin",
            "steuer idnr",
            "steuer identifikations nummer",
            "id nr",
            "german tax id",
        ],
    )
    .examples(&["36 574 261 809", "Steuer-ID: 47036892816"], &["36 574 261 890", "Steuer-ID 47036892817"]),
    state(
        "pii-germany-register",
        "Germany, number in the commercial register",
        Validator::GermanyRegister,
        // Three digits are a hardness after Rockwell, too.
        &[
            ("AAA_999999", HIGH),
            ("AAA_99999", HIGH),
            ("AAA_9999", HIGH),
            ("AAA_999", NAMED),
            ("AAA999999", HIGH),
            ("AAA99999", HIGH),
            ("AAA9999", HIGH),
        ],
        &[
            "handelsregister",
            "handelsregisternummer",
            "handelsregister nr",
            "registernummer",
            "registergericht",
            "amtsgericht",
            "commercial register",
            "commercial register number",
            "trade register",
        ],
    )
    .examples(
        &["HRB 48213", "Amtsgericht Ulm, HRA 731", "HRB731204"],
        &["HRC 48213", "HRB 100", "hrb 48213", "HRB 012"],
    ),
    state(
        "pii-germany-identity-card",
        "Germany, Personalausweis",
        Validator::GermanyIdentityCard,
        &[("A????????9", NAMED)],
        &[
            "personalausweis",
            "personalausweisnummer",
            "ausweisnummer",
            "ausweis",
            "ausweis nr",
            "perso",
            "reisepass",
            "german id",
            "german passport",
            "passnummer",
        ],
    )
    .examples(&["Personalausweis T220001293", "Ausweisnummer: L01X00T471"], &["T220001293", "Ausweis T220001292"]),
    state(
        "pii-germany-pension",
        "Germany, Rentenversicherungsnummer",
        Validator::GermanyPension,
        &[("99999999A999", HIGH), ("99 999999 A 999", HIGH), ("99 999999 A999", HIGH)],
        &[
            "rentenversicherung",
            "rentenversicherungsnummer",
            "sozialversicherungsnummer",
            "versicherungsnummer",
            "rvnr",
            "sv nummer",
            "svnr",
        ],
    )
    .examples(&["15070649C103", "SV-Nummer 15 070649 C 103"], &["15070649C102"]),
    state(
        "pii-france-nir",
        "France, NIR",
        Validator::FranceNir,
        &[
            ("9 99 99 99 999 999 99", HIGH),
            ("9 99 99 9A 999 999 99", HIGH),
            ("999999999999999", HIGH),
            ("999999A99999999", HIGH),
            ("9999999999999 99", HIGH),
            ("9-99-99-99-999-999-99", HIGH),
            ("9.99.99.99.999.999.99", HIGH),
        ],
        &[
            "nir",
            "insee",
            "securite sociale",
            "sécurité sociale",
            "numero de securite sociale",
            "numéro de sécurité sociale",
            "carte vitale",
            "numero secu",
            "secu",
            "sécu",
        ],
    )
    .examples(&["2 55 08 14 168 025 38", "295109912611193", "1 85 05 2A 006 084 35"], &["255081416802539"]),
    state(
        "pii-spain-dni",
        "Spain, DNI",
        Validator::SpainDni,
        &[
            ("99999999A", HIGH),
            ("99999999-A", HIGH),
            ("99.999.999-A", HIGH),
            ("99.999.999A", HIGH),
            ("99999999 A", NAMED),
        ],
        &["dni", "nif", "documento nacional de identidad", "dni nif", "dni nie"],
    )
    .documented(&["12345678Z", "00000000T", "99999999R"])
    .examples(&["54362315K", "DNI 54362315-K", "dni: 54362315k"], &["54362315L", "54362315k"]),
    state(
        "pii-spain-nie",
        "Spain, NIE",
        Validator::SpainNie,
        &[("A9999999A", HIGH), ("A-9999999-A", HIGH), ("A-9999999A", HIGH), ("A9999999-A", HIGH)],
        &["nie", "numero de identidad de extranjero", "dni nie", "extranjero"],
    )
    .documented(&["X1234567L", "Y1234567X", "Z1234567R"])
    .examples(&["X-2482300W", "NIE X5253868R"], &["X2482300A"]),
    state(
        "pii-italy-codice-fiscale",
        "Italy, codice fiscale",
        Validator::ItalyCodiceFiscale,
        &[("AAAAAA99A99A999A", HIGH), ("AAA AAA 99A99 A999A", HIGH), ("AAAAAA99A99A99AA", NAMED)],
        &["codice fiscale", "cod fiscale", "cf", "c f", "fiscal code"],
    )
    .documented(&["RSSMRA85T10A562S", "RSSMRA80A01H501U"])
    .examples(&["RCCMNL83S18D969H", "cf: rccmnl83s18d969h"], &["RCCMNL83S18D969I", "rccmnl83s18d969h"]),
    state(
        "pii-netherlands-bsn",
        "Netherlands, BSN",
        Validator::NetherlandsBsn,
        &[("9999.99.999", MEDIUM), ("9999 99 999", MEDIUM), ("999999999", NAMED), ("999 999 999", NAMED)],
        &[
            "bsn",
            "bsn nummer",
            "bsn nr",
            "burgerservicenummer",
            "burger service nummer",
            "sofinummer",
            "sofi",
            "citizen service number",
        ],
    )
    .documented(&["111222333", "123456782", "999999990"])
    .examples(&["BSN: 242681384", "burgerservicenummer 2426.81.384"], &["BSN 242681385", "242681384"]),
    state(
        "pii-belgium-national",
        "Belgium, national number",
        Validator::BelgiumNational,
        &[
            ("99.99.99-999.99", HIGH),
            ("99.99.99-999-99", HIGH),
            ("999999-999-99", HIGH),
            ("999999 999 99", HIGH),
            ("99999999999", MEDIUM),
        ],
        &[
            "rijksregister",
            "rijksregisternummer",
            "registre national",
            "numero national",
            "numéro national",
            "numero de registre national",
            "national register",
            "insz",
            "niss",
            "rrn",
            "nationaal nummer",
        ],
    )
    .examples(&["85.07.30-033.28", "rijksregisternummer 17073003384"], &["85.07.30-033.61"]),
    state(
        "pii-luxembourg-nin",
        "Luxembourg, identification number",
        Validator::LuxembourgNin,
        &[("9999999999999", HIGH), ("99999999 99999", HIGH), ("9999 9999 99999", HIGH)],
        &["matricule", "numero d identification", "luxembourg id"],
    )
    .examples(&["1893120105732"], &["1893120105733"]),
    state(
        "pii-switzerland-ahv",
        "Switzerland, AHV number",
        Validator::SwitzerlandAhv,
        &[("999.9999.9999.99", HIGH), ("999 9999 9999 99", HIGH), ("999-9999-9999-99", HIGH), ("9999999999999", HIGH)],
        &["ahv", "avs", "ahv nummer", "ahv nr", "numero avs", "numéro avs", "navs", "sozialversicherungsnummer"],
    )
    .documented(&["7569217076985", "7561234567897"])
    .examples(&["756.3047.5009.62", "AHV 7563047500962"], &["756.3047.5009.63", "757.3047.5009.62"]),
    state(
        "pii-austria-svnr",
        "Austria, Sozialversicherungsnummer",
        Validator::AustriaSvnr,
        &[("9999 999999", HIGH), ("9999-999999", HIGH), ("9999/999999", MEDIUM), ("9999999999", NAMED)],
        &["svnr", "sv nr", "sv nummer", "sozialversicherungsnummer", "versicherungsnummer", "ecard", "e card"],
    )
    .examples(&["1237 010180", "SVNR 1237010180"], &["1238 010180", "1237010180"]),
    state(
        "pii-portugal-nif",
        "Portugal, NIF",
        Validator::PortugalNif,
        &[("999 999 999", MEDIUM), ("999999999", NAMED)],
        &[
            "nif",
            "contribuinte",
            "numero de contribuinte",
            "número de contribuinte",
            "identificacao fiscal",
            "identificação fiscal",
        ],
    )
    .examples(&["NIF 501 442 600", "contribuinte: 501442600"], &["NIF 501 442 601", "501442600"]),
];
