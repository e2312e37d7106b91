//! placeholder
use std::path::PathBuf;
pub fn default_for(port: u16) -> std::io::Result<PathBuf> {
    let home = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".local/state")));
    Ok(home.ok_or(std::io::Error::from(std::io::ErrorKind::NotFound))?.join("attache").join(port.to_string()))
}
