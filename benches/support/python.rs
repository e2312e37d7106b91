//! Python with the packages of `benches/requirements.txt`, beside the build.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The virtual environment, made first if it has to be.
pub fn environment() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let requirements = root.join("benches/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).expect("the requirements can be read");
    let place = root.join("target/bench-env");
    let made_from = place.join("made-from");
    if std::fs::read_to_string(&made_from).ok().as_ref() == Some(&wanted) {
        return place;
    }
    eprintln!("installing Python packages into {}", place.display());
    let _ = std::fs::remove_dir_all(&place);
    run(Command::new("python3").args(["-m", "venv"]).arg(&place));
    let mut install = Command::new(place.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    // There is no wheel of this one.
    install.args(["--no-binary", "pyperclip"]);
    install.args(["--require-hashes", "--requirement"]).arg(requirements);
    run(&mut install);
    std::fs::write(made_from, wanted).expect("the environment can be written");
    place
}

/// Runs it to its end.
pub fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
