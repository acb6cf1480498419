use flate2::{Compression, write::GzEncoder};
use std::io::Write;

use super::*;

/// A file, a link to one, or something else, by path.
enum Held<'a> {
    File(&'a str),
    HardLink(&'a str),
    Symlink(&'a str),
    Folder,
}
use Held::{File, Folder, HardLink, Symlink};

fn archive<'a>(entries: &[(&str, Held<'a>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, held) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        let (kind, text) = match held {
            File(text) => (tar::EntryType::Regular, *text),
            HardLink(_) => (tar::EntryType::Link, ""),
            Symlink(_) => (tar::EntryType::Symlink, ""),
            Folder => (tar::EntryType::Directory, ""),
        };
        header.set_entry_type(kind);
        header.set_size(text.len() as u64);
        match held {
            HardLink(target) | Symlink(target) => {
                archive.append_link(&mut header, path, target).unwrap();
            }
            File(_) | Folder => archive.append_data(&mut header, path, text.as_bytes()).unwrap(),
        }
    }
    archive.into_inner().unwrap()
}

fn image(layers: &[(&str, Vec<u8>)], listed: &[&str]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, path, bytes).unwrap();
    };
    for (name, bytes) in layers {
        add(name, bytes);
    }
    add("config.json", br#"{"architecture":"arm64","os":"linux"}"#);
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [], "Layers": listed}]);
    add("manifest.json", manifest.to_string().as_bytes());
    archive.into_inner().unwrap()
}

fn files(image: &[u8]) -> Vec<(String, String)> {
    let content = read(image).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    content.files.into_iter().map(|(path, bytes)| (path, text(bytes))).collect()
}

fn pair(path: &str, text: &str) -> (String, String) {
    (path.to_owned(), text.to_owned())
}

const STATUS: &str = "var/lib/dpkg/status";
const NPM: &str = "opt/node/lib/node_modules/npm/package.json";

#[test]
fn layers_lie_on_each_other_as_the_list_says_and_not_as_they_come() {
    let below = archive(&[(STATUS, File("old")), ("bin/sh", File("x")), (NPM, File("{}"))]);
    let above = archive(&[(&format!("./{STATUS}"), File("new"))]);
    let image =
        image(&[("b/layer.tar", above), ("a/layer.tar", below)], &["a/layer.tar", "b/layer.tar"]);
    assert_eq!(files(&image), [pair(NPM, "{}"), pair(STATUS, "new")]);
    assert_eq!(read(&image[..]).unwrap().architecture, "arm64");
}

#[test]
fn what_a_layer_takes_away_is_gone() {
    let one = "opt/one/package.json";
    let below = || archive(&[(STATUS, File("s")), (NPM, File("{}")), (one, File("{}"))]);
    for (above, left) in [
        (vec![("opt/node/lib/.wh.node_modules", File(""))], vec![one, STATUS]),
        (vec![("opt/.wh..wh..opq", File("")), (one, File("{}"))], vec![one, STATUS]),
        (vec![("var/lib/dpkg/.wh.status", File(""))], vec![NPM, one]),
        (vec![(".wh.opt", File(""))], vec![STATUS]),
        (vec![("opt/one", Symlink("/elsewhere"))], vec![NPM, STATUS]),
        (vec![("opt/one", Folder), ("opt/other", Folder)], vec![NPM, one, STATUS]),
    ] {
        let above = archive(&above);
        let image = image(&[("1", below()), ("2", above)], &["1", "2"]);
        let mut found: Vec<_> = files(&image).into_iter().map(|(path, _)| path).collect();
        found.sort();
        let mut left = left;
        left.sort_unstable();
        assert_eq!(found, left);
    }
}

#[test]
fn layers_may_be_zipped_repeated_or_empty() {
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    zipped.write_all(&archive(&[(STATUS, File("s"))])).unwrap();
    let layers = [("a", zipped.finish().unwrap()), ("b", vec![0; 1024])];
    assert_eq!(files(&image(&layers, &["a", "b", "a"])), [pair(STATUS, "s")]);
}

#[test]
fn a_link_stands_for_the_layer_that_it_names() {
    let mut whole = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    whole.append_link(&mut header, "b/layer.tar", "../a/layer.tar").unwrap();
    let mut bytes = whole.into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(image(&[("a/layer.tar", archive(&[(STATUS, File("s"))]))], &["b/layer.tar"]));
    assert_eq!(files(&bytes), [pair(STATUS, "s")]);
}

#[test]
fn a_hard_link_has_what_it_links_to_and_nothing_leads_out() {
    let other = "opt/two/package.json";
    let layer =
        archive(&[("opt/one/package.json", File("{}")), (other, HardLink("opt/one/package.json"))]);
    assert_eq!(files(&image(&[("a", layer)], &["a"])).len(), 2);
    for path in ["../etc/os-release", "a/../../etc/os-release"] {
        assert_eq!(plain(Path::new(path)), None);
    }
}

#[test]
fn of_the_wrapper_only_the_digest_is_kept() {
    let layer = archive(&[(WRAPPER, File("abc"))]);
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(files(&image(&[("a", layer)], &["a"])), [pair(WRAPPER, digest)]);
}

#[test]
fn what_is_no_image_is_told_so() {
    let whole = image(&[("a", archive(&[(STATUS, File("s"))]))], &["a"]);
    for (bytes, part) in [
        (archive(&[("x", File("y"))]), "no manifest.json"),
        (image(&[], &["a"]), "no layer that its list names"),
        (image(&[("a", b"\x28\xb5\x2f\xfd and more".to_vec())], &["a"]), "is compressed"),
        (whole[..700].to_vec(), "failed to read"),
    ] {
        let error = read(&bytes[..]).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn only_what_tells_of_packages_is_read() {
    for (path, wanted) in [
        ("usr/share/doc/curl/copyright", true),
        ("opt/copier/lib/python3.11/site-packages/jinja2-3.1.dist-info/METADATA", true),
        ("usr/lib/python3/dist-packages/six.egg-info/PKG-INFO", true),
        ("opt/gemini/package.json", true),
        ("usr/lib/node_modules/@scope/name/package.json", true),
        ("usr/lib/node_modules/name/test/fixtures/package.json", false),
        ("workspace/package.json", false),
        ("var/lib/dpkg/status.d/base", true),
        ("srv/status", false),
    ] {
        assert_eq!(is_wanted(path), wanted, "{path}");
    }
}
