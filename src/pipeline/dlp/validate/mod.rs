//! What can be checked of a value without asking anybody: checksums, structure, ranges.

mod banks;
mod cards;
mod compact;
mod crypto;
mod ids;
mod random;
mod tokens;

pub(super) use random::are_drawn;

use serde::Deserialize;

use ids::{americas, asia, europe, nordics, oceania, united_states};

pub(super) use banks::iban_length;
pub(super) use compact::Compact;

/// A check that a rule names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Validator {
    /// Luhn's checksum over the digits (ISO/IEC 7812-1 annex B).
    Luhn,
    /// The last six characters are the CRC-32 of the others, in base 62 (GitHub and npm, "Behind GitHub's new authentication token formats").
    GithubCrc32,
    /// Letters and digits that make no words, and no digest.
    Random,
    /// No words: where something else already speaks for a key.
    Unworded,
    /// An access key id of AWS: base32, with an account that can be.
    AwsKeyId,
    /// The header of a token is JSON and names an algorithm (RFC 7515).
    JwtHeader,
    /// The body of a private key, and not of a public one or a certificate (RFC 7468).
    PemKey,
    /// An identity of age: Bech32 (C2SP age).
    Age,
    /// Bitcoin's Base58Check.
    Base58Check,
    /// A private key in the wallet import format: Base58Check, version, length.
    Wif,
    /// An extended private key (BIP-32, SLIP-132).
    ExtendedKey,
    /// A private key of secp256k1 in hex: within the order of the curve (SEC 2).
    EthereumKey,
    /// A key pair of Solana, in base58 or as a list: the second half is the public key of the first (RFC 8032).
    SolanaKey,
    /// Words in English whose checksum holds (BIP-39).
    Bip39,
    /// A payment card: Luhn, and the ranges and lengths that its scheme issues (ISO/IEC 7812).
    Card,
    /// ISO 13616: country, length, shape, MOD 97-10.
    Iban,
    /// The routing number of a US bank: its range and weights 3, 7, 1 (American Bankers Association).
    AbaRouting,
    /// United States, social security number: the ranges that are never given (Social Security Administration).
    Ssn,
    /// United States, individual taxpayer number (Internal Revenue Service).
    Itin,
    /// United States, employer number: the prefixes that are given (Internal Revenue Service).
    Ein,
    /// United States, national provider identifier: Luhn with 80840 before (45 CFR 162.406).
    Npi,
    /// United States, DEA registration: its letters and its check digit (Drug Enforcement Administration).
    Dea,
    /// United States, Medicare beneficiary identifier: its shape (Centers for Medicare & Medicaid Services).
    Mbi,
    /// A passport's number by its shape: up to two letters, then digits. There is no checksum.
    Passport,
    /// Canada, social insurance number: Luhn (Employment and Social Development Canada).
    CanadaSin,
    /// Brazil, CPF: two check digits (Receita Federal).
    BrazilCpf,
    /// Brazil, CNPJ, with letters too: two check digits (Receita Federal).
    BrazilCnpj,
    /// Argentina, CUIL and CUIT of persons: MOD 11 (ANSES).
    ArgentinaCuil,
    /// Chile, RUT: MOD 11 with K (Servicio de Impuestos Internos).
    ChileRut,
    /// Mexico, CURP: birthday, state, check digit (RENAPO).
    MexicoCurp,
    /// Mexico, RFC of a person: birthday, check digit (SAT).
    MexicoRfc,
    /// Colombia, NIT: MOD 11 (DIAN).
    ColombiaNit,
    /// Ecuador, cédula: province, Luhn (Registro Civil).
    EcuadorCedula,
    /// Dominican Republic, cédula: Luhn (Junta Central Electoral).
    DominicanCedula,
    /// Uruguay, cédula de identidad: weighted check digit (DNIC).
    UruguayCi,
    /// United Kingdom, national insurance number: its letters (HMRC).
    UkNino,
    /// United Kingdom, driving licence: the birthday in it, and where its letters are (DVLA).
    UkDrivingLicence,
    /// United Kingdom, NHS number: MOD 11 (NHS Data Dictionary).
    UkNhs,
    /// Ireland, PPS number: MOD 23 (Department of Social Protection).
    IrelandPps,
    /// Germany, Steuer-Identifikationsnummer: MOD 11,10 (§ 139b AO).
    GermanyTaxId,
    /// Germany, number in the commercial register: its part (Handelsregisterverordnung).
    GermanyRegister,
    /// Germany, Personalausweis and passport: weights 7, 3, 1 (ICAO 9303).
    GermanyIdentityCard,
    /// Germany, Rentenversicherungsnummer (§ 147 SGB VI).
    GermanyPension,
    /// France, NIR: 97 less the remainder (INSEE).
    FranceNir,
    /// Spain, DNI: the letter of the remainder by 23 (Ministerio del Interior).
    SpainDni,
    /// Spain, NIE: as DNI (Ministerio del Interior).
    SpainNie,
    /// Italy, codice fiscale: shape and check letter (D.M. 23/12/1976).
    ItalyCodiceFiscale,
    /// Netherlands, BSN: the eleven test (Rijksdienst voor Identiteitsgegevens).
    NetherlandsBsn,
    /// Belgium, national number: 97 less the remainder (Rijksregister).
    BelgiumNational,
    /// Luxembourg, identification number: birthday, Luhn and Verhoeff (CTIE).
    LuxembourgNin,
    /// Switzerland, AHV number: 756, EAN-13 (Zentrale Ausgleichsstelle).
    SwitzerlandAhv,
    /// Austria, Sozialversicherungsnummer: MOD 11, birthday (Dachverband der Sozialversicherungsträger).
    AustriaSvnr,
    /// Portugal, NIF: MOD 11 (Autoridade Tributária).
    PortugalNif,
    /// Sweden, personnummer: birthday, Luhn (Skatteverket).
    SwedenPersonnummer,
    /// Norway, fødselsnummer: birthday, two check digits (Skatteetaten).
    NorwayFodselsnummer,
    /// Denmark, CPR number: birthday; there is no checksum since 2007 (CPR-kontoret).
    DenmarkCpr,
    /// Finland, henkilötunnus: birthday, remainder by 31 (DVV).
    FinlandHetu,
    /// Iceland, kennitala: birthday, MOD 11 (Þjóðskrá).
    IcelandKennitala,
    /// Estonia, isikukood, and Lithuania, asmens kodas: birthday, MOD 11 (EVS 585).
    BalticPersonalCode,
    /// Latvia, personas kods: birthday, MOD 11 (PMLP).
    LatviaPersonalCode,
    /// Poland, PESEL: birthday, check digit (Ministerstwo Cyfryzacji).
    PolandPesel,
    /// Poland, NIP: MOD 11 (Ministerstwo Finansów).
    PolandNip,
    /// Czechia and Slovakia, rodné číslo: birthday, MOD 11 (133/2000 Sb.).
    CzechBirthNumber,
    /// Hungary, TAJ: weights 3 and 7 (NEAK).
    HungaryTaj,
    /// Hungary, adóazonosító jel: MOD 11 (NAV).
    HungaryTaxId,
    /// Romania, CNP: birthday, county, MOD 11 (DEPABD).
    RomaniaCnp,
    /// Bulgaria, EGN: birthday, MOD 11 (GRAO).
    BulgariaEgn,
    /// Croatia, OIB: MOD 11,10 (Porezna uprava).
    CroatiaOib,
    /// Slovenia, EMŠO, and its neighbours' JMBG: birthday, MOD 11.
    SloveniaEmso,
    /// Greece, AMKA: birthday, Luhn (IDIKA).
    GreeceAmka,
    /// Greece, AFM: powers of two, MOD 11 (AADE).
    GreeceAfm,
    /// Turkey, T.C. kimlik numarası: two check digits (NVI).
    TurkeyTckn,
    /// Ukraine, RNOKPP: MOD 11 (State Tax Service).
    UkraineRnokpp,
    /// Russia, SNILS: MOD 101 (Social Fund).
    RussiaSnils,
    /// Russia, INN of a person: two check digits (Federal Tax Service).
    RussiaInn,
    /// Russia, OGRN of a firm and OGRNIP of a trader: the remainder by 11 or by 13 (Federal Tax Service).
    RussiaOgrn,
    /// Australia, tax file number: MOD 11 (ATO).
    AustraliaTfn,
    /// Australia, business number: MOD 89 (ABR).
    AustraliaAbn,
    /// Australia, Medicare card: check digit (Services Australia).
    AustraliaMedicare,
    /// New Zealand, IRD number: MOD 11 (Inland Revenue).
    NewZealandIrd,
    /// China, resident identity number: province, birthday, MOD 11-2 (GB 11643).
    ChinaResident,
    /// Hong Kong, identity card: MOD 11 (Immigration Department).
    HongKongHkid,
    /// Taiwan, identity card: place, sex, MOD 10 (Ministry of the Interior).
    TaiwanId,
    /// South Korea, resident registration number: birthday, MOD 11 until 2020 (Ministry of the Interior and Safety).
    KoreaRrn,
    /// South Korea, foreigner registration number: birthday, MOD 11 (Ministry of Justice).
    KoreaFrn,
    /// South Korea, foreigner registration number given since October 2020: birthday, century (Ministry of Justice).
    KoreaFrnUnchecked,
    /// South Korea, driver's licence: the place that gave it (Korea Road Traffic Authority).
    KoreaDriverLicense,
    /// Japan, individual number: MOD 11 (Digital Agency).
    JapanMyNumber,
    /// India, Aadhaar: Verhoeff (UIDAI).
    Aadhaar,
    /// India, permanent account number: its letters (Income Tax Department).
    IndiaPan,
    /// India, voter's identity card (EPIC): three letters, seven digits (Election Commission of India).
    IndiaVoter,
    /// Singapore, NRIC and FIN: MOD 11 (ICA).
    SingaporeNric,
    /// Malaysia, identity card: birthday, place (JPN).
    MalaysiaNric,
    /// Thailand, identification number: MOD 11 (DOPA).
    ThailandId,
    /// Indonesia, NIK: province, birthday (Dukcapil).
    IndonesiaNik,
    /// Israel, identity number: Luhn (Population and Immigration Authority).
    IsraelId,
    /// United Arab Emirates, Emirates ID: 784, Luhn (ICP).
    EmiratesId,
    /// Saudi Arabia, national id and iqama: Luhn (Ministry of Interior).
    SaudiId,
    /// Pakistan, CNIC: province, sex (NADRA).
    PakistanCnic,
    /// South Africa, identity number: birthday, Luhn (Department of Home Affairs).
    SouthAfricaId,
    /// Egypt, national id: birthday, governorate (Civil Status Organization).
    EgyptId,
}

