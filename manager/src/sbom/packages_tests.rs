use super::*;

fn name(text: &str) -> Licence {
    Licence::Name(text.to_owned())
}

fn expression(text: &str) -> Licence {
    Licence::Expression(text.to_owned())
}

#[test]
fn what_dpkg_has_installed_is_listed_and_what_it_has_removed_is_not() {
    let status = "Package: git\nStatus: install ok installed\nArchitecture: amd64\n\
                  Version: 1:2.39.5-0+deb12u2\nDepends: a,\n b\nDescription: fast\n Package: fake\n\n\
                  Package: old\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                  Package: base\nVersion: 12\n\nPackage: none\nStatus: install ok installed\n";
    let all = debian(status);
    let short: Vec<_> = all.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
    assert_eq!(short, [("git", "1:2.39.5-0+deb12u2"), ("base", "12")]);
    assert_eq!(all[0].architecture.as_deref(), Some("amd64"));
}

#[test]
fn licences_of_debian_stand_in_a_form_for_machines_or_are_not_known() {
    let text = "Format: https://example.org/\n\nFiles: *\nLicense: GPL-2+\n the text\n\n\
                Files: x\nLicense: MIT\n\nLicense: GPL-2+\n";
    assert_eq!(Vec::from_iter(debian_licences(text)), [name("GPL-2+"), name("MIT")]);
    assert!(debian_licences("This package was made by hand.\nLicense: none\n").is_empty());
}

#[test]
fn a_python_package_tells_its_licence_in_one_of_three_ways() {
    let text = |licence: &str| {
        format!("Metadata-Version: 2.1\nName: Jinja2\nVersion: 3.1\n{licence}\n\nName: other\n")
    };
    for (licence, right) in [
        ("License-Expression: BSD-3-Clause\nLicense: BSD", vec![expression("BSD-3-Clause")]),
        ("License: BSD", vec![name("BSD")]),
        (
            "License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n\
             Classifier: License :: OSI Approved :: Apache",
            vec![name("Apache"), name("MIT License")],
        ),
        ("Summary: none", vec![]),
    ] {
        let package = python(&text(licence)).unwrap();
        assert_eq!((package.name.as_str(), package.version.as_str()), ("Jinja2", "3.1"));
        assert_eq!(Vec::from_iter(package.licences), right, "{licence}");
    }
    assert_eq!(python("Name: x\n\nVersion: 1\n"), None);
}

#[test]
fn an_npm_package_has_a_name_and_a_version_or_is_none() {
    for (text, right) in [
        (r#"{"name":"@a/b","version":"1","license":"MIT"}"#, Some(vec![expression("MIT")])),
        (
            r#"{"name":"b","version":"1","license":{"type":"ISC","url":"x"}}"#,
            Some(vec![expression("ISC")]),
        ),
        (
            r#"{"name":"b","version":"1","license":"SEE LICENSE IN x"}"#,
            Some(vec![name("SEE LICENSE IN x")]),
        ),
        (r#"{"name":"b","version":"1","license":7}"#, Some(vec![])),
        (r#"{"type":"module"}"#, None),
        (r#"{"name":"b","version":""}"#, None),
        ("[", None),
    ] {
        let package = npm(text.as_bytes());
        assert_eq!(package.map(|package| Vec::from_iter(package.licences)), right, "{text}");
    }
}

#[test]
fn a_distribution_has_a_name_and_perhaps_a_version() {
    let text = "PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\n";
    assert_eq!(distribution(text), Some(("debian".to_owned(), "12".to_owned())));
    assert_eq!(distribution("ID='alpine'\n"), Some(("alpine".to_owned(), String::new())));
    assert_eq!(distribution("NAME=x\n"), None);
}
