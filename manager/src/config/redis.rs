//! How Redis is reached: addresses, and files with what opens it.

use std::path::PathBuf;
use worker_link::{Address, LinkError, Way, without_credentials};
use worker_protocol::gateway::RedisTarget;
use worker_protocol::{Keys, Secret};

use super::settings::wrong;
use super::{ConfigError, Defaults, RawConfig};

const URL: &str = "redis_url (REDIS_URL)";
const WORKERS_URL: &str = "worker_redis_url (WORKER_REDIS_URL)";

/// Where Redis is, and where what opens it stands. Files are read anew for each connection, so that
/// passwords and certificates can be changed while the manager runs. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct RedisSource {
    /// Without credentials.
    url: String,
    /// As the gateway reaches it.
    workers_url: String,
    workers_address: Address,
    username: Option<String>,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
    sentinel_username: Option<String>,
    sentinel_password_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    hash_tag: Option<String>,
}

impl RedisSource {
    /// Checks what was configured, with the keys that it leads to.
    ///
    /// # Errors
    /// Names the key, and what would be right.
    pub fn check(raw: &RawConfig) -> Result<(Self, Keys), ConfigError> {
        let namespace = raw.namespace.as_deref().unwrap_or(Defaults::NAMESPACE);
        let keys = Keys::new(namespace).map_err(|problem| ConfigError::Value {
            name: "namespace (WORKER_NAMESPACE)",
            problem: problem.message,
        })?;
        let given = raw.redis_url.as_deref().unwrap_or(Defaults::REDIS_URL);
        let (url, username, password) = without_credentials(given).map_err(not_at(URL))?;
        if password.is_some() && raw.redis_password_file.is_some() {
            let name = "redis_password_file (WORKER_REDIS_PASSWORD_FILE)";
            return Err(wrong(name, "there is a password in `redis_url` too; take one away"));
        }
        let address = Address::parse(&url).map_err(not_at(URL))?;
        let (workers_url, workers_address) = match &raw.worker_redis_url {
            None => (url.clone(), address.clone()),
            Some(given) => workers_url(given, &address)?,
        };
        let in_cluster = address.way == Way::Cluster;
        let source = Self {
            url,
            workers_url,
            workers_address,
            username,
            password,
            password_file: raw.redis_password_file.clone(),
            sentinel_username: raw.redis_sentinel_username.clone(),
            sentinel_password_file: raw.redis_sentinel_password_file.clone(),
            ca: raw.redis_ca.clone(),
            certificate: raw.redis_cert.clone(),
            key: raw.redis_key.clone(),
            hash_tag: in_cluster.then(|| namespace.to_owned()),
        };
        Ok((source, if in_cluster { keys.in_cluster() } else { keys }))
    }

    /// As the manager reaches it, as the files are now.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn target(&self) -> Result<RedisTarget, ConfigError> {
        let of_file = read("redis_password_file", self.password_file.as_ref())?;
        Ok(RedisTarget {
            username: self.username.clone(),
            password: of_file.map(password).or_else(|| self.password.clone()),
            ..self.shared(&self.url)?
        })
    }

    /// As the gateway reaches it, as the files are now: without the manager's user. That of the
    /// gateway is to be added.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn for_gateway(&self) -> Result<RedisTarget, ConfigError> {
        self.shared(&self.workers_url)
    }

    /// Redis as the gateway reaches it, for people: without credentials.
    #[must_use]
    pub fn workers_url(&self) -> &str {
        &self.workers_url
    }

    /// The same, taken apart.
    #[must_use]
    pub fn workers_address(&self) -> &Address {
        &self.workers_address
    }

    fn shared(&self, url: &str) -> Result<RedisTarget, ConfigError> {
        let of_sentinels =
            read("redis_sentinel_password_file", self.sentinel_password_file.as_ref())?;
        Ok(RedisTarget {
            url: url.to_owned(),
            username: None,
            password: None,
            hash_tag: self.hash_tag.clone(),
            sentinel_username: self.sentinel_username.clone(),
            sentinel_password: of_sentinels.map(password),
            ca: read("redis_ca", self.ca.as_ref())?,
            certificate: read("redis_cert", self.certificate.as_ref())?,
            key: read("redis_key", self.key.as_ref())?.map(Secret::new),
        })
    }
}

