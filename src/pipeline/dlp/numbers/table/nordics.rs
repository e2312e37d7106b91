//! The north and the east of Europe, and Turkey.

use super::super::super::validate::Validator;
use super::{HIGH, MEDIUM, NAMED, NumberRule, state};

pub(super) const RULES: &[NumberRule] = &[
    state(
        "pii-sweden-personnummer",
        "Sweden, personnummer",
        Validator::SwedenPersonnummer,
        &[("999999-9999", HIGH), ("99999999-9999", HIGH), ("999999999999", MEDIUM), ("9999999999", NAMED)],
        &[
            "personnummer",
            "personnr",
            "person nr",
            "pnr",
            "samordningsnummer",
            "swedish id",
            "personal identity number",
        ],
    )
    .examples(&["19811218-9876", "personnummer 8112189876"], &["811218-9877", "8112189876"]),
    state(
        "pii-norway-fodselsnummer",
        "Norway, fødselsnummer",
        Validator::NorwayFodselsnummer,
        &[("999999 99999", HIGH), ("99999999999", HIGH)],
        &["fodselsnummer", "fødselsnummer", "personnummer", "fnr", "d nummer", "norwegian id"],
    )
    .examples(&["151086 95088", "fnr 15108695088"], &["15108695077"]),
    state(
        "pii-denmark-cpr",
        "Denmark, CPR number",
        Validator::DenmarkCpr,
        &[("999999-9999", MEDIUM), ("9999999999", NAMED), ("999999 9999", NAMED)],
        &["cpr", "cpr nummer", "cpr nr", "cpr number", "cpr no", "personnummer", "danish id"],
    )
    .examples(&["CPR 211062-5629", "cpr-nummer: 2110625629"], &["CPR 511062-5629", "2110625629"]),
    state(
        "pii-finland-hetu",
        "Finland, henkilötunnus",
        Validator::FinlandHetu,
        &[("999999-999A", HIGH), ("999999-9999", HIGH), ("999999A999A", HIGH), ("999999A9999", HIGH)],
        &["hetu", "henkilotunnus", "henkilötunnus", "henkilotunnuksesi", "personbeteckning", "sotu"],
    )
    .documented(&["131052308T"])
    .examples(&["290585-123M", "hetu 290585A123M"], &["290585-123N", "290585X9ABF"]),
    state(
        "pii-iceland-kennitala",
        "Iceland, kennitala",
        Validator::IcelandKennitala,
        &[("999999-9999", HIGH), ("9999999999", NAMED)],
        &["kennitala", "kt"],
    )
    .examples(&["120174-3399", "kennitala 1201743399"], &["1201743399"]),
    state(
        "pii-baltic-personal-code",
        "Estonia, isikukood; Lithuania, asmens kodas",
        Validator::BalticPersonalCode,
        &[("99999999999", MEDIUM)],
        &["isikukood", "ik", "asmens kodas", "asmens kodo", "personal code", "estonian id", "lithuanian id"],
    )
    .examples(&["isikukood 36805280109", "Asmens kodas: 33309240064"], &["isikukood 36805280108"]),
    state(
        "pii-latvia-personal-code",
        "Latvia, personas kods",
        Validator::LatviaPersonalCode,
        &[("999999-99999", HIGH), ("99999999999", NAMED)],
        &["personas kods", "personas kodu", "latvian id", "personal code"],
    )
    .examples(&["161175-19997", "personas kods 16117519997"], &["161175-19990"]),
    state(
        "pii-poland-pesel",
        "Poland, PESEL",
        Validator::PolandPesel,
        &[("99999999999", MEDIUM)],
        &["pesel", "nr pesel", "numer pesel", "pesel number"],
    )
    .documented(&["44051401359", "44051401458"])
    .examples(&["PESEL: 02070803628"], &["PESEL 02070803629"]),
    state(
        "pii-poland-nip",
        "Poland, NIP",
        Validator::PolandNip,
        &[("999-999-99-99", HIGH), ("999-99-99-999", HIGH), ("9999999999", NAMED)],
        &["nip", "numer nip", "nip number", "nr nip", "identyfikacji podatkowej"],
    )
    .examples(&["856-734-62-15", "NIP 8567346215"], &["856-734-62-16", "8567346215"]),
    state(
        "pii-czech-birth-number",
        "Czechia and Slovakia, rodné číslo",
        Validator::CzechBirthNumber,
        &[("999999/9999", HIGH), ("999999 9999", MEDIUM), ("9999999999", NAMED)],
        &["rodne cislo", "rodné číslo", "rodneho cisla", "rodného čísla", "rc", "rč", "birth number"],
    )
    .examples(&["710319/2745", "rodné číslo 7103192745"], &["710319/2746", "7103192745"]),
    state(
        "pii-hungary-taj",
        "Hungary, TAJ",
        Validator::HungaryTaj,
        &[("999 999 999", MEDIUM), ("999-999-999", MEDIUM), ("999999999", NAMED)],
        &["taj", "taj szam", "taj szám", "taj number"],
    )
    .examples(&["TAJ: 123 456 788"], &["TAJ 123 456 789", "123456788"]),
    state(
        "pii-hungary-tax-id",
        "Hungary, adóazonosító jel",
        Validator::HungaryTaxId,
        &[("9999999999", NAMED)],
        &["adoazonosito", "adóazonosító", "adoazonosito jel", "adóazonosító jel", "hungarian tax id"],
    )
    .examples(&["adóazonosító jel: 8071592153"], &["8071592153", "adóazonosító 8071592154"]),
    state(
        "pii-romania-cnp",
        "Romania, CNP",
        Validator::RomaniaCnp,
        &[("9999999999999", HIGH), ("9 999999 999999", HIGH)],
        &["cnp", "cod numeric personal", "codul numeric personal"],
    )
    .examples(&["1630615123457", "CNP 1630615123457"], &["1630615123458"]),
    state(
        "pii-bulgaria-egn",
        "Bulgaria, EGN",
        Validator::BulgariaEgn,
        &[("9999999999", MEDIUM)],
        &["egn", "егн", "ЕГН", "едн", "единен граждански номер", "bulgarian id"],
    )
    .examples(&["EGN 7523169263", "ЕГН: 8032056031", "егн 8032056031"], &["EGN 7523169264"]),
    state(
        "pii-croatia-oib",
        "Croatia, OIB",
        Validator::CroatiaOib,
        &[("99999999999", NAMED)],
        &["oib", "osobni identifikacijski broj"],
    )
    .examples(&["OIB: 33392005961"], &["33392005961", "OIB 33392005962"]),
    state(
        "pii-slovenia-emso",
        "Slovenia, EMŠO, and JMBG",
        Validator::SloveniaEmso,
        &[("9999999999999", HIGH)],
        &["emso", "emšo", "jmbg", "maticni broj", "matični broj"],
    )
    .examples(&["0101006500006", "EMŠO 0101006500006"], &["0101006500007"]),
    state(
        "pii-greece-amka",
        "Greece, AMKA",
        Validator::GreeceAmka,
        &[("99999999999", MEDIUM)],
        &["amka", "αμκα", "ΑΜΚΑ"],
    )
    .examples(&["AMKA 01013099997", "ΑΜΚΑ: 01013099997"], &["AMKA 01013099999"]),
    state("pii-greece-afm", "Greece, AFM", Validator::GreeceAfm, &[("999999999", NAMED)], &["afm", "αφμ", "ΑΦΜ"])
        .examples(&["AFM: 094259216"], &["094259216", "AFM 094259217"]),
    state(
        "pii-turkey-tckn",
        "Turkey, T.C. kimlik numarası",
        Validator::TurkeyTckn,
        &[("99999999999", MEDIUM), ("999 999 999 99", MEDIUM)],
        &[
            "tckn",
            "tc kimlik",
            "t c kimlik",
            "kimlik",
            "kimlik no",
            "tc kimlik no",
            "tc no",
            "kimlik numarasi",
            "kimlik numarası",
        ],
    )
    .documented(&["10000000146"])
    .examples(&["TC Kimlik No: 17291716060"], &["TCKN 17291716050"]),
    state(
        "pii-ukraine-rnokpp",
        "Ukraine, RNOKPP",
        Validator::UkraineRnokpp,
        &[("9999999999", NAMED)],
        &["rnokpp", "рнокпп", "РНОКПП", "іпн", "ІПН", "ipn", "drfo"],
    )
    .examples(&["РНОКПП 1759013776"], &["1759013776", "РНОКПП 1759013770"]),
    state(
        "pii-russia-snils",
        "Russia, SNILS",
        Validator::RussiaSnils,
        &[("999-999-999 99", HIGH), ("999-999-999-99", HIGH), ("99999999999", NAMED)],
        &["snils", "снилс", "СНИЛС"],
    )
    .documented(&["11223344595"])
    .examples(&["087-654-303 00", "СНИЛС 08765430300"], &["087-654-303 01", "08765430300"]),
    state(
        "pii-russia-inn",
        "Russia, INN of a person",
        Validator::RussiaInn,
        &[("999999999999", MEDIUM)],
        &["inn", "инн", "ИНН"],
    )
    .examples(&["ИНН 500100732259", "INN: 500100732259"], &["ИНН 500100732260"]),
    state(
        "pii-russia-ogrn",
        "Russia, OGRN of a firm, OGRNIP of a trader",
        Validator::RussiaOgrn,
        &[("9999999999999", NAMED), ("999999999999999", NAMED)],
        &["ogrn", "ogrnip", "огрн", "ОГРН", "огрнип", "ОГРНИП"],
    )
    .examples(&["ОГРН: 1047703821153", "огрнип 304770382115735"], &["1047703821153", "ОГРН 1047703821154"]),
];
