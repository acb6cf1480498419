//! The build context: what a Dockerfile can copy.

use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// A file that goes into images, with its digest, which is computed once.
pub struct ContextFile {
    bytes: Vec<u8>,
    sha256: String,
}

impl ContextFile {
    /// Takes the file's content.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Arc<Self> {
        let sha256 = hex(&Sha256::digest(&bytes));
        Arc::new(Self { bytes, sha256 })
    }

    /// The digest in lower-case hex.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for ContextFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, sha256 {}", self.bytes.len(), self.sha256)
    }
}

/// A tar archive in memory: owner, group and times are 0, so that it is the same each time.
pub(crate) struct Archive(tar::Builder<Vec<u8>>);

impl Archive {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) {
        self.add(tar::EntryType::Regular, path, mode, bytes);
    }

    pub(super) fn folder(&mut self, path: &str, mode: u32) {
        self.add(tar::EntryType::Directory, path, mode, &[]);
    }

    fn add(&mut self, kind: tar::EntryType, path: &str, mode: u32, bytes: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        self.0.append_data(&mut header, path, bytes).expect("writing to memory does not fail");
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("writing to memory does not fail")
    }
}

/// The digest of a text in lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to memory does not fail");
        text
    })
}
