//! `attache fmt`: one layout for policy text.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::fmt::format;

use super::output::printable;
use super::{Failure, Outcome};

/// Lay out policy text in one way, comments kept
///
/// Two spaces a level, at most 120 columns, lists and mappings in brackets where they are written in brackets. Each
/// FILE that changes is replaced as a whole and named on stdout; `-` reads stdin and writes stdout. A file whose
/// values or comments the new layout would not keep, or that cannot be read as policy text, stays as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache fmt policy.yaml
  attache fmt --check policies/*.yaml    in CI
  attache fmt - <policy.yaml

Exit codes:
  0  every file has the layout now; with --check, had it before
  1  with --check: a file would change; otherwise one cannot be written
  2  a file cannot be read, or not be laid out")]
pub struct Args {
    /// Files to lay out; `-` for stdin to stdout
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Change nothing; name the files that would change
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    let mut out = io::stdout().lock();
    let (mut refused, mut would_change) = (false, false);
    for file in &args.files {
        let text = match text(file) {
            Ok(text) => text,
            Err(message) => {
                eprintln!("attache: {message}");
                refused = true;
                continue;
            }
        };
        let name = if file == Path::new("-") { "<stdin>".to_owned() } else { file.display().to_string() };
        let formatted = match format(&name, &text) {
            Ok(formatted) => formatted,
            Err(error) => {
                eprintln!("{error}");
                refused = true;
                continue;
            }
        };
        let changed = formatted != text;
        if file == Path::new("-") && !args.check {
            out.write_all(formatted.as_bytes())?;
        } else if changed {
            if !args.check {
                replace(file, formatted.as_bytes())
                    .map_err(|error| Failure::runtime(format!("{name} cannot be written: {error}")))?;
            }
            writeln!(out, "{}", printable(&name))?;
        }
        would_change |= changed;
    }
    Ok(match (refused, args.check && would_change) {
        (true, _) => ExitCode::from(2),
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::SUCCESS,
    })
}

fn text(file: &Path) -> Result<String, String> {
    let shown = printable(&file.display().to_string());
    if file == Path::new("-") {
        let mut text = String::new();
        let read = io::stdin().lock().read_to_string(&mut text);
        return read.map(|_| text).map_err(|error| format!("stdin cannot be read: {error}"));
    }
    // A named pipe would hold up whoever opens it.
    match std::fs::metadata(file) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(format!("{shown} is not a file: name the files to lay out")),
        Err(error) => return Err(format!("{shown} cannot be read: {error}")),
    }
    std::fs::read_to_string(file).map_err(|error| format!("{shown} cannot be read: {error}"))
}

/// Puts `content` in the place of the file, which is at no moment half of it; owner and mode stay.
fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    // The file that a link leads to, not the link.
    let path = file.canonicalize()?;
    let old = path.metadata()?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = (|| {
        // Open to nobody else until it has the mode of the one it replaces.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        let created = file.metadata()?;
        if (created.uid(), created.gid()) != (old.uid(), old.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(PermissionsExt::from_mode(old.mode() & 0o7777))?;
        file.sync_all()?;
        std::fs::rename(&new, &path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const UGLY: &str = "allowedDomains:   [ a.example ]  # kept\n";
    const NEAT: &str = "allowedDomains: [a.example] # kept\n";

    fn fmt(files: &[&Path], check: bool) -> Outcome {
        run(Args { files: files.iter().map(|file| file.to_path_buf()).collect(), check })
    }

    fn code(outcome: Outcome) -> String {
        format!("{:?}", outcome.unwrap())
    }

    #[test]
    fn a_file_is_replaced_behind_its_link_and_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("policy.yaml"), folder.path().join("link.yaml"));
        fs::write(&file, UGLY).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
        symlink("policy.yaml", &link).unwrap();
        assert_eq!(code(fmt(&[&link], false)), code(Ok(ExitCode::SUCCESS)));
        assert_eq!(fs::read_to_string(&file).unwrap(), NEAT);
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o640);
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
    }

    #[test]
    fn check_changes_nothing_and_says_whether_it_would() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.yaml");
        fs::write(&file, UGLY).unwrap();
        assert_eq!(code(fmt(&[&file], true)), code(Ok(ExitCode::FAILURE)));
        assert_eq!(fs::read_to_string(&file).unwrap(), UGLY);
        fs::write(&file, NEAT).unwrap();
        assert_eq!(code(fmt(&[&file], true)), code(Ok(ExitCode::SUCCESS)));
    }

    #[test]
    fn what_does_not_parse_is_left_alone_and_the_others_are_done() {
        let folder = tempfile::tempdir().unwrap();
        let [broken, directory, missing, good] =
            ["broken", "directory", "missing", "good"].map(|name| folder.path().join(name));
        fs::write(&broken, "allowedDomains:   [\n").unwrap();
        fs::create_dir(&directory).unwrap();
        fs::write(&good, UGLY).unwrap();
        for refused in [&broken, &directory, &missing] {
            fs::write(&good, UGLY).unwrap();
            assert_eq!(code(fmt(&[refused, &good], false)), code(Ok(ExitCode::from(2))), "{refused:?}");
            assert_eq!(fs::read_to_string(&good).unwrap(), NEAT);
        }
        assert_eq!(fs::read_to_string(&broken).unwrap(), "allowedDomains:   [\n");
    }
}