fn read(what: &'static str, path: Option<&PathBuf>) -> Result<Option<String>, ConfigError> {
    let text = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            what,
            path: path.clone(),
            source,
        })
    };
    path.map(text).transpose()
}

/// A file that was written by `echo` ends with a line feed that is no part of the password.
fn password(text: String) -> Secret {
    Secret::new(text.trim_end_matches(['\r', '\n']))
}

/// The gateway has a user of its own: credentials stay out of its address.
fn workers_url(given: &str, own: &Address) -> Result<(String, Address), ConfigError> {
    let (url, ..) = without_credentials(given).map_err(not_at(WORKERS_URL))?;
    let address = Address::parse(&url).map_err(not_at(WORKERS_URL))?;
    let cluster = |address: &Address| address.way == Way::Cluster;
    if cluster(&address) != cluster(own) {
        let problem = "it must be a cluster where `redis_url` is one: keys have other names there";
        return Err(wrong(WORKERS_URL, problem));
    }
    Ok((url, address))
}

fn not_at(name: &'static str) -> impl Fn(LinkError) -> ConfigError {
    move |error| {
        let problem = match error {
            LinkError::Url(problem) => problem.to_owned(),
            other => other.to_string(),
        };
        let example = "redis://user:password@host:6379/0, rediss://…, \
                       redis+sentinel://host,host/name/0 or redis+cluster://host,host";
        ConfigError::Value { name, problem: format!("{problem}; it is like {example}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(url: &str) -> RawConfig {
        RawConfig { redis_url: Some(url.to_owned()), ..RawConfig::default() }
    }

    fn refused(raw: &RawConfig) -> String {
        RedisSource::check(raw).unwrap_err().to_string()
    }

    #[test]
    fn the_gateway_does_not_get_the_managers_password() {
        let (source, _) = RedisSource::check(&raw("redis://me:hunter2@10.0.0.1:6380/2")).unwrap();
        let own = source.target().unwrap();
        assert_eq!(
            (own.url.as_str(), own.username.as_deref()),
            ("redis://10.0.0.1:6380/2", Some("me"))
        );
        assert_eq!(own.password.unwrap().reveal(), "hunter2");
        let gateways = source.for_gateway().unwrap();
        assert_eq!((gateways.username, gateways.password), (None, None));
        assert!(!format!("{source:?}").contains("hunter2"));
    }

    #[test]
    fn a_password_file_is_read_each_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = Some(file.path().to_owned());
        let raw = RawConfig { redis_password_file: path, ..raw("redis://me@a") };
        let (source, _) = RedisSource::check(&raw).unwrap();
        for word in ["one", "another"] {
            std::fs::write(file.path(), format!("{word}\n")).unwrap();
            assert_eq!(source.target().unwrap().password.unwrap().reveal(), word);
        }
        drop(file);
        assert!(source.target().unwrap_err().to_string().contains("redis_password_file"));
        let twice = RawConfig { redis_url: Some("redis://me:p@a".to_owned()), ..raw };
        assert!(refused(&twice).contains("take one away"));
    }

    #[test]
    fn in_a_cluster_all_keys_have_one_hash_tag() {
        let (source, keys) = RedisSource::check(&raw("redis+cluster://a,b")).unwrap();
        assert_eq!(source.target().unwrap().hash_tag.as_deref(), Some("worker"));
        assert_eq!(keys.commands(), "{worker}:commands");
        let (source, keys) = RedisSource::check(&raw("rediss+sentinel://a,b/main")).unwrap();
        assert_eq!((source.target().unwrap().hash_tag, keys.prefix().as_str()), (None, "worker:"));
    }

    #[test]
    fn a_wrong_address_is_named_and_not_shown() {
        assert!(refused(&raw("http://u:hunter2@a")).contains("REDIS_URL"));
        assert!(!refused(&raw("redis://u:hunter2@a:x")).contains("hunter2"));
        let mixed = RawConfig {
            worker_redis_url: Some("redis://a".to_owned()),
            ..raw("redis+cluster://a")
        };
        assert!(refused(&mixed).contains("WORKER_REDIS_URL"));
    }
}
