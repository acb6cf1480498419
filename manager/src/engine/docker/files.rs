//! Files for an instance, packed as the daemon takes them.

use bollard::body_full;
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, UploadToContainerOptionsBuilder,
};
use std::collections::BTreeMap;
use std::io;

use super::connection::{DockerEngine, SLOW, refused, unless};
use crate::engine::{EngineError, InstanceFile, InstanceName};

impl DockerEngine {
    /// One archive for all: the daemon takes tens of milliseconds to unpack one, however small.
    pub(super) async fn upload(
        &self,
        name: &InstanceName,
        files: &[InstanceFile],
    ) -> Result<(), EngineError> {
        let mut private = Vec::new();
        for folder in private_folders(files) {
            if !self.exists(name, folder).await? {
                private.push(folder);
            }
        }
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        let archive = archive(&private, files)
            .map_err(|error| refused("put files into", name, error.to_string()))?;
        let client = self.patient_client(SLOW).await?;
        let put =
            client.upload_to_container(&name.0, Some(options), body_full(archive.into())).await;
        put.map_err(|error| self.failed("put files into", name, error))
    }

    async fn exists(&self, name: &InstanceName, path: &str) -> Result<bool, EngineError> {
        let options = ContainerArchiveInfoOptionsBuilder::new().path(path).build();
        let client = self.client().await?;
        let found = client.get_container_archive_info(&name.0, Some(options)).await;
        let found =
            unless(&[404], found).map_err(|error| self.failed("put files into", name, error))?;
        Ok(found.is_some())
    }
}

/// Folders that hold only files that are root's alone. When such a folder is new, it is root's
/// alone too.
///
/// The daemon makes other folders that are missing, with mode 0755. It gives the mode and owner in
/// the archive also to a folder that exists; so one that exists must not be in it.
fn private_folders(files: &[InstanceFile]) -> Vec<&str> {
    let mut folders = BTreeMap::new();
    for file in files {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        *folders.entry(folder).or_insert(true) &= file.mode & 0o077 == 0;
    }
    folders.retain(|folder, private| *private && !folder.is_empty());
    folders.into_keys().collect()
}

/// Everything is root's. Fails on a path that leads upwards.
fn archive(folders: &[&str], files: &[InstanceFile]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind, mode, content: &[u8]| {
        let mut header = tar::Header::new_gnu(); // a path of any length
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path.trim_start_matches('/'), content)
    };
    for folder in folders {
        add(folder, tar::EntryType::Directory, 0o700, &[])?;
    }
    for file in files {
        add(&file.path, tar::EntryType::Regular, file.mode, &file.content)?;
    }
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, mode: u32) -> InstanceFile {
        InstanceFile { path: path.to_owned(), content: b"x".to_vec(), mode }
    }

    #[test]
    fn a_folder_is_private_when_all_in_it_is() {
        let files = [
            file("/run/worker/boot.json", 0o400),
            file("/etc/claude-code/CLAUDE.md", 0o444),
            file("/etc/claude-code/secret", 0o400),
            file("/top", 0o400),
        ];
        assert_eq!(private_folders(&files), ["/run/worker"]);
    }

    #[test]
    fn a_path_that_leads_upwards_is_an_error() {
        assert!(archive(&[], &[file("/etc/../../x", 0o400)]).is_err());
    }
}
