//! What a command line starts: an interpreter, a client that is known, or a program to itself.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::elf::Native;

/// What stands in an argument for the address that the program itself is to call.
pub const URL: &str = "{url}";
/// How many interpreters may stand behind each other: what the kernel allows, too.
const DEEPEST: usize = 4;

/// A program and how it can be tried.
#[derive(Debug)]
pub struct Program {
    /// What was named.
    pub named: PathBuf,
    /// What runs it: itself, or the interpreter that its first line names.
    pub runs: PathBuf,
    /// What that is.
    pub kind: Kind,
    /// Arguments of `runs`: those behind it on the command line, or in a script's first line.
    pub arguments: Vec<OsString>,
    /// The whole command line, where it says [`URL`].
    pub with_url: Option<Vec<OsString>>,
}

/// What a program is, as far as trust goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// CPython, or what behaves like it.
    Python,
    /// Node.
    Node,
    /// A Java launcher.
    Java,
    /// curl.
    Curl,
    /// git.
    Git,
    /// wget.
    Wget,
    /// Starts others, which its own file does not tell.
    Wrapper,
    /// Machine code.
    Native(Native),
    /// Nothing that is known.
    Unknown,
}

impl Kind {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Python => "Python",
            Self::Node => "Node",
            Self::Java => "Java",
            Self::Curl => "curl",
            Self::Git => "git",
            Self::Wget => "wget",
            Self::Wrapper => "starts other programs",
            Self::Native(native) if native.is_go => "Go",
            Self::Native(_) => "machine code",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a command line cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It names nothing.
    #[error("there is no program to try: give it after `--`")]
    Empty,
    /// There is no such file.
    #[error("`{}` is not there, or cannot be run: give the program as you would start it", .0.display())]
    Missing(PathBuf),
}

impl Program {
    /// What a command line starts.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn of(command: &[OsString]) -> Result<Self, ProgramError> {
        let (named, arguments) = command.split_first().ok_or(ProgramError::Empty)?;
        let mut runs = find(named).ok_or_else(|| ProgramError::Missing(named.into()))?;
        let mut arguments = arguments.to_vec();
        let mut kind = known(&runs);
        for _ in 0..DEEPEST {
            if kind.is_some() {
                break;
            }
            let Some((interpreter, flags)) = first_line(&runs) else { break };
            let Some(interpreter) = find(&interpreter) else { break };
            arguments = flags.into_iter().chain([runs.into_os_string()]).chain(arguments).collect();
            kind = known(&interpreter);
            runs = interpreter;
        }
        let kind = kind.or_else(|| Native::of(&fs::read(&runs).ok()?).map(Kind::Native)).unwrap_or(Kind::Unknown);
        let says_url = |argument: &OsString| argument.to_string_lossy().contains(URL);
        let with_url = command.iter().any(says_url).then(|| command.to_vec());
        Ok(Self { named: named.into(), runs, kind, arguments, with_url })
    }
}

/// What a program is by its name. The name counts before the content: version managers put scripts in their places.
fn known(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    Some(match stem {
        "python" | "pypy" => Kind::Python,
        "node" | "nodejs" => Kind::Node,
        "java" => Kind::Java,
        "curl" => Kind::Curl,
        "git" => Kind::Git,
        "wget" => Kind::Wget,
        "sh" | "bash" | "dash" | "zsh" | "ksh" | "fish" | "busybox" | "env" | "sudo" | "su" | "doas" | "nice"
        | "nohup" | "timeout" | "xargs" | "make" | "uv" | "uvx" | "docker" | "podman" | "tini" | "dumb-init" => {
            Kind::Wrapper
        }
        _ => return None,
    })
}

/// The interpreter that a script's first line names, and its arguments; `env` is looked through.
fn first_line(script: &Path) -> Option<(OsString, Vec<OsString>)> {
    let mut start = Vec::new();
    fs::File::open(script).ok()?.take(512).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(OsStr::from_bytes);
    let mut interpreter = words.next()?;
    if Path::new(interpreter).file_name() == Some(OsStr::new("env")) {
        interpreter = words.find(|word| *word != "-S" && !word.as_bytes().contains(&b'='))?;
    }
    Some((interpreter.to_owned(), words.map(OsStr::to_owned).collect()))
}

/// As a shell finds it.
fn find(name: &OsStr) -> Option<PathBuf> {
    let runs = |path: &Path| path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).filter(|path| runs(path));
    }
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| runs(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_what_its_first_line_says() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let python = script("python3.12", "#!/bin/sh\n");
        let kind = |path: PathBuf| {
            let program = Program::of(&[path.into(), "x".into()]).unwrap();
            (program.kind, program.arguments)
        };
        assert_eq!(kind(python.clone()), (Kind::Python, vec!["x".into()]));
        let agent = script("agent", &format!("#!{} -I\nimport x\n", python.display()));
        let through = vec!["-I".into(), agent.clone().into_os_string(), "x".into()];
        assert_eq!(kind(agent), (Kind::Python, through));
        let environment = script("by-env", &format!("#!/usr/bin/env -S A=1 {} -E\n", python.display()));
        assert_eq!(kind(environment).0, Kind::Python);
        assert_eq!(kind(script("start", "#!/bin/sh\nexec node x\n")).0, Kind::Wrapper);
        assert_eq!(kind(script("odd", "no first line")).0, Kind::Unknown);
        assert!(matches!(kind(env::current_exe().unwrap()).0, Kind::Native(native) if !native.is_go));
    }

    #[test]
    fn what_is_not_there_is_said() {
        assert!(matches!(Program::of(&[]), Err(ProgramError::Empty)));
        let error = Program::of(&["no-such-program-here".into()]).unwrap_err().to_string();
        assert!(error.contains("`no-such-program-here` is not there"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        assert!(Program::of(&[folder.path().into()]).is_err(), "a directory");
    }

    #[test]
    fn an_address_is_asked_for_in_any_argument() {
        let program = |words: &[&str]| Program::of(&words.iter().map(OsString::from).collect::<Vec<_>>()).unwrap();
        assert!(program(&["sh", "-c", "x"]).with_url.is_none());
        assert_eq!(program(&["sh", "--api={url}/v1"]).with_url.unwrap().len(), 2);
    }
}
