//! Asia and Africa.

use super::super::super::validate::Validator;
use super::{DRIVING, HIGH, MEDIUM, NAMED, NumberRule, state};

pub(super) const RULES: &[NumberRule] = &[
    state(
        "pii-china-resident",
        "China, resident identity number",
        Validator::ChinaResident,
        &[
            ("999999999999999999", HIGH),
            ("99999999999999999A", HIGH),
            ("999999 99999999 9999", HIGH),
            ("999999 99999999 999A", HIGH),
        ],
        &[
            "身份证",
            "身份证号",
            "身份证号码",
            "公民身份号码",
            "居民身份证",
            "resident identity",
            "resident id",
            "chinese id",
            "shenfenzheng",
            "idcard",
        ],
    )
    .documented(&["11010519491231002X"])
    .examples(&["440524188001010014", "身份证号440524188001010014", "id 11010519900307451X"], &["440524188001010015"]),
    state(
        "pii-hong-kong-hkid",
        "Hong Kong, identity card",
        Validator::HongKongHkid,
        &[
            ("A999999(9", HIGH),
            ("A999999(A", HIGH),
            ("AA999999(9", HIGH),
            ("AA999999(A", HIGH),
            ("A9999999", NAMED),
            ("A999999A", NAMED),
            ("A999999-9", NAMED),
        ],
        &["hkid", "hkid no", "hong kong id", "hong kong identity card", "hk id", "香港身份證", "身份證"],
    )
    .examples(&["G123456(A)", "HKID A1234563"], &["G123456(9)", "A1234563"]),
    state(
        "pii-taiwan-id",
        "Taiwan, identity card",
        Validator::TaiwanId,
        &[("A999999999", MEDIUM)],
        &["taiwan id", "身分證", "身分證字號", "身份證字號", "統一編號", "national id"],
    )
    .documented(&["A123456789"])
    .examples(&["身分證字號 F131104093"], &["身分證 F131104094"]),
    state(
        "pii-korea-rrn",
        "South Korea, resident registration number",
        Validator::KoreaRrn,
        &[("999999-9999999", HIGH), ("999999 9999999", MEDIUM), ("9999999999999", NAMED)],
        &[
            "rrn",
            "resident registration",
            "resident registration number",
            "주민등록번호",
            "주민번호",
            "jumin",
            "korean id",
        ],
    )
    .examples(&["971013-9019902", "주민등록번호 9710139019902"], &["971013-9019903", "9710139019902"]),
    state(
        "pii-korea-frn",
        "South Korea, foreigner registration number",
        Validator::KoreaFrn,
        &[("9999999999999", HIGH), ("999999 9999999", HIGH)],
        KOREA_FRN,
    )
    .examples(
        &["830614 6007313", "8306146007313", "외국인등록번호 8306146007313"],
        &["8306146007316", "830614-2007311"],
    ),
    state(
        "pii-korea-frn-unchecked",
        "South Korea, foreigner registration number since October 2020",
        Validator::KoreaFrnUnchecked,
        &[("999999-9999999", HIGH), ("9999999999999", NAMED), ("999999 9999999", NAMED)],
        KOREA_FRN,
    )
    .examples(
        &["830614-6007316", "외국인등록번호: 830614-6007316", "ARC 8306146007316"],
        &["8306146007316", "FRN 830614-2007311"],
    ),
    state(
        "pii-korea-driver-license",
        "South Korea, driver's licence",
        Validator::KoreaDriverLicense,
        &[("99-99-999999-99", HIGH), ("99 99 999999 99", HIGH)],
        DRIVING,
    )
    .examples(
        &["11-04-482913-57", "운전면허번호 28 19 482913 57", "driver's license 11 04 482913 57"],
        &["27-04-482913-57", "110448291357"],
    ),
    state(
        "pii-japan-my-number",
        "Japan, individual number",
        Validator::JapanMyNumber,
        &[("999999999999", NAMED), ("9999 9999 9999", NAMED), ("9999-9999-9999", NAMED)],
        &["my number", "mynumber", "individual number", "マイナンバー", "個人番号", "kojin bango"],
    )
    .documented(&["123456789018"])
    .examples(&["マイナンバー: 1234 5678 9018", "My Number 123456789018"], &["123456789018"]),
    state(
        "pii-india-aadhaar",
        "India, Aadhaar",
        Validator::Aadhaar,
        &[("9999 9999 9999", MEDIUM), ("9999-9999-9999", MEDIUM), ("999999999999", NAMED)],
        &[
            "aadhaar",
            "aadhar",
            "adhaar",
            "aadhaar no",
            "aadhaar number",
            "aadhaar card",
            "aadhar card",
            "uidai",
            "uid number",
            "uid no",
            "आधार",
        ],
    )
    .examples(&["Aadhaar 2341 2341 2346", "aadhaar_no: 234123412346"], &["Aadhaar 2341 2341 2347", "234123412346"]),
    state(
        "pii-india-pan",
        "India, permanent account number",
        Validator::IndiaPan,
        &[("AAAAA9999A", HIGH)],
        &["pan", "pan card", "pan no", "pan number", "permanent account number", "income tax"],
    )
    .documented(&["ABCPE1234F", "AAAPL1234C", "ABCDE1234F"])
    .examples(&["BNZPM2501F", "pan: bnzpm2501f"], &["BNZQM2501F", "bnzpm2501f"]),
    state(
        "pii-india-voter",
        "India, voter's identity card (EPIC)",
        Validator::IndiaVoter,
        &[("AAA9999999", MEDIUM), ("AAA 9999999", NAMED), ("AAA-9999999", NAMED)],
        &[
            "voter",
            "voters",
            "voter id",
            "voters id",
            "voter no",
            "voter id card",
            "voter card",
            "voter identity card",
            "epic",
            "epic no",
            "epic number",
            "elector",
            "electors",
            "elector photo identity card",
            "electors photo identity card",
            "electoral photo identity card",
            "election card",
            "election id",
            "मतदाता",
        ],
    )
    .examples(
        &["Voter ID: KQX4820157", "EPIC no. kqx4820157"],
        &["KQX4820157", "voter KQX0000000", "issue KQX4820157"],
    ),
    state(
        "pii-singapore-nric",
        "Singapore, NRIC and FIN",
        Validator::SingaporeNric,
        &[("A9999999A", HIGH), ("A-9999999-A", HIGH)],
        &["nric", "nric no", "fin", "fin no", "singapore id", "ic number", "ic no", "uen"],
    )
    .documented(&["S1234567D"])
    .examples(&["S8532146C", "nric s8532146c"], &["S8532146A", "s8532146c"]),
    state(
        "pii-malaysia-nric",
        "Malaysia, identity card",
        Validator::MalaysiaNric,
        &[("999999-99-9999", HIGH), ("999999 99 9999", MEDIUM), ("999999999999", NAMED)],
        &["mykad", "my kad", "nric", "ic", "ic no", "ic number", "kad pengenalan", "no kp", "malaysian id"],
    )
    .examples(&["770305-02-1234", "MyKad 770305021234"], &["771305-02-1234", "770305021234"]),
    state(
        "pii-thailand-id",
        "Thailand, identification number",
        Validator::ThailandId,
        &[("9-9999-99999-99-9", HIGH), ("9 9999 99999 99 9", HIGH), ("9999999999999", NAMED)],
        &["thai id", "thai national id", "thailand id", "บัตรประชาชน", "เลขประจำตัวประชาชน"],
    )
    .examples(&["1-2345-45678-78-1", "Thai ID 1234545678781"], &["1-2345-45678-78-2"]),
    state(
        "pii-indonesia-nik",
        "Indonesia, NIK",
        Validator::IndonesiaNik,
        &[("9999999999999999", MEDIUM), ("999999 999999 9999", HIGH), ("9999 9999 9999 9999", NAMED)],
        &["nik", "ktp", "no ktp", "nomor induk kependudukan", "nomor ktp", "no nik"],
    )
    .examples(&["NIK: 3171011708450001"], &["NIK 3171013208450001"]),
    state(
        "pii-israel-id",
        "Israel, identity number",
        Validator::IsraelId,
        &[("999999999", NAMED), ("99999999-9", NAMED)],
        &["teudat zehut", "teudat", "mispar zehut", "israeli id", "israel id", "תעודת זהות", "ת.ז", "מספר זהות"],
    )
    .examples(&["Teudat Zehut 039337423"], &["039337423", "Teudat Zehut 039337422"]),
    state(
        "pii-emirates-id",
        "United Arab Emirates, Emirates ID",
        Validator::EmiratesId,
        &[("999-9999-9999999-9", HIGH), ("999999999999999", HIGH), ("999 9999 9999999 9", HIGH)],
        &["emirates id", "eid", "emirates id number", "uae id", "uae national id"],
    )
    .examples(&["784-1980-1234567-8", "EID 784198012345678"], &["784-1980-1234567-9"]),
    state(
        "pii-saudi-id",
        "Saudi Arabia, national id and iqama",
        Validator::SaudiId,
        &[("9999999999", NAMED)],
        &["iqama", "iqama number", "iqama no", "saudi id", "saudi national id", "رقم الهوية", "هوية"],
    )
    .examples(&["iqama 1000000008"], &["1000000008", "iqama 1000000007"]),
    state(
        "pii-pakistan-cnic",
        "Pakistan, CNIC",
        Validator::PakistanCnic,
        &[("99999-9999999-9", MEDIUM), ("9999999999999", NAMED)],
        &["cnic", "nic", "nicop", "cnic no", "cnic number", "nadra"],
    )
    .examples(&["CNIC 34201-0891231-8"], &["CNIC 94201-0891231-8", "3420108912318"]),
    state(
        "pii-south-africa-id",
        "South Africa, identity number",
        Validator::SouthAfricaId,
        &[("9999999999999", HIGH), ("999999 9999 999", HIGH), ("999999 9999 99 9", HIGH)],
        &["sa id", "south african id", "rsa id", "sa id number", "id no", "identiteitsnommer"],
    )
    .documented(&["8001015009087"])
    .examples(&["7503305044089", "SA ID 750330 5044 089"], &["7503305044088"]),
    state(
        "pii-egypt-id",
        "Egypt, national id",
        Validator::EgyptId,
        &[("99999999999999", MEDIUM)],
        &["egyptian id", "egypt id", "egyptian national id", "الرقم القومي", "رقم قومي"],
    )
    .examples(&["Egyptian ID 29001011234567"], &["Egyptian ID 29013011234567"]),
];

/// What South Korea's number of a foreigner is called.
const KOREA_FRN: &[&str] = &[
    "frn",
    "arc",
    "arc number",
    "alien registration",
    "alien registration number",
    "foreigner registration",
    "foreigner registration number",
    "foreign registration number",
    "korean foreigner",
    "외국인등록번호",
    "외국인등록",
    "외국인번호",
];
