//! The Americas, Australia and New Zealand.

use super::super::super::validate::Validator;
use super::{DRIVING, HIGH, MEDIUM, NAMED, NumberRule, state};

pub(super) const RULES: &[NumberRule] = &[
    state(
        "pii-us-ssn",
        "United States, social security number",
        Validator::Ssn,
        &[("999-99-9999", HIGH), ("999 99 9999", MEDIUM), ("999.99.9999", NAMED), ("999999999", NAMED)],
        &[
            "ssn",
            "ssns",
            "ss number",
            "ss no",
            "social security",
            "social security number",
            "social security no",
            "social sec",
            "soc sec",
            "socsec",
            "my social",
            "social is",
            "ssn no",
            "ssn number",
            "us ssn",
            "social security card",
        ],
    )
    .documented(&["078051120", "219099999", "111223333", "123456789", "457555462", "987654321"])
    .examples(
        &["536-90-4399", "{\"ssn\":\"536904399\"}", "SSN 536 90 4399", "my social is 536.90.4399"],
        &["666-90-4399", "536904399", "part no 536-90-4399", "1536-90-4399", "900-12-3456"],
    ),
    state(
        "pii-us-itin",
        "United States, individual taxpayer identification number",
        Validator::Itin,
        &[("999-99-9999", HIGH), ("999 99 9999", MEDIUM), ("999999999", NAMED)],
        &["itin", "individual taxpayer", "individual taxpayer identification number"],
    )
    .examples(&["912-70-1234", "itin=912701234"], &["912-69-1234", "912701234"]),
    state(
        "pii-us-ein",
        "United States, employer identification number",
        Validator::Ein,
        &[("99-9999999", NAMED), ("999999999", NAMED)],
        &["ein", "fein", "employer identification", "employer identification number", "employer id", "federal tax id"],
    )
    .examples(&["EIN: 12-3456780"], &["12-3456780", "EIN 07-3456789"]),
    state(
        "pii-passport",
        "Passport number",
        Validator::Passport,
        &[
            ("999999999", NAMED),
            ("99999999", NAMED),
            ("A99999999", NAMED),
            ("A9999999", NAMED),
            ("A999999", NAMED),
            ("A 9999999", NAMED),
            ("AA9999999", NAMED),
            ("AA999999", NAMED),
            ("99AA99999", NAMED),
        ],
        &[
            "passport",
            "passport number",
            "passport no",
            "passport num",
            "passport id",
            "pasaporte",
            "passeport",
            "reisepass",
            "reisepassnummer",
            "passaporto",
            "passaporte",
            "paspoort",
            "passnummer",
            "pass nr",
            "पासपोर्ट",
            "паспорт",
            "护照",
            "パスポート",
            "여권",
        ],
    )
    .examples(&["Passport No: 340007237", "passport A12345678"], &["340007237", "passport 000000000"]),
    state(
        "pii-driver-license",
        "Driver's licence",
        Validator::Luhn,
        // As the states of the United States and others print them.
        &[
            ("A9999999", NAMED),
            ("A99999999", NAMED),
            ("A999999999", NAMED),
            ("AA999999", NAMED),
            ("AA9999999", NAMED),
            ("AA999999A", NAMED),
            ("A99-99-9999", NAMED),
            ("A99-999-999", NAMED),
            ("A999999999999", NAMED),
            ("A9999999999999", NAMED),
            ("A999-9999-9999", NAMED),
            ("A999-9999-9999-99", NAMED),
            ("A999-999-99-999-9", NAMED),
            ("A-999-999-999-999", NAMED),
            ("A9999 99999 99999", NAMED),
            ("A9999-99999-99999", NAMED),
            ("A99999999999999", NAMED),
            ("AAA999999", NAMED),
            ("AAA-99-9999", NAMED),
            ("AAA?????9???", NAMED),
            ("99AAA99999", NAMED),
            ("999AA9999", NAMED),
            ("9999999A", NAMED),
            ("9999999", NAMED),
            ("99999999", NAMED),
            ("999999999", NAMED),
            ("9999999999", NAMED),
            ("999999999999", NAMED),
            ("999 999 999", NAMED),
            ("999-99-9999", NAMED),
            ("99-999-9999", NAMED),
            ("9999-99-9999", NAMED),
        ],
        DRIVING,
    )
    .unchecked()
    .examples(&["driver's license: D1234562", "DL# F255-9215-0094"], &["D1234562", "license 1234562"]),
    state(
        "pii-canada-sin",
        "Canada, social insurance number",
        Validator::CanadaSin,
        &[("999-999-999", MEDIUM), ("999 999 999", MEDIUM), ("999999999", NAMED)],
        &["sin", "sin number", "sin no", "social insurance", "social insurance number", "nas", "assurance sociale"],
    )
    .examples(&["SIN: 130 692 544", "sin=130692544"], &["SIN 130 692 545", "130692544"]),
    state(
        "pii-brazil-cpf",
        "Brazil, CPF",
        Validator::BrazilCpf,
        &[("999.999.999-99", HIGH), ("999999999-99", HIGH), ("999 999 999 99", MEDIUM), ("99999999999", MEDIUM)],
        &["cpf", "cpf mf", "cadastro de pessoas fisicas", "cadastro de pessoas físicas"],
    )
    .examples(&["390.533.447-05", "CPF 39053344705"], &["390.533.447-06", "39053344706"]),
    state(
        "pii-brazil-cnpj",
        "Brazil, CNPJ",
        Validator::BrazilCnpj,
        &[("99.999.999/9999-99", HIGH), ("??.???.???/????-99", NAMED), ("99999999999999", MEDIUM)],
        &["cnpj", "cadastro nacional da pessoa juridica", "cadastro nacional da pessoa jurídica"],
    )
    .examples(&["16.727.230/0001-97", "CNPJ 12.ABC.345/01DE-35"], &["16.727.230/0001-98"]),
    state(
        "pii-argentina-cuil",
        "Argentina, CUIL or CUIT",
        Validator::ArgentinaCuil,
        &[("99-99999999-9", HIGH), ("99 99999999 9", HIGH), ("99999999999", NAMED)],
        &["cuil", "cuit", "cuil cuit", "cuit cuil", "clave unica"],
    )
    .examples(&["20-05536168-2", "CUIT 20055361682"], &["20-05536168-3", "20055361682"]),
    state(
        "pii-chile-rut",
        "Chile, RUT",
        Validator::ChileRut,
        &[
            ("99.999.999-9", HIGH),
            ("99.999.999-A", HIGH),
            ("9.999.999-9", HIGH),
            ("9.999.999-A", HIGH),
            ("99999999-9", MEDIUM),
            ("99999999-A", MEDIUM),
            ("9999999-9", NAMED),
            ("9999999-A", NAMED),
            ("999999999", NAMED),
            ("99999999A", NAMED),
        ],
        &["rut", "run", "rol unico", "rol único", "rol unico tributario", "rol unico nacional"],
    )
    .examples(&["12.531.909-2", "RUT 76086428-5"], &["12.531.909-3", "run 76086428-6"]),
    state(
        "pii-mexico-curp",
        "Mexico, CURP",
        Validator::MexicoCurp,
        &[("AAAA999999AAAAAA99", HIGH), ("AAAA999999AAAAAAA9", HIGH)],
        &["curp", "clave unica de registro", "clave única de registro de población"],
    )
    .examples(&["CURP: BOXW310820HNERXN09", "boxw310820hnerxn09 (CURP)"], &["BOXW310820HNERXN08"]),
    state(
        "pii-mexico-rfc",
        "Mexico, RFC of a person",
        Validator::MexicoRfc,
        &[("AAAA999999???", HIGH), ("AAAA-999999-???", HIGH), ("AAAA 999999 ???", HIGH)],
        &["rfc", "registro federal de contribuyentes"],
    )
    .examples(&["RFC GODE561231GR8"], &["GODE561231GR9"]),
    state(
        "pii-colombia-nit",
        "Colombia, NIT",
        Validator::ColombiaNit,
        &[("999.999.999-9", MEDIUM), ("999999999-9", MEDIUM), ("9999999999", NAMED)],
        &["nit", "cedula", "cédula", "cedula de ciudadania", "numero de identificacion tributaria"],
    )
    .examples(&["NIT 213.123.432-1"], &["NIT 213.123.432-2", "2131234321"]),
    state(
        "pii-ecuador-cedula",
        "Ecuador, cédula",
        Validator::EcuadorCedula,
        &[("999999999-9", NAMED), ("9999999999", NAMED)],
        &["cedula", "cédula", "cedula de identidad", "cédula de identidad", "ci"],
    )
    .examples(&["cédula 1714307103"], &["1714307103", "cédula 1714307104"]),
    state(
        "pii-dominican-cedula",
        "Dominican Republic, cédula",
        Validator::DominicanCedula,
        &[("999-9999999-9", HIGH), ("99999999999", NAMED)],
        &["cedula", "cédula", "cedula de identidad", "cédula de identidad"],
    )
    .examples(&["001-1391820-5", "cedula 00113918205"], &["001-1391820-4", "00113918205"]),
    state(
        "pii-uruguay-ci",
        "Uruguay, cédula de identidad",
        Validator::UruguayCi,
        &[("9.999.999-9", HIGH), ("9999999-9", NAMED), ("99999999", NAMED)],
        &["cedula", "cédula", "cedula de identidad", "cédula de identidad", "ci"],
    )
    .examples(&["1.234.567-2", "CI 12345672"], &["CI 12345673", "12345672"]),
    state(
        "pii-australia-tfn",
        "Australia, tax file number",
        Validator::AustraliaTfn,
        &[("999 999 999", MEDIUM), ("999-999-999", MEDIUM), ("999999999", NAMED), ("99999999", NAMED)],
        &["tfn", "tax file number", "tax file no"],
    )
    .examples(&["TFN: 123 456 782", "tfn=876543210"], &["TFN 123 456 783", "876543210"]),
    state(
        "pii-australia-abn",
        "Australia, business number",
        Validator::AustraliaAbn,
        &[("99 999 999 999", HIGH), ("99999999999", MEDIUM)],
        &["abn", "australian business number"],
    )
    .examples(&["ABN 83 914 571 673", "51 824 753 556"], &["83 914 571 674"]),
    state(
        "pii-new-zealand-ird",
        "New Zealand, IRD number",
        Validator::NewZealandIrd,
        &[("99-999-999", MEDIUM), ("999-999-999", MEDIUM), ("99999999", NAMED), ("999999999", NAMED)],
        &["ird", "ird number", "ird no", "inland revenue"],
    )
    .examples(&["IRD: 49-091-850", "ird number 136410132"], &["IRD 136410133", "136410132"]),
];
