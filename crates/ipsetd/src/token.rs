//! The token of a port: read from a file that nobody else may read, compared in constant time, never shown.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

/// Fewest characters: less can be guessed.
const SHORTEST: usize = 16;
/// Most.
const LONGEST: usize = 1024;

/// A secret.
#[derive(Clone)]
pub struct Token(Vec<u8>);

/// Why a file holds no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read token file `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others can read it.
    #[error("token file `{0}` is not for its owner alone; hint: chmod 0400")]
    Mode(PathBuf),
    /// Somebody else owns it, and can change it.
    #[error("token file `{0}` belongs to another user")]
    Owner(PathBuf),
    /// It is too short, too long, or not one word.
    #[error("token file `{0}` must hold one word of {SHORTEST} to {LONGEST} printable ASCII characters")]
    Content(PathBuf),
}

impl Token {
    /// Reads the token of a file: one word, a newline behind it is not part of it.
    ///
    /// # Errors
    /// [`TokenError`]
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::Read { path: path.to_owned(), source };
        // a fifo must not hang us
        let file =
            std::fs::File::options().read(true).custom_flags(libc_nonblock()).open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.mode() & 0o077 != 0 {
            return Err(TokenError::Mode(path.to_owned()));
        }
        let own = nix::unistd::geteuid().as_raw();
        if metadata.uid() != own && metadata.uid() != 0 {
            return Err(TokenError::Owner(path.to_owned()));
        }
        let mut text = Vec::new();
        file.take(LONGEST as u64 + 2).read_to_end(&mut text).map_err(failed)?;
        let word = text.trim_ascii();
        if !(SHORTEST..=LONGEST).contains(&word.len()) || !word.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::Content(path.to_owned()));
        }
        Ok(Self(word.to_vec()))
    }

    /// Whether it is this one. How long that takes tells nothing but whether the lengths are the same.
    pub fn is(&self, shown: &str) -> bool {
        self.0.ct_eq(shown.as_bytes()).into()
    }
}

fn libc_nonblock() -> i32 {
    nix::fcntl::OFlag::O_NONBLOCK.bits()
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(text: &str, mode: u32) -> Result<Token, TokenError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
        Token::read(&path)
    }

    #[test]
    fn is_the_word_of_the_file() {
        let token = read("0123456789abcdef\n", 0o600).expect("a token");
        assert!(token.is("0123456789abcdef"));
        for other in ["", "0123456789abcde", "0123456789abcdef\n", "0123456789abcdeF", "0123456789abcdefg"] {
            assert!(!token.is(other), "{other:?}");
        }
        assert_eq!(format!("{token:?}"), "Token");
        let longest = "x".repeat(LONGEST);
        assert!(read(&longest, 0o600).expect("a token").is(&longest));
    }

    #[test]
    fn a_file_that_others_could_read_or_guess_is_refused() {
        for mode in [0o640, 0o604, 0o620, 0o601] {
            assert!(matches!(read("0123456789abcdef", mode), Err(TokenError::Mode(_))), "{mode:o}");
        }
        let [short, long] = [SHORTEST - 1, LONGEST + 1].map(|length| "x".repeat(length));
        for text in ["", &short, &long, "two words of a file", "0123456789abcde\u{7f}f"] {
            assert!(matches!(read(text, 0o600), Err(TokenError::Content(_))), "{text:?}");
        }
        assert!(matches!(Token::read(Path::new("/nowhere")), Err(TokenError::Read { .. })));
        assert!(matches!(
            Token::read(Path::new("/proc")),
            Err(TokenError::Mode(_) | TokenError::Read { .. })
        ));
    }
}
