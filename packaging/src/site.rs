//! The pages of a built site: each link leads to a file of the site, and to an anchor in it. Links to other places are
//! not followed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// What a page offers and what it wants.
#[derive(Debug, Default)]
struct Page {
    anchors: BTreeSet<String>,
    links: Vec<String>,
}

/// All that leads nowhere: `PAGE: LINK`, sorted. The page for what is not found is left out: it may be served from any
/// place.
///
/// # Panics
/// The folder cannot be read.
pub fn dead_links(folder: &Path) -> Vec<String> {
    let mut files = BTreeMap::new();
    read(folder, Path::new(""), &mut files);
    let mut dead = Vec::new();
    for (name, page) in &files {
        if name.as_os_str() == "404.html" {
            continue;
        }
        for link in &page.links {
            if link.contains("://") || link.starts_with("mailto:") || link.starts_with("data:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = path.split('?').next().unwrap_or_default();
            let target =
                if path.is_empty() { Some(name.clone()) } else { resolve(name, &percent_decoded(path)) };
            let found = target.and_then(|target| files.get(&target));
            if !found.is_some_and(|page| anchor.is_empty() || page.anchors.contains(&percent_decoded(anchor)))
            {
                dead.push(format!("{}: {link}", name.display()));
            }
        }
    }
    dead
}

fn read(root: &Path, below: &Path, files: &mut BTreeMap<PathBuf, Page>) {
    for entry in fs::read_dir(root.join(below)).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = below.join(entry.file_name());
        if entry.path().is_dir() {
            read(root, &name, files);
        } else if name.extension().is_some_and(|extension| extension == "html") {
            let text = fs::read_to_string(entry.path()).expect("UTF-8");
            files.insert(name, page(&text));
        } else {
            files.insert(name, Page::default());
        }
    }
}

/// Attributes of tags; what looks like one in a script or a text has no `<` before it.
fn page(text: &str) -> Page {
    let mut page = Page::default();
    for tag in text.split('<').skip(1).filter_map(|rest| rest.split_once('>').map(|(tag, _)| tag)) {
        for (name, value) in attributes(tag) {
            match name {
                "href" | "src" if !value.is_empty() => page.links.push(value.replace("&amp;", "&")),
                "id" | "name" => {
                    page.anchors.insert(value.to_owned());
                }
                _ => {}
            }
        }
    }
    page
}

fn attributes(tag: &str) -> impl Iterator<Item = (&str, &str)> {
    // NAME="VALUE" NAME="VALUE": the values are every other piece
    let pieces: Vec<&str> = tag.split('"').collect();
    let pairs: Vec<(&str, &str)> = pieces
        .chunks_exact(2)
        .filter_map(|pair| Some((pair[0].strip_suffix('=')?.rsplit([' ', '\n', '\t']).next()?, pair[1])))
        .collect();
    pairs.into_iter()
}

/// Where a path on a page leads to; `None` for out of the site.
fn resolve(page: &Path, path: &str) -> Option<PathBuf> {
    let mut target = page.parent().unwrap_or(Path::new("")).to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => target.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !target.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(target)
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%');
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_dead_link_is_found() {
        let site = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(site.path().join(name), text).expect("written");
        fs::create_dir(site.path().join("more")).expect("made");
        write("picture.svg", "<svg/>");
        write("index.html", r#"<a href="more/page.html#b">x</a> <img alt="a > b" src="picture.svg">"#);
        write(
            "more/page.html",
            r##"<h1 id="b">b</h1> <a class="c" href="../index.html">x</a> <a href="#b">x</a>
            <a href="https://example.org/none">x</a> <a href="#n%C3%B6">x</a> <h2 id="nö">x</h2>"##,
        );
        write("404.html", r#"<a href="none.html">x</a>"#);
        assert_eq!(dead_links(site.path()), Vec::<String>::new());
        write(
            "more/page.html",
            r##"<a href="../index.html#b">x</a> <a href="page.md">x</a> <img src="../../out.png">
            <a href="#c">x</a> <a href="/index.html">x</a>"##,
        );
        let dead = [
            "index.html: more/page.html#b",
            "more/page.html: ../index.html#b",
            "more/page.html: page.md",
            "more/page.html: ../../out.png",
            "more/page.html: #c",
            "more/page.html: /index.html",
        ];
        assert_eq!(dead_links(site.path()), dead);
    }
}