impl Validator {
    /// Whether the value holds. Numbers may be written with spaces, hyphens, dots and slashes between.
    pub fn holds(self, value: &[u8]) -> bool {
        match self {
            Self::Luhn => luhn(value),
            Self::GithubCrc32 => tokens::github_crc32(value),
            Self::Random => random::random(value),
            Self::Unworded => random::unworded(value),
            Self::AwsKeyId => tokens::aws_key_id(value),
            Self::JwtHeader => tokens::jwt_header(value),
            Self::PemKey => tokens::pem_key(value),
            Self::Age => crypto::age(value),
            Self::Base58Check => crypto::base58_check(value),
            Self::Wif => crypto::wif(value),
            Self::ExtendedKey => crypto::extended_key(value),
            Self::EthereumKey => crypto::ethereum_key(value),
            Self::SolanaKey => crypto::solana_key(value),
            Self::Bip39 => crypto::bip39(value),
            number => Compact::of(value).is_some_and(|value| number.holds_of(&value)),
        }
    }

    /// Whether a number holds that was already freed of its separators; of other values nothing does.
    pub(super) fn holds_of(self, number: &Compact) -> bool {
        self.of_numbers().is_some_and(|check| check(number))
    }

    /// The check of a number; none of what is not one.
    fn of_numbers(self) -> Option<fn(&Compact) -> bool> {
        Some(match self {
            Self::Card => cards::card,
            Self::Iban => banks::iban,
            Self::AbaRouting => banks::aba_routing,
            Self::Ssn => united_states::ssn,
            Self::Itin => united_states::itin,
            Self::Ein => united_states::ein,
            Self::Npi => united_states::npi,
            Self::Dea => united_states::dea,
            Self::Mbi => united_states::mbi,
            Self::Passport => united_states::passport,
            Self::CanadaSin => americas::canada_sin,
            Self::BrazilCpf => americas::brazil_cpf,
            Self::BrazilCnpj => americas::brazil_cnpj,
            Self::ArgentinaCuil => americas::argentina_cuil,
            Self::ChileRut => americas::chile_rut,
            Self::MexicoCurp => americas::mexico_curp,
            Self::MexicoRfc => americas::mexico_rfc,
            Self::ColombiaNit => americas::colombia_nit,
            Self::EcuadorCedula => americas::ecuador_cedula,
            Self::DominicanCedula => americas::dominican_cedula,
            Self::UruguayCi => americas::uruguay_ci,
            Self::UkNino => europe::uk_nino,
            Self::UkDrivingLicence => europe::uk_driving_licence,
            Self::UkNhs => europe::uk_nhs,
            Self::IrelandPps => europe::ireland_pps,
            Self::GermanyTaxId => europe::germany_tax_id,
            Self::GermanyRegister => europe::germany_register,
            Self::GermanyIdentityCard => europe::germany_identity_card,
            Self::GermanyPension => europe::germany_pension,
            Self::FranceNir => europe::france_nir,
            Self::SpainDni => europe::spain_dni,
            Self::SpainNie => europe::spain_nie,
            Self::ItalyCodiceFiscale => europe::italy_codice_fiscale,
            Self::NetherlandsBsn => europe::netherlands_bsn,
            Self::BelgiumNational => europe::belgium_national,
            Self::LuxembourgNin => europe::luxembourg_nin,
            Self::SwitzerlandAhv => europe::switzerland_ahv,
            Self::AustriaSvnr => europe::austria_svnr,
            Self::PortugalNif => europe::portugal_nif,
            Self::SwedenPersonnummer => nordics::sweden_personnummer,
            Self::NorwayFodselsnummer => nordics::norway_fodselsnummer,
            Self::DenmarkCpr => nordics::denmark_cpr,
            Self::FinlandHetu => nordics::finland_hetu,
            Self::IcelandKennitala => nordics::iceland_kennitala,
            Self::BalticPersonalCode => nordics::baltic_personal_code,
            Self::LatviaPersonalCode => nordics::latvia_personal_code,
            Self::PolandPesel => nordics::poland_pesel,
            Self::PolandNip => nordics::poland_nip,
            Self::CzechBirthNumber => nordics::czech_birth_number,
            Self::HungaryTaj => nordics::hungary_taj,
            Self::HungaryTaxId => nordics::hungary_tax_id,
            Self::RomaniaCnp => nordics::romania_cnp,
            Self::BulgariaEgn => nordics::bulgaria_egn,
            Self::CroatiaOib => nordics::croatia_oib,
            Self::SloveniaEmso => nordics::slovenia_emso,
            Self::GreeceAmka => nordics::greece_amka,
            Self::GreeceAfm => nordics::greece_afm,
            Self::TurkeyTckn => nordics::turkey_tckn,
            Self::UkraineRnokpp => nordics::ukraine_rnokpp,
            Self::RussiaSnils => nordics::russia_snils,
            Self::RussiaInn => nordics::russia_inn,
            Self::RussiaOgrn => nordics::russia_ogrn,
            Self::AustraliaTfn => oceania::australia_tfn,
            Self::AustraliaAbn => oceania::australia_abn,
            Self::AustraliaMedicare => oceania::australia_medicare,
            Self::NewZealandIrd => oceania::new_zealand_ird,
            Self::ChinaResident => asia::china_resident,
            Self::HongKongHkid => asia::hong_kong_hkid,
            Self::TaiwanId => asia::taiwan_id,
            Self::KoreaRrn => asia::korea_rrn,
            Self::KoreaFrn => asia::korea_frn,
            Self::KoreaFrnUnchecked => asia::korea_frn_unchecked,
            Self::KoreaDriverLicense => asia::korea_driver_license,
            Self::JapanMyNumber => asia::japan_my_number,
            Self::Aadhaar => asia::india_aadhaar,
            Self::IndiaPan => asia::india_pan,
            Self::IndiaVoter => asia::india_voter,
            Self::SingaporeNric => asia::singapore_nric,
            Self::MalaysiaNric => asia::malaysia_nric,
            Self::ThailandId => asia::thailand_id,
            Self::IndonesiaNik => asia::indonesia_nik,
            Self::IsraelId => asia::israel_id,
            Self::EmiratesId => asia::emirates_id,
            Self::SaudiId => asia::saudi_id,
            Self::PakistanCnic => asia::pakistan_cnic,
            Self::SouthAfricaId => asia::south_africa_id,
            Self::EgyptId => asia::egypt_id,
            Self::Luhn
            | Self::GithubCrc32
            | Self::Random
            | Self::Unworded
            | Self::AwsKeyId
            | Self::JwtHeader
            | Self::PemKey
            | Self::Age
            | Self::Base58Check
            | Self::Wif
            | Self::ExtendedKey
            | Self::EthereumKey
            | Self::SolanaKey
            | Self::Bip39 => return None,
        })
    }
}

fn luhn(value: &[u8]) -> bool {
    let digits: smallvec::SmallVec<[u32; 32]> =
        value.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0')).collect();
    compact::luhn(&digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_a_check_and_the_check_is_done() {
        let check = |name: &str, value: &str| {
            let check: Validator = serde_yaml::from_str(name).unwrap();
            check.holds(value.as_bytes())
        };
        assert!(check("card", "4242-4242-4242-4242") && !check("card", "4242-4242-4242-4241"));
        assert!(check("luhn", "7992 7398 713") && check("uruguayCi", "1.234.567-2"));
        assert!(check("bip39", &format!("{}about", "abandon ".repeat(11))));
        assert!(!check("ssn", "") && !check("iban", "\u{e9}"));
    }
}
