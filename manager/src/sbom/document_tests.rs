use super::*;

fn content() -> Content {
    let file = |path: &str, text: &str| (path.to_owned(), text.as_bytes().to_vec());
    let files = [
        file("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
        file("var/lib/dpkg/status", "Package: git\nVersion: 1:2\nArchitecture: amd64\n"),
        file("usr/share/doc/git/copyright", "Format: x\nLicense: GPL-2\nLicense: MIT\n"),
        file("opt/one/package.json", r#"{"name":"@a/b","version":"1.0","license":"MIT"}"#),
        file("opt/node_modules/c/package.json", r#"{"name":"c","version":"2"}"#),
        file("usr/node_modules/c/package.json", r#"{"name":"c","version":"2"}"#),
        file("lib/x.dist-info/METADATA", "Name: X_y\nVersion: 3\nLicense: BSD\n"),
        file(WRAPPER, "00ff"),
    ];
    Content { files: files.into(), architecture: "amd64".to_owned() }
}

fn recipe() -> Recipe {
    let package =
        Package { name: "@a/b".to_owned(), version: "1.0".to_owned(), ..Package::default() };
    Recipe {
        about: vec![("module", "GIT 1".to_owned()), ("module", "NODE 24".to_owned())],
        fetched: vec![(package, Some("ab".to_owned()))],
        copied: vec![("node".to_owned(), "24".to_owned())],
        wrapper: Some("0.1.0"),
    }
}

fn written() -> Value {
    write("worker:00", "sha256:11", &recipe(), &content()).0
}

#[test]
fn everything_is_listed_once_under_a_name_that_holds_everywhere() {
    let document = written();
    let listed = document["components"].as_array().unwrap();
    let names: Vec<_> = listed.iter().map(|part| part["bom-ref"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "distribution",
            "pkg:deb/debian/git@1:2?arch=amd64&distro=debian-12",
            "pkg:generic/node@24",
            "pkg:generic/worker-wrapper@0.1.0",
            "pkg:npm/%40a/b@1.0",
            "pkg:npm/c@2",
            "pkg:pypi/x-y@3",
        ]
    );
    let part = |name: &str| listed.iter().find(|part| part["purl"] == name).unwrap();
    let scoped = part("pkg:npm/%40a/b@1.0");
    assert_eq!((&scoped["group"], &scoped["name"]), (&json!("@a"), &json!("b")));
    assert_eq!(scoped["hashes"], json!([{"alg": "SHA-512", "content": "ab"}]));
    assert_eq!(scoped["licenses"], json!([{"expression": "MIT"}]));
    assert_eq!(part("pkg:npm/c@2")["evidence"]["occurrences"].as_array().unwrap().len(), 2);
    assert_eq!(
        part("pkg:deb/debian/git@1:2?arch=amd64&distro=debian-12")["licenses"],
        json!([{"license": {"name": "GPL-2"}}, {"license": {"name": "MIT"}}])
    );
}

#[test]
fn the_same_image_gives_the_same_bytes_and_another_one_another_number() {
    let text = write("worker:00", "sha256:11", &recipe(), &content()).to_string();
    assert_eq!(write("worker:00", "sha256:11", &recipe(), &content()).to_string(), text);
    let other = write("worker:00", "sha256:12", &recipe(), &content()).0;
    assert_ne!(other["serialNumber"], written()["serialNumber"]);
    assert_eq!(written()["metadata"]["component"]["version"], "00");
    assert!(text.contains("worker-manager:module"), "{text}");
}
