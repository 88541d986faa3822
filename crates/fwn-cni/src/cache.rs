//! Results of ADD, kept for CHECK, DEL and GC, in the place and form of libcni's cache (`cniCacheV1`).
//!
//! One file an attachment, `results/NETWORK-CONTAINERID-IFNAME`. A file is complete or not there: it is written beside
//! the folder and then renamed into it. The names must have been checked before they come here.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fs, process};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::chain::RuntimeConf;
use crate::network_list::NetworkList;
use crate::object::json_text;

const KIND: &str = "cniCacheV1";

/// The cache below one directory.
pub(crate) struct Cache<'a> {
    pub(crate) dir: &'a Path,
}

/// One file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    kind: String,
    container_id: String,
    /// The list's text in base64, as Go writes bytes. Written for others, not read here.
    #[serde(default)]
    config: Option<String>,
    if_name: String,
    network_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    netns: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cni_args: Option<Vec<(String, String)>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capability_args: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
}

impl Cache<'_> {
    /// Keeps a result.
    pub(crate) fn store(&self, list: &NetworkList, rt: &RuntimeConf, result: &RawValue) -> io::Result<()> {
        let kept = Kept {
            kind: KIND.to_owned(),
            container_id: rt.container_id.clone(),
            config: Some(encode_base64(list.text.as_bytes())),
            if_name: rt.ifname.clone(),
            network_name: list.name.clone(),
            netns: rt.netns.clone(),
            cni_args: (!rt.args.is_empty()).then(|| rt.args.clone()),
            capability_args: (!rt.capability_args.is_empty()).then(|| rt.capability_args.clone()),
            result: Some(result.to_owned()),
        };
        let path = self.file(&list.name, rt);
        // not in the folder itself: libcni takes every file there for an attachment
        let temporary = self.dir.join(format!(".{}.{}", file_name(&list.name, rt), process::id()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.results())?;
        let written = write_private(&temporary, json_text(&kept).as_bytes());
        written.and_then(|()| fs::rename(&temporary, &path)).inspect_err(|_| {
            // the first error is the one to tell
            let _ = fs::remove_file(&temporary);
        })
    }

    /// The result of an attachment, in the version that it was kept in. Files of libcni before its 0.8, which are the
    /// bare result, are read too. `None` if nothing is kept.
    pub(crate) fn load(&self, network: &str, rt: &RuntimeConf) -> io::Result<Option<Box<RawValue>>> {
        let text = match fs::read_to_string(self.file(network, rt)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        match serde_json::from_str::<Kept>(&text) {
            Ok(kept) if kept.kind == KIND => Ok(kept.result),
            _ => Ok(Some(RawValue::from_string(text)?)),
        }
    }

    /// Forgets an attachment; one that is not kept is forgotten already.
    pub(crate) fn remove(&self, network: &str, rt: &RuntimeConf) -> io::Result<()> {
        match fs::remove_file(self.file(network, rt)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// All attachments of a network that are kept, in order of file name. What cannot be read is not ours to judge and
    /// is passed over, as libcni does.
    pub(crate) fn attachments(&self, network: &str) -> io::Result<Vec<RuntimeConf>> {
        let entries = match fs::read_dir(self.results()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
        files.sort();
        let kept = files.iter().filter_map(|path| fs::read_to_string(path).ok());
        let kept = kept.filter_map(|text| serde_json::from_str::<Kept>(&text).ok());
        Ok(kept
            .filter(|kept| kept.kind == KIND && kept.network_name == network)
            .map(RuntimeConf::from)
            .collect())
    }

    fn results(&self) -> PathBuf {
        self.dir.join("results")
    }

    fn file(&self, network: &str, rt: &RuntimeConf) -> PathBuf {
        self.results().join(file_name(network, rt))
    }
}

impl From<Kept> for RuntimeConf {
    fn from(kept: Kept) -> Self {
        Self {
            container_id: kept.container_id,
            netns: kept.netns,
            ifname: kept.if_name,
            args: kept.cni_args.unwrap_or_default(),
            capability_args: kept.capability_args.unwrap_or_default(),
        }
    }
}

fn file_name(network: &str, rt: &RuntimeConf) -> String {
    format!("{network}-{}-{}", rt.container_id, rt.ifname)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// RFC 4648, section 4, with padding.
fn encode_base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0, |word, i| word << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i) & 0x3f) as usize];
            text.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648, section 10
        let cases = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let texts = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        assert_eq!(cases.map(|case| encode_base64(case.as_bytes())), texts);
    }
}
