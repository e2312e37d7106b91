//! Where a sink has come to, in a file.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::journal::follow::Cursor;

/// The file of one sink.
pub struct Place {
    path: PathBuf,
    /// Whose place it was has gone: nothing is kept any more, even if somebody is just about to.
    left: Mutex<bool>,
}

impl Place {
    /// The file of the sink of this name. Neither it nor the folder need be there.
    pub fn new(folder: &Path, name: &str) -> Self {
        Self { path: folder.join(format!("{name}.json")), left: Mutex::default() }
    }

    /// What is kept; none where nothing is.
    ///
    /// # Errors
    /// When what is kept cannot be read, or is no place.
    pub fn read(&self) -> io::Result<Option<Cursor>> {
        match std::fs::read(&self.path) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps a place, all at once. It may be lost in a power cut, and then some records are delivered again.
    pub fn keep(&self, cursor: Cursor) -> io::Result<()> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if *left {
            return Ok(());
        }
        match self.write(cursor) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = self.path.parent().unwrap_or(Path::new("."));
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                self.write(cursor)
            }
            written => written,
        }
    }

    fn write(&self, cursor: Cursor) -> io::Result<()> {
        let draft = self.path.with_extension("json.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec(&cursor)?)?;
        std::fs::rename(draft, &self.path)
    }

    /// Leaves it as it is from now on.
    pub fn leave(&self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Removes it.
    pub fn forget(&self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "the place of a sink that is gone cannot be removed");
        }
    }

    /// The names of all that are kept in a folder.
    pub fn names(folder: &Path) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
        let names = files.filter_map(|file| Some(file.ok()?.file_name().to_str()?.strip_suffix(".json")?.to_owned()));
        names.collect()
    }
}
