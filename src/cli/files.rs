//! What commands read and write: keys, secrets, tokens. A secret enters by file, standard input or hidden typing only.

use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::{Zeroize as _, Zeroizing};

use crate::cli::failure::Failure;
use crate::key::KeyPair;
use crate::secret::Secret;

/// The longest file any command reads whole.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads a text file of bounded size; `-` is standard input.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let told = |error| Failure::from(error).during(format!("cannot read {}", path.display()));
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
    };
    let bytes = read.map_err(told)?;
    if bytes as u64 > FILE_BYTES_MAX {
        return Err(Failure::new(format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display())));
    }
    Ok(text)
}

/// Reads a file of at most `bytes_max` bytes; `-` is standard input.
pub(crate) fn read_bytes(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let told = |error| Failure::from(error).during(format!("cannot read {}", path.display()));
    let limit = bytes_max as u64 + 1;
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    if read.map_err(told)? > bytes_max {
        return Err(Failure::new(format!("{} is larger than {bytes_max} bytes", path.display())));
    }
    Ok(bytes)
}

/// Reads a JSON file; `-` is standard input.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|error| Failure::from(error).during(path.display()))
}

/// Reads a private key file.
pub(crate) fn read_key(path: &Path) -> Result<KeyPair, Failure> {
    let text = Zeroizing::new(read_text(path)?);
    KeyPair::from_pem(&text).map_err(|error| Failure::from(error).during(path.display()))
}

/// Writes a file that nobody else may read. Refuses to replace one.
pub(crate) fn write_private(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    let told = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(format!("{} exists already: choose another name, or remove it first", path.display()))
        }
        _ => Failure::from(error).during(format!("cannot write {}", path.display())),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(told)?;
    file.write_all(contents).and_then(|()| file.sync_all()).map_err(told)
}

/// Where a secret comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct SecretSource {
    /// Read the secret from this file instead of standard input; a final line break is dropped.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl SecretSource {
    /// The secret. From a terminal it is typed, and not shown.
    pub(crate) fn read(&self, what: &str) -> Result<Secret<String>, Failure> {
        let mut text = match &self.secret_file {
            Some(path) => read_text(path)?,
            None if std::io::stdin().is_terminal() => typed(what)?,
            None => read_text(Path::new("-"))?,
        };
        let kept = text.trim_end_matches(['\r', '\n']).to_owned();
        text.zeroize();
        if kept.is_empty() {
            return Err(Failure::usage(format!(
                "{what} is empty: pipe it into standard input, or name a file with `--secret-file`"
            )));
        }
        Ok(Secret::new(kept))
    }
}

/// Reads a line from the terminal without showing it.
fn typed(what: &str) -> Result<String, Failure> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut hidden = before.clone();
    hidden.local_modes &= !LocalModes::ECHO;
    hidden.local_modes |= LocalModes::ECHONL;
    let mut stderr = std::io::stderr();
    write!(stderr, "{what} (not shown): ")?;
    stderr.flush()?;
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Flush, &before)?;
    read?;
    Ok(line)
}

/// Bytes from the machine's random source.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Failure::new("the machine's random source failed"))?;
    Ok(bytes)
}
